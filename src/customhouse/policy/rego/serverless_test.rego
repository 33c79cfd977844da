package customhouse.tests.serverless

import data.customhouse.fixtures
import data.customhouse.rules.serverless

served(change) := {"change": {"after": {"serverless": object.union(
	{"how": "knative", "asleep": [{"what": "predictor", "pointer": "/p"}], "cold_start_seconds": 20, "problem": null},
	change,
)}}}

judged(change, tier) := object.union(fixtures.with_tier(fixtures.facts, tier), served(change))

empty := fixtures.with_tier(fixtures.with_workload({"replicas_min": 0}), {"scale_to_zero": "forbidden"})

test_scale_to_zero_fires_where_it_is_forbidden if {
	found := serverless.findings with input as empty
	fixtures.rules(found) == {"scale-to-zero"}
}

test_scale_to_zero_tells_a_part_that_sleeps_and_does_not_tell_twice if {
	found := serverless.findings with input as judged({}, {"scale_to_zero": "forbidden"})
	fixtures.rules(found) == {"scale-to-zero"}
	some finding in found
	finding.message == "The predictor may scale to zero; tier standard forbids it."
	whole := serverless.findings with input as object.union(empty, served({}))
	count(whole) == 1
}

test_scale_to_zero_is_silent_with_a_replica_and_where_it_is_allowed if {
	count(serverless.findings) == 0 with input as object.union(empty, {"change": {"after": {"workload": {"replicas_min": 1}}}})
	count(serverless.findings) == 0 with input as judged({"asleep": []}, {"scale_to_zero": "forbidden"})
	count(serverless.findings) == 0 with input as judged({}, {})
}

test_serverless_forbidden_fires_for_each_way if {
	every change in [{"asleep": []}, {"how": "keda-http", "asleep": []}, {"how": "keda"}] {
		found := serverless.findings with input as judged(change, {"serverless": "forbidden"})
		fixtures.rules(found) == {"serverless-forbidden"}
	}
}

test_serverless_forbidden_is_silent_for_servers if {
	count(serverless.findings) == 0 with input as fixtures.with_tier(fixtures.facts, {"serverless": "forbidden"})
	never := judged({"how": "keda", "asleep": []}, {"serverless": "forbidden"})
	count(serverless.findings) == 0 with input as never
}

test_cold_start_fires_when_it_is_not_told_and_above_the_bound if {
	untold := serverless.findings with input as judged({"cold_start_seconds": null}, {"cold_start_seconds": 30})
	fixtures.rules(untold) == {"cold-start"}
	long := serverless.findings with input as judged({"cold_start_seconds": 31}, {"cold_start_seconds": 30})
	fixtures.rules(long) == {"cold-start"}
	some finding in long
	contains(finding.message, "A start takes 31 seconds")
}

test_cold_start_is_silent_within_the_bound_and_for_what_never_sleeps if {
	count(serverless.findings) == 0 with input as judged({"cold_start_seconds": 30}, {"cold_start_seconds": 30})
	count(serverless.findings) == 0 with input as judged({"asleep": [], "cold_start_seconds": null}, {"cold_start_seconds": 1})
	count(serverless.findings) == 0 with input as judged({"cold_start_seconds": 500}, {})
}

test_scaling_unread_fires_and_says_what if {
	found := serverless.findings with input as judged({"problem": "window is '2s' (/a)"}, {})
	fixtures.rules(found) == {"scaling-unread"}
	some finding in found
	finding.severity == "warning"
}

test_scaling_unread_is_silent_for_what_is_read if {
	count(serverless.findings) == 0 with input as judged({}, {})
}

scaler(tier) := object.union(
	judged({"how": "keda"}, {}),
	{"surroundings": {"target_tier": "critical-inference"}, "tier": {"requested": tier}},
)

test_scaler_tier_fires_where_it_differs_from_its_targets if {
	every tier in [null, "batch"] {
		found := serverless.findings with input as scaler(tier)
		fixtures.rules(found) == {"scaler-tier"}
	}
}

test_scaler_tier_is_silent_in_its_targets_tier_and_where_nothing_sleeps if {
	count(serverless.findings) == 0 with input as scaler("critical-inference")
	awake := object.union(scaler(null), served({"how": "keda", "asleep": []}))
	count(serverless.findings) == 0 with input as awake
}
