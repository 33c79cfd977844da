package customhouse.tests.cost

import data.customhouse.fixtures
import data.customhouse.rules.cost

priced(change) := object.union(fixtures.facts, {"cost": change})

budget(change) := object.union(fixtures.facts, {"budgets": [object.union(fixtures.facts.budgets[0], change)]})

test_cost_unpriced_fires_and_says_what if {
	found := cost.findings with input as priced({"unpriced": ["accelerator GB300"]})
	fixtures.rules(found) == {"cost-unpriced"}
	some finding in found
	contains(finding.message, "accelerator GB300")
}

test_cost_unpriced_is_silent_for_a_deletion if {
	count(cost.findings) == 0 with input as object.union(fixtures.deletion, {"cost": {"unpriced": ["x"]}})
}

test_replica_price_ceiling_fires_with_figures_and_alternatives if {
	found := cost.findings with input as priced({
		"monthly_replica_micro": 2500000001,
		"alternatives": [
			{"description": "1 × L4", "monthly_micro": 250000000},
			{"description": "16 × H100", "monthly_micro": 900000000},
		],
	})
	fixtures.rules(found) == {"replica-price-ceiling"}
	some finding in found
	contains(finding.message, "2500.000001 USD a month; the ceiling of tier standard is 2500.00 USD. Cheaper: 1 × L4 for 250.00 USD a month.")
	finding.cost_delta_micro == 200000000
}

test_replica_price_ceiling_is_silent_at_the_ceiling if {
	count(cost.findings) == 0 with input as priced({"monthly_replica_micro": 2500000000})
}

test_replica_price_ceiling_is_silent_without_one if {
	facts := fixtures.with_tier(priced({"monthly_replica_micro": 9000000000}), {"replica_ceiling_micro": null})
	count(cost.findings) == 0 with input as facts
}

test_budget_exceeded_fires_with_every_figure if {
	found := cost.findings with input as budget({"forecast_micro": 500000001})
	fixtures.rules(found) == {"budget-exceeded"}
	some finding in found
	finding.message == concat(" ", [
		"Budget risk is exceeded by 0.000001 USD: limit 1000.00 USD, spent 300.00 USD,",
		"forecast 500.000001 USD, this change 200.00 USD a month.",
	])
}

test_budget_exceeded_is_silent_at_the_limit if {
	count(cost.findings) == 0 with input as fixtures.facts
}

test_budget_exceeded_is_silent_for_the_part_of_a_set_that_adds_nothing if {
	still := object.union(budget({"change_micro": 900000000}), {"cost": {"monthly_after_micro": 100000000}})
	count(cost.findings) == 0 with input as still
}

test_budget_exceeded_fires_for_a_workload_that_comes_under_it_at_the_same_price if {
	moved := object.union(
		budget({"change_micro": 900000000, "own_change_micro": 900000000}),
		{"cost": {"monthly_after_micro": 100000000, "monthly_before_micro": 100000000}},
	)
	found := cost.findings with input as moved
	fixtures.rules(found) == {"budget-exceeded"}
}

test_budget_maximum_fires_with_every_figure if {
	found := cost.findings with input as budget({"most_change_micro": 700000001, "own_rise_micro": 500000001})
	fixtures.rules(found) == {"budget-maximum"}
	some finding in found
	finding.severity == "warning"
	finding.message == concat(" ", [
		"At the upper end of its range this change adds 700.000001 USD a month (200.00 USD as declared),",
		"and budget risk of 1000.00 USD is exceeded by 500.000001 USD.",
	])
}

test_budget_maximum_is_silent_at_the_limit_and_where_the_change_raises_nothing if {
	count(cost.findings) == 0 with input as budget({"most_change_micro": 200000000, "own_rise_micro": 1})
	count(cost.findings) == 0 with input as budget({"most_change_micro": 900000000, "own_rise_micro": 0})
	count(cost.findings) == 0 with input as budget({"most_change_micro": 900000000})
}

test_budget_maximum_says_nothing_beside_a_budget_that_is_exceeded_as_declared if {
	found := cost.findings with input as budget({
		"forecast_micro": 500000001,
		"most_change_micro": 900000000,
		"own_rise_micro": 1,
	})
	fixtures.rules(found) == {"budget-exceeded"}
}

