package customhouse.tests.spot

import data.customhouse.fixtures
import data.customhouse.rules.spot

spot_pod(change) := object.union(
	object.union(fixtures.pod, {
		"spot": true,
		"replicas_min": 1,
		"termination_grace_s": 30,
		"checkpoint": null,
		"interruption": null,
		"burstable": [],
	}),
	change,
)

on_spot(kind, batch, change, spec) := object.union(
	fixtures.with_workload({"batch": batch, "template": false, "pods": [spot_pod(change)]}),
	{"change": {"after": {"kind": kind, "spec": spec}}},
)

job(spec, change) := on_spot("Job", true, change, object.union({"backoff_limit": 0, "disruptions_ignored": false}, spec))

tier(facts, word) := object.union(facts, {"tier": {"spec": {"burstable": word}}})

test_spot_interruption_fires_for_one_replica if {
	found := spot.findings with input as on_spot("Deployment", false, {}, {})
	fixtures.rules(found) == {"spot-interruption"}
	some finding in found
	finding.pointer == "/spec/template/spec"
	contains(finding.message, "1 replica on spot")
}

test_spot_interruption_is_silent_for_two_replicas if {
	count(spot.findings) == 0 with input as on_spot("Deployment", false, {"replicas_min": 2}, {})
}

test_spot_interruption_is_silent_where_the_owner_accepts_it if {
	count(spot.findings) == 0 with input as on_spot("Deployment", false, {"interruption": "accepted"}, {})
}

test_spot_interruption_is_silent_away_from_spot if {
	count(spot.findings) == 0 with input as on_spot("Deployment", false, {"spot": false}, {})
}

test_spot_interruption_is_silent_for_a_daemonset if {
	count(spot.findings) == 0 with input as on_spot("DaemonSet", false, {}, {})
}

test_spot_pod_fires_for_a_pod_of_its_own if {
	found := spot.findings with input as on_spot("Pod", false, {"replicas_min": 1}, {})
	fixtures.rules(found) == {"spot-pod"}
}

test_spot_pod_is_silent_for_a_pod_that_a_controller_made if {
	facts := object.union(on_spot("Pod", false, {}, {}), {"derived": true})
	count(spot.findings) == 0 with input as facts
}

test_spot_interruption_fires_for_a_job_without_an_attempt_left if {
	found := spot.findings with input as job({}, {"checkpoint": "/state"})
	fixtures.rules(found) == {"spot-interruption"}
}

test_spot_interruption_is_silent_for_a_job_that_ignores_disruptions if {
	count(spot.findings) == 0 with input as job({"disruptions_ignored": true}, {"checkpoint": "/state"})
}

test_spot_interruption_is_silent_for_a_job_with_attempts if {
	count(spot.findings) == 0 with input as job({"backoff_limit": 3}, {"checkpoint": "/state"})
}

test_spot_interruption_fires_for_a_cron_job if {
	spec := {"job": {"backoff_limit": 0, "disruptions_ignored": false}}
	found := spot.findings with input as on_spot("CronJob", true, {"checkpoint": "/state"}, spec)
	fixtures.rules(found) == {"spot-interruption"}
}

test_spot_checkpoint_fires_for_batch_work_that_saves_nothing if {
	found := spot.findings with input as job({"backoff_limit": 3}, {})
	fixtures.rules(found) == {"spot-checkpoint"}
}

test_spot_checkpoint_is_silent_where_it_begins_anew_on_purpose if {
	count(spot.findings) == 0 with input as job({"backoff_limit": 3}, {"interruption": "restart"})
}

test_spot_grace_fires_above_the_longest_notice if {
	found := spot.findings with input as job({"backoff_limit": 3}, {"checkpoint": "/s", "termination_grace_s": 121})
	fixtures.rules(found) == {"spot-grace"}
}

test_spot_grace_is_silent_at_the_longest_notice if {
	count(spot.findings) == 0 with input as job({"backoff_limit": 3}, {"checkpoint": "/s", "termination_grace_s": 120})
}

test_burstable_forbidden_fires_with_the_machine if {
	facts := on_spot("Deployment", false, {"spot": false, "burstable": ["t3.large"]}, {})
	found := spot.findings with input as tier(facts, "forbidden")
	fixtures.rules(found) == {"burstable-forbidden"}
	some finding in found
	contains(finding.message, "t3.large")
}

test_burstable_forbidden_is_silent_where_it_is_allowed if {
	facts := on_spot("Deployment", false, {"spot": false, "burstable": ["t3.large"]}, {})
	count(spot.findings) == 0 with input as tier(facts, "allowed")
}

test_burstable_forbidden_is_silent_for_other_machines if {
	facts := on_spot("Deployment", false, {"spot": false}, {})
	count(spot.findings) == 0 with input as tier(facts, "forbidden")
}
