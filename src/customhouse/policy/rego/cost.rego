package customhouse.rules.cost

import data.customhouse.lib

delta := input.cost.monthly_after_micro - input.cost.monthly_before_micro

# METADATA
# title: What has no price is not free
# description: Something that the workload asks for is not in the price book; its cost is unknown, which is not zero.
# custom:
#   id: cost-unpriced
#   category: cost
#   severity: error
#   fix: Use a resource that the price book has, or add a dated price to the book by review.
findings contains lib.error("cost", "cost-unpriced", "", message, fix) if {
	lib.workload
	count(input.cost.unpriced) > 0
	message := sprintf("There is no price for %s, so the cost of this change is unknown.", [concat(", ", input.cost.unpriced)])
	fix := "Use a resource that the price book has, or add a dated price to the book by review."
}

# METADATA
# title: One replica costs no more than the tier's ceiling
# description: The monthly price of one replica at the book's prices, against the tier's replica_ceiling.
# custom:
#   id: replica-price-ceiling
#   category: cost
#   severity: error
#   fix: Choose smaller or cheaper hardware; the finding names alternatives when there are any.
findings contains object.union(
	lib.error("cost", "replica-price-ceiling", "", message, fix),
	{"cost_delta_micro": delta},
) if {
	lib.workload
	ceiling := input.tier.spec.replica_ceiling_micro
	ceiling != null
	input.cost.monthly_replica_micro > ceiling
	message := sprintf("One replica costs %s a month; the ceiling of tier %s is %s.%s", [
		lib.money(input.cost.monthly_replica_micro),
		input.tier.name,
		lib.money(ceiling),
		alternatives,
	])
	fix := "Choose smaller or cheaper hardware."
}

# METADATA
# title: A thousand predictions cost no more than the tier's ceiling
# description: The price of 1,000 predictions at the throughput that the workload declares, against the tier's ceiling.
# custom:
#   id: prediction-price-ceiling
#   category: cost
#   severity: error
#   fix: Use cheaper hardware or a smaller model, or measure the throughput again.
findings contains lib.error("cost", "prediction-price-ceiling", "", message, fix) if {
	message := unit_problem("per_thousand_predictions_micro", "1,000 predictions")
	fix := "Use cheaper hardware or a smaller model, or measure the throughput again."
}

# METADATA
# title: A million tokens cost no more than the tier's ceiling
# description: The price of a million tokens at the throughput that the workload declares, against the tier's ceiling.
# custom:
#   id: token-price-ceiling
#   category: cost
#   severity: error
#   fix: Use cheaper hardware or a smaller model, or measure the throughput again.
findings contains lib.error("cost", "token-price-ceiling", "", message, fix) if {
	message := unit_problem("per_million_tokens_micro", "A million tokens")
	fix := "Use cheaper hardware or a smaller model, or measure the throughput again."
}

unit_problem(field, what) := sprintf("%s cost %s; the ceiling of tier %s is %s.", [
	what,
	lib.money(input.cost[field]),
	input.tier.name,
	lib.money(input.tier.spec[field]),
]) if {
	lib.workload
	is_number(input.tier.spec[field])
	is_number(input.cost[field])
	input.cost[field] > input.tier.spec[field]
}

# METADATA
# title: What has a ceiling says how much it does
# description: >-
#   The tier has a ceiling for a unit of work, and the serving workload declares no throughput of any kind: nobody can
#   tell what a prediction or a token costs.
# custom:
#   id: throughput-undeclared
#   category: cost
#   severity: warning
#   fix: Declare customhouse.dev/throughput-predictions-per-second or customhouse.dev/throughput-tokens-per-second.
findings contains lib.warning("cost", "throughput-undeclared", "/metadata/annotations", message, fix) if {
	lib.workload
	not lib.workload.batch
	ceilings := [limit | some field in unit_fields; limit := input.tier.spec[field]; limit != null]
	count(ceilings) > 0
	told := [price | some field in unit_fields; price := input.cost[field]; price != null]
	count(told) == 0
	message := sprintf("Tier %s has a ceiling for a unit of work, and the workload declares no throughput.", [input.tier.name])
	fix := "Declare customhouse.dev/throughput-predictions-per-second or customhouse.dev/throughput-tokens-per-second."
}

unit_fields := ["per_thousand_predictions_micro", "per_million_tokens_micro"]

# METADATA
# title: A change stays within its budgets
# description: >-
#   For every budget that covers the resource: spent this month, plus what the rest of the month is expected to add,
#   plus what this set of changes adds, must not be more than the limit. A change that adds nothing is not denied for a
#   budget that others have used up.
# custom:
#   id: budget-exceeded
#   category: cost
#   severity: error
#   fix: Take a cheaper alternative, free something else, or have the budget raised by its owner.
findings contains object.union(
	lib.error("cost", "budget-exceeded", "", message, fix),
	{"cost_delta_micro": delta},
) if {
	some budget in input.budgets
	budget.change_micro > 0
	object.get(budget, "own_change_micro", delta) > 0
	over := over_by(budget)
	over > 0
	message := sprintf("Budget %s is exceeded by %s: limit %s, spent %s, forecast %s, this change %s a month.%s", [
		budget.name,
		lib.money(over),
		lib.money(budget.limit_micro),
		lib.money(budget.month_to_date_micro),
		lib.money(budget.forecast_micro),
		lib.money(budget.change_micro),
		alternatives,
	])
	fix := "Take a cheaper alternative, free something else, or have the budget raised by its owner."
}