test_budget_used_up_fires_for_a_change_that_saves if {
	found := cost.findings with input as budget({"month_to_date_micro": 900000000, "change_micro": -100000000})
	fixtures.rules(found) == {"budget-used-up"}
	some finding in found
	finding.severity == "warning"
}

test_budget_used_up_is_silent_while_something_is_left if {
	count(cost.findings) == 0 with input as budget({"change_micro": 0})
}

test_cost_unknown_kind_fires_for_containers_in_a_kind_of_its_own if {
	found := cost.findings with input as fixtures.with_workload({"known": false})
	fixtures.rules(found) == {"cost-unknown-kind"}
}

test_cost_uncounted_fires_and_says_what if {
	found := cost.findings with input as object.union(fixtures.facts, {"cost": {"uncounted": ["disk d (10Gi)"]}})
	fixtures.rules(found) == {"cost-uncounted"}
	some finding in found
	finding.message == "The cost does not count disk d (10Gi)."
}

test_cost_uncounted_is_silent_for_a_deletion_and_an_unknown_kind if {
	uncounted := {"cost": {"uncounted": ["disk d (10Gi)"]}}
	count(cost.findings) == 0 with input as object.union(fixtures.deletion, uncounted)
	unknown := object.union(fixtures.with_workload({"known": false}), uncounted)
	fixtures.rules(cost.findings) == {"cost-unknown-kind"} with input as unknown
}

test_cost_unknown_kind_is_silent_for_kinds_without_pods if {
	count(cost.findings) == 0 with input as fixtures.with_after({"workload": null})
}

test_price_book_stale_fires_a_day_after_the_limit if {
	found := cost.findings with input as object.union(fixtures.facts, {"prices": {"age_days": 181}})
	fixtures.rules(found) == {"price-book-stale"}
	some finding in found
	finding.severity == "warning"
	finding.message == "Prices are of 2026-01-01, 181 days old; 180 days are allowed."
}

test_price_book_stale_is_silent_at_the_limit if {
	count(cost.findings) == 0 with input as object.union(fixtures.facts, {"prices": {"age_days": 180}})
}

test_price_book_stale_is_silent_without_an_age_or_a_limit if {
	count(cost.findings) == 0 with input as object.union(fixtures.facts, {"prices": {"age_days": null}})
	count(cost.findings) == 0 with input as object.union(fixtures.facts, {"prices": {"max_age_days": null, "age_days": 999}})
}

test_price_book_stale_is_silent_for_what_runs_nothing if {
	old := object.union(fixtures.with_after({"workload": null}), {"prices": {"age_days": 999}})
	count(cost.findings) == 0 with input as old
}

unit(field, limit, price) := object.union(
	fixtures.with_tier(fixtures.facts, {field: limit}),
	{"cost": {field: price}},
)

test_prediction_price_ceiling_fires_above_it if {
	found := cost.findings with input as unit("per_thousand_predictions_micro", 20000, 20001)
	fixtures.rules(found) == {"prediction-price-ceiling"}
	some finding in found
	finding.message == "1,000 predictions cost 0.020001 USD; the ceiling of tier standard is 0.02 USD."
}

test_prediction_price_ceiling_is_silent_at_it if {
	count(cost.findings) == 0 with input as unit("per_thousand_predictions_micro", 20000, 20000)
}

test_token_price_ceiling_fires_above_it if {
	found := cost.findings with input as unit("per_million_tokens_micro", 1500000, 1500001)
	fixtures.rules(found) == {"token-price-ceiling"}
}

test_token_price_ceiling_is_silent_without_one if {
	count(cost.findings) == 0 with input as unit("per_million_tokens_micro", null, 1500001)
}

test_throughput_undeclared_fires_where_a_ceiling_cannot_be_checked if {
	found := cost.findings with input as unit("per_million_tokens_micro", 1500000, null)
	fixtures.rules(found) == {"throughput-undeclared"}
}

test_throughput_undeclared_is_silent_for_batch_work if {
	document := unit("per_million_tokens_micro", 1500000, null)
	count(cost.findings) == 0 with input as object.union(document, {"change": {"after": {"workload": {"batch": true}}}})
}
