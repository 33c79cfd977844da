package customhouse.tests.experiments

import data.customhouse.fixtures
import data.customhouse.rules.experiments

asked := fixtures.with_tier(fixtures.facts, {"ttl_required": true, "max_ttl_days": 30})

living(seconds) := object.union(asked, {"lifetime": {"ttl": "2026-02-10", "seconds_left": seconds}})

test_ttl_missing_fires_where_the_tier_asks if {
	found := experiments.findings with input as asked
	fixtures.rules(found) == {"ttl-missing"}
}

test_ttl_missing_is_silent_where_it_is_told if {
	count(experiments.findings) == 0 with input as living(86400)
}

test_ttl_missing_is_silent_where_nobody_asks if {
	count(experiments.findings) == 0 with input as fixtures.facts
}

test_ttl_invalid_fires if {
	found := experiments.findings with input as living(null)
	fixtures.rules(found) == {"ttl-invalid"}
}

test_ttl_invalid_is_silent_for_a_day if {
	count(experiments.findings) == 0 with input as living(86400)
}

test_ttl_expired_fires_at_the_end if {
	found := experiments.findings with input as living(0)
	fixtures.rules(found) == {"ttl-expired"}
}

test_ttl_expired_is_silent_before_the_end if {
	count(experiments.findings) == 0 with input as living(1)
}

test_ttl_too_long_fires if {
	found := experiments.findings with input as living((31 * 86400) + 1)
	fixtures.rules(found) == {"ttl-too-long"}
}

test_ttl_too_long_is_silent_within_the_days if {
	count(experiments.findings) == 0 with input as living(31 * 86400)
}

used(change) := object.union(fixtures.facts, {"usage": object.union(
	{"window_days": 14, "cpu_milli": 400, "memory_bytes": 200000000, "accelerator_percent": null, "requests": 5},
	change,
)})

test_workload_idle_fires_without_requests if {
	found := experiments.findings with input as used({"requests": 0})
	fixtures.rules(found) == {"workload-idle"}
}

test_workload_idle_fires_for_accelerators_that_do_nothing if {
	document := object.union(used({"accelerator_percent": 3}), {"change": {"after": {"workload": {"accelerators": 2}}}})
	found := experiments.findings with input as document
	fixtures.rules(found) == {"workload-idle"}
}

test_workload_idle_is_silent_for_what_works if {
	count(experiments.findings) == 0 with input as used({})
}

test_workload_oversized_fires_below_half if {
	found := experiments.findings with input as used({"cpu_milli": 200})
	fixtures.rules(found) == {"workload-oversized"}
}

test_workload_oversized_is_silent_at_half if {
	count(experiments.findings) == 0 with input as used({"cpu_milli": 250})
}
