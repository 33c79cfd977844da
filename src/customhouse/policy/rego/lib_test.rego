package customhouse.tests.lib

import data.customhouse.lib

usd := {"cost": {"currency": "USD"}}

test_money_has_two_places_at_least if {
	lib.money(12000000) == "12.00 USD" with input as usd
	lib.money(12500000) == "12.50 USD" with input as usd
	lib.money(0) == "0.00 USD" with input as usd
}

test_money_shows_every_place_that_is_there if {
	lib.money(1) == "0.000001 USD" with input as usd
	lib.money(12345600) == "12.3456 USD" with input as usd
}

test_money_is_exact_where_a_float_is_not if {
	lib.money(8999999999999999) == "8999999999.999999 USD" with input as usd
	lib.money(9007199254740991) == "9007199254.740991 USD" with input as usd
}

test_money_can_be_negative if {
	lib.money(-1500000) == "-1.50 USD" with input as usd
	lib.money(-1) == "-0.000001 USD" with input as usd
}

test_a_note_and_a_warning_have_their_severity if {
	lib.note("cost", "r", "", "m", "f").severity == "note"
	lib.warning("cost", "r", "", "m", "f").severity == "warning"
}

test_containers_are_called_by_name_and_role if {
	lib.called({"name": "kserve-container", "role": "main"}) == "the model container"
	lib.called({"name": "a", "role": "main"}) == `container "a"`
	lib.called({"name": "a", "role": "init"}) == `init container "a"`
}

complaint := lib.error("security", "container-root", "/p", "It is root.", "Do not.")

relaxation(change) := object.union(
	{
		"severity": "warning",
		"owner": "ada",
		"ticket": "OPS-1",
		"reason": "old image",
		"expires": "2026-02-28T00:00:00Z",
		"state": "active",
	},
	change,
)

with_relaxation(change) := {"tier": {"checks": {}, "relaxations": {"container-root": relaxation(change)}}}

test_judged_leaves_a_finding_that_nothing_is_said_about if {
	lib.judged(complaint) == complaint with input as {"tier": {"checks": {}, "relaxations": {}}}
}

test_judged_leaves_a_finding_of_facts_without_strictness if {
	lib.judged(complaint) == complaint with input as {"tier": {}}
}

test_judged_takes_the_severity_of_the_tier if {
	found := lib.judged(complaint) with input as {"tier": {"checks": {"container-root": "note"}, "relaxations": {}}}
	found.severity == "note"
}

test_judged_relaxes_and_says_who_answers if {
	found := lib.judged(complaint) with input as with_relaxation({})
	found.severity == "warning"
	found.message == concat(" ", [
		"It is root. Relaxed from error to warning until 2026-02-28T00:00:00Z",
		"by ada (OPS-1): old image",
	])
}

test_judged_tells_what_is_muted_as_a_note if {
	found := lib.judged(complaint) with input as with_relaxation({"severity": "muted"})
	found.severity == "note"
	contains(found.message, "Relaxed from error to muted")
}

test_judged_makes_nothing_stricter_by_relaxing_it if {
	note := lib.note("security", "container-root", "/p", "It is root.", "Do not.")
	found := lib.judged(note) with input as with_relaxation({})
	found.severity == "note"
}

test_judged_keeps_the_severity_after_the_end_and_says_so if {
	found := lib.judged(complaint) with input as with_relaxation({"state": "it ended on 2026-01-01T00:00:00Z"})
	found.severity == "error"
	contains(found.message, "The relaxation by ada (OPS-1) does not hold: it ended on 2026-01-01T00:00:00Z.")
}

test_kept_leaves_what_is_derived_to_its_owner_but_for_security if {
	dear := object.union(complaint, {"category": "cost"})
	lib.kept(complaint) with input as {"derived": true}
	lib.kept(complaint) with input as {"derived": false}
	not lib.kept(dear) with input as {"derived": true}
	lib.kept(dear) with input as {"derived": false}
	lib.kept(dear) with input as {}
	lib.kept("no finding") with input as {"derived": true}
}

test_what_is_no_severity_relaxes_nothing if {
	lib.laxer("error", "other") == "error"
	lib.laxer("other", "warning") == "other"
	lib.laxer("other", "unknown") == "other"
}
