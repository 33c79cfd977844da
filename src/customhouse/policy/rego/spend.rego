package customhouse.rules.spend

import data.customhouse.lib

# METADATA
# title: What was spent this month is known up to today
# description: >-
#   The budget rests on a spend snapshot that is older than a day (customhouse up publishes one every ten minutes): what
#   was spent since is a guess from what is declared. A change that adds nothing to the budget is not held up.
# custom:
#   id: spend-stale
#   category: cost
#   severity: error
#   fix: Look why customhouse up publishes no snapshot any more, then fetch refs/customhouse/snapshot again.
findings contains lib.error("cost", "spend-stale", "", message, fix) if {
	some budget in input.budgets
	budget.change_micro > 0
	age := object.get(budget, "spend_age_hours", null)
	is_number(age)
	age >= 24
	message := sprintf("What was spent of budget %s is known as of %v hours ago; a day is allowed.", [budget.name, age])
	fix := "Look why customhouse up publishes no snapshot any more, then fetch refs/customhouse/snapshot again."
}
