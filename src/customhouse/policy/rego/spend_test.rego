package customhouse.tests.spend

import data.customhouse.fixtures
import data.customhouse.rules.spend

aged(change) := object.union(fixtures.facts, {"budgets": [object.union(fixtures.facts.budgets[0], object.union(
	{"name": "risk", "change_micro": 1},
	change,
))]})

test_spend_stale_fires_after_a_day_and_says_how_old if {
	found := spend.findings with input as aged({"spend_age_hours": 24})
	fixtures.rules(found) == {"spend-stale"}
	some finding in found
	finding.message == "What was spent of budget risk is known as of 24 hours ago; a day is allowed."
}

test_spend_stale_is_silent_within_the_day if {
	count(spend.findings) == 0 with input as aged({"spend_age_hours": 23})
}

test_spend_stale_is_silent_without_a_snapshot if {
	count(spend.findings) == 0 with input as aged({"spend_age_hours": null})
	count(spend.findings) == 0 with input as fixtures.facts
}

test_spend_stale_is_silent_for_what_adds_nothing if {
	count(spend.findings) == 0 with input as aged({"spend_age_hours": 99, "change_micro": 0})
	count(spend.findings) == 0 with input as aged({"spend_age_hours": 99, "change_micro": -5})
}
