package customhouse.tests.placement

import data.customhouse.fixtures
import data.customhouse.rules.placement

nodes := {"key": "example.com/pool", "value": "critical"}

tainted := {"key": "example.com/pool", "operator": "Equal", "value": "critical", "effect": "NoSchedule"}

dedicated(change) := fixtures.with_tier(fixtures.with_pod(change), {"dedicated_nodes": nodes})

there := {"node_selector": {"example.com/pool": "critical"}, "tolerations": [tainted]}

test_nodes_dedicated_fires_without_a_selector if {
	found := placement.findings with input as dedicated({"tolerations": [tainted]})
	fixtures.rules(found) == {"nodes-dedicated"}
	some finding in found
	contains(finding.message, "does not select")
}

test_nodes_dedicated_fires_without_a_toleration if {
	every tolerations in [[], [object.union(tainted, {"value": "other"})], [object.union(tainted, {"key": "x"})]] {
		found := placement.findings with input as dedicated(object.union(there, {"tolerations": tolerations}))
		fixtures.rules(found) == {"nodes-dedicated"}
		some finding in found
		contains(finding.message, "does not tolerate")
	}
}

test_nodes_dedicated_is_silent_on_its_nodes if {
	every tolerations in [[tainted], [{"key": "", "operator": "Exists", "value": "", "effect": ""}]] {
		count(placement.findings) == 0 with input as dedicated(object.union(there, {"tolerations": tolerations}))
	}
}

reserved(change) := object.union(fixtures.with_pod(change), {"tier": {"reserved_nodes": [nodes]}})

test_nodes_reserved_fires_for_a_selector_and_for_a_toleration if {
	every change in [{"node_selector": {"example.com/pool": "critical"}}, {"tolerations": [tainted]}] {
		found := placement.findings with input as reserved(change)
		fixtures.rules(found) == {"nodes-reserved"}
	}
}

test_nodes_reserved_is_silent_elsewhere if {
	count(placement.findings) == 0 with input as reserved({})
}

watched(hooks) := fixtures.with_tier(fixtures.facts, {"monitoring": hooks})

test_monitoring_missing_fires_for_each_hook if {
	every hook in ["liveness", "metrics", "tracing"] {
		found := placement.findings with input as watched([hook])
		fixtures.rules(found) == {"monitoring-missing"}
	}
}

test_monitoring_missing_is_silent_with_a_probe_and_for_services_that_are_probed if {
	count(placement.findings) == 0 with input as watched(["readiness"])
	count(placement.findings) == 0 with input as fixtures.with_tier(fixtures.service, {"monitoring": ["liveness"]})
}

test_monitoring_missing_is_silent_with_hooks_around_it if {
	document := fixtures.with_surroundings(watched(["metrics", "tracing"]), {"metrics": true, "tracing": true})
	count(placement.findings) == 0 with input as document
}

test_monitoring_missing_is_silent_with_an_endpoint_for_traces if {
	variable := {
		"name": "OTEL_EXPORTER_OTLP_ENDPOINT",
		"source": "literal",
		"value": "http://otel:4317",
		"looks_like": null,
		"pointer": "/e/0",
	}
	document := fixtures.with_tier(fixtures.with_container({"environment": [variable]}), {"monitoring": ["tracing"]})
	count(placement.findings) == 0 with input as document
}

test_monitoring_missing_is_silent_for_batch_work if {
	document := object.union(watched(["metrics"]), {"change": {"after": {"workload": {"batch": true}}}})
	count(placement.findings) == 0 with input as document
}

latency(said) := fixtures.with_tier(
	fixtures.with_after({"annotations": {"customhouse.dev/latency-target-ms": said}}),
	{"latency_target_ms": 200},
)

test_latency_target_fires_for_a_laxer_one_and_for_no_number if {
	every said in ["201", "fast", "-1", "99999999999999999999999", ""] {
		found := placement.findings with input as latency(said)
		fixtures.rules(found) == {"latency-target"}
	}
}

test_latency_target_is_silent_for_a_stricter_one if {
	count(placement.findings) == 0 with input as latency("150")
}

framework(version, release) := {"name": "pytorch", "version": version, "release": release, "pointer": "/a"}

serving(found, limits) := object.union(
	fixtures.with_workload({"frameworks": found}),
	{"settings": {"frameworks": {"pytorch": limits}}},
)

range := {"min": [2, 4], "below": [3], "text": "at least 2.4 and below 3"}

test_framework_version_fires_outside_the_range if {
	every item in [framework("2.3.9", [2, 3, 9]), framework("3.0", [3, 0]), framework("2", [2])] {
		found := placement.findings with input as serving([item], range)
		fixtures.rules(found) == {"framework-version"}
	}
}

test_framework_version_fires_when_none_is_told if {
	found := placement.findings with input as serving([framework(null, null)], range)
	fixtures.rules(found) == {"framework-version"}
	some finding in found
	finding.message == "The version of pytorch is not told; it has to be at least 2.4 and below 3."
}

test_framework_version_is_silent_in_the_range if {
	every release in [[2, 4], [2, 4, 0], [2, 10, 1]] {
		count(placement.findings) == 0 with input as serving([framework("x", release), framework(null, null)], range)
	}
}

test_framework_version_is_silent_without_limits if {
	open := {"min": null, "below": null, "text": "of any version"}
	count(placement.findings) == 0 with input as serving([framework("1", [1])], open)
}

of_scheduler(change) := fixtures.with_tier(fixtures.with_pod(change), {"scheduler": "customhouse"})

test_scheduler_of_tier_fires_on_another_scheduler if {
	found := placement.findings with input as of_scheduler({"scheduler": "own"})
	fixtures.rules(found) == {"scheduler-of-tier"}
	some finding in found
	finding.pointer == "/spec/template/spec/schedulerName"
}

test_scheduler_of_tier_is_silent_where_the_webhook_fills_it_in if {
	every named in [null, "customhouse"] {
		count(placement.findings) == 0 with input as of_scheduler({"scheduler": named})
	}
}

test_scheduler_of_tier_is_silent_without_one if {
	count(placement.findings) == 0 with input as fixtures.with_pod({"scheduler": "own"})
}