# METADATA
# title: A change stays within its budgets when it grows as far as it may
# description: >-
#   Budgets count the declared size. When autoscalers take the change to the upper end of its range (replicas, requests,
#   on-demand prices for spot), and that end was raised by it, the budget must hold too; a tier that wants this denied says
#   so in its checks.
# custom:
#   id: budget-maximum
#   category: cost
#   severity: warning
#   fix: Lower the upper end (maxReplicas, maxAllowed), or have the budget raised by its owner.
findings contains lib.warning("cost", "budget-maximum", "", message, fix) if {
	some budget in input.budgets
	object.get(budget, "own_rise_micro", 0) > 0
	over_by(budget) <= 0
	most := object.get(budget, "most_change_micro", budget.change_micro)
	over := ((budget.month_to_date_micro + budget.forecast_micro) + most) - budget.limit_micro
	over > 0
	message := sprintf("At the upper end of its range this change adds %s a month (%s as declared), and budget %s of %s is exceeded by %s.", [
		lib.money(most),
		lib.money(budget.change_micro),
		budget.name,
		lib.money(budget.limit_micro),
		lib.money(over),
	])
	fix := "Lower the upper end (maxReplicas, maxAllowed), or have the budget raised by its owner."
}

# METADATA
# title: A budget is used up already
# description: The budget will be exceeded without this change, which adds nothing to it.
# custom:
#   id: budget-used-up
#   category: cost
#   severity: warning
#   fix: Look for what can be made smaller (customhouse optimise recommend).
findings contains lib.warning("cost", "budget-used-up", "", message, fix) if {
	some budget in input.budgets
	budget.change_micro <= 0
	over := over_by(budget)
	over > 0
	message := sprintf("Budget %s will be exceeded by %s this month, though this change adds nothing to it.", [
		budget.name,
		lib.money(over),
	])
	fix := "Look for what can be made smaller (customhouse optimise recommend)."
}

# METADATA
# title: The price book is current
# description: >-
#   The oldest price that the figures may use is older than prices.maxAgeDays of customhouse.yaml: what the change costs
#   may no longer be true.
# custom:
#   id: price-book-stale
#   category: cost
#   severity: warning
#   fix: Lay a newer price book over the built-in one (prices.book), or allow older prices by review (prices.maxAgeDays).
findings contains lib.warning("cost", "price-book-stale", "", message, fix) if {
	lib.workload
	is_number(input.prices.age_days)
	is_number(input.prices.max_age_days)
	input.prices.age_days > input.prices.max_age_days
	message := sprintf("Prices are of %s, %v days old; %v days are allowed.", [
		input.prices.as_of,
		input.prices.age_days,
		input.prices.max_age_days,
	])
	fix := "Lay a newer price book over the built-in one (prices.book), or allow older prices by review (prices.maxAgeDays)."
}

# METADATA
# title: A kind that runs containers but cannot be priced
# description: >-
#   The object holds pods in a kind that Customhouse does not know as a workload; its containers are judged, its cost
#   is not known.
# custom:
#   id: cost-unknown-kind
#   category: cost
#   severity: warning
#   fix: Run it as a kind that is known (Deployment, Job, InferenceService …) where that is possible.
findings contains lib.warning("cost", "cost-unknown-kind", "", message, fix) if {
	not lib.workload.known
	lib.workload.known == false
	message := sprintf("A %s runs containers, but its cost is not known.", [input.change.after.kind])
	fix := "Run it as a kind that is known (Deployment, Job, InferenceService …) where that is possible."
}

# METADATA
# title: The figure holds all that will cost something
# description: >-
#   A disk whose class has no price, traffic without a price, a node pool without limits: the month's figure does not
#   hold it, and says so.
# custom:
#   id: cost-uncounted
#   category: cost
#   severity: warning
#   fix: Add its price to a price book of your own (prices.book), or bound it.
findings contains lib.warning("cost", "cost-uncounted", "", message, fix) if {
	input.change.after != null
	not unknown_kind
	items := object.get(input.cost, "uncounted", [])
	count(items) > 0
	message := sprintf("The cost does not count %s.", [concat(", ", items)])
	fix := "Add its price to a price book of your own (prices.book), or bound it."
}

unknown_kind if lib.workload.known == false

over_by(budget) := ((budget.month_to_date_micro + budget.forecast_micro) + budget.change_micro) - budget.limit_micro

cheaper := [text |
	some item in input.cost.alternatives
	item.monthly_micro < input.cost.monthly_after_micro
	text := sprintf("%s for %s a month", [item.description, lib.money(item.monthly_micro)])
]

alternatives := "" if count(cheaper) == 0

alternatives := sprintf(" Cheaper: %s.", [concat("; ", array.slice(cheaper, 0, 3))]) if count(cheaper) > 0
