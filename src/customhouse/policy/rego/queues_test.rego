package customhouse.tests.queues

import data.customhouse.fixtures
import data.customhouse.rules.queues

waiting(change) := object.union(fixtures.facts, {"surroundings": {"queue": object.union(
	{"name": "train", "cluster_queue": "gpus", "problem": "", "places": [], "lacks": []},
	change,
)}})

lack(change) := object.union(
	{"pods": "pod", "flavor": "h100", "resource": "nvidia.com/gpu", "asked": "16", "most": "8", "sure": true},
	change,
)

batch := object.union(
	fixtures.with_tier(fixtures.with_workload({"batch": true}), {"queue_required": true}),
	{"surroundings": {}},
)

test_queue_required_fires_for_batch_work_without_one if {
	found := queues.findings with input as batch
	fixtures.rules(found) == {"queue-required"}
}

test_queue_required_fires_where_nothing_is_known_of_queues if {
	unknown := object.union(batch, {"surroundings": null})
	fixtures.rules(queues.findings) == {"queue-required"} with input as unknown
}

test_queue_required_is_silent_with_one_for_servers_and_where_the_tier_asks_for_none if {
	count(queues.findings) == 0 with input as object.union(batch, {"surroundings": {"queue": waiting({}).surroundings.queue}})
	server := fixtures.with_tier(fixtures.with_workload({"batch": false}), {"queue_required": true})
	count(queues.findings) == 0 with input as server
	count(queues.findings) == 0 with input as fixtures.with_workload({"batch": true})
	count(queues.findings) == 0 with input as object.union(batch, {"derived": true})
}

test_queue_closed_fires_and_says_why if {
	found := queues.findings with input as waiting({"problem": "it is stopped (Hold)"})
	fixtures.rules(found) == {"queue-closed"}
	some finding in found
	finding.message == "Queue train lets nothing in: it is stopped (Hold)."
}

test_queue_closed_is_silent_for_one_that_lets_in if {
	count(queues.findings) == 0 with input as waiting({})
}

test_queue_never_fits_fires_with_the_numbers if {
	found := queues.findings with input as waiting({"lacks": [lack({})]})
	fixtures.rules(found) == {"queue-never-fits"}
	some finding in found
	finding.severity == "error"
	finding.message == "pod asks for 16 of nvidia.com/gpu at once; flavor h100 of ClusterQueue gpus can give 8 at most."
}

test_queue_never_fits_is_silent_without_a_lack_and_where_it_is_not_sure if {
	count(queues.findings) == 0 with input as waiting({})
	fixtures.rules(queues.findings) == {"queue-may-not-fit"} with input as waiting({"lacks": [lack({"sure": false})]})
}

test_queue_may_not_fit_is_silent_where_it_is_sure if {
	fixtures.rules(queues.findings) == {"queue-never-fits"} with input as waiting({"lacks": [lack({})]})
}

test_queue_may_not_fit_fires_and_tells_what_no_flavor_takes_from_what_has_no_quota if {
	found := queues.findings with input as waiting({"lacks": [lack({"most": null})]})
	some finding in found
	contains(finding.message, "by labels and taints it fits none of the flavors of ClusterQueue gpus (h100)")
	other := queues.findings with input as waiting({"lacks": [lack({"most": null, "flavor": "", "sure": false})]})
	fixtures.rules(other) == {"queue-may-not-fit"}
	some unsure in other
	unsure.severity == "warning"
	unsure.message == "pod asks for 16 of nvidia.com/gpu, of which ClusterQueue gpus has no quota."
}

quota(high) := object.union(
	fixtures.with_object("kueue.x-k8s.io/v1beta1", "ClusterQueue", {}),
	{"cost": {"monthly_high_micro": high}, "budgets": fixtures.facts.budgets},
)

test_quota_over_budget_fires_with_what_it_is_worth if {
	found := queues.findings with input as quota(1000000001)
	fixtures.rules(found) == {"quota-over-budget"}
	some finding in found
	contains(finding.message, "is worth up to 1000.000001 USD a month; budget risk has 1000.00 USD.")
}

test_quota_over_budget_is_silent_at_the_limit_and_for_other_kinds if {
	count(queues.findings) == 0 with input as quota(1000000000)
	count(queues.findings) == 0 with input as object.union(fixtures.facts, {"cost": {"monthly_high_micro": 9000000000}})
}
