package customhouse.tests.capacity

import data.customhouse.fixtures
import data.customhouse.rules.capacity

gpus(class, count) := fixtures.with_workload({
	"accelerator": class,
	"accelerators": count,
	"accelerator_classes": [class],
	"pods": [object.union(fixtures.pod, {"containers": [object.union(fixtures.container, {"accelerators": count})]})],
})

job(spot) := object.union(fixtures.with_workload({"batch": true, "spot": spot}), {"change": {"after": {"kind": "Job"}}})

scaler(limit) := fixtures.with_object("autoscaling/v2", "HorizontalPodAutoscaler", {
	"target": {"kind": "Deployment", "name": "serve"},
	"max_replicas": limit,
})

# One set of pods of two; batch work is on spot capacity as a whole only when all of them are.
spot_pods := fixtures.with_workload({"spot": false, "pods": [
	fixtures.pod,
	object.union(fixtures.pod, {"spot": true, "pointer": "/spec/worker/template/spec"}),
]})

unbounded(kind, component) := object.union(
	fixtures.with_workload({"pods": [object.union(fixtures.pod, {"replicas_bounded": false, "component": component})]}),
	{"change": {"after": {"kind": kind}}},
)

claim(accelerator, count) := fixtures.with_object(
	"resource.k8s.io/v1",
	"ResourceClaimTemplate",
	{"devices": [{"device_class": "gpu.nvidia.com", "accelerator": accelerator, "count": count}]},
)

tier(change) := object.union(fixtures.facts, {"tier": change})

max_replicas(limit) := object.union(fixtures.service, {"change": {"after": {"spec": {"max_replicas": limit}}}})

test_spot_required_is_silent_where_the_tier_falls_back if {
	facts := object.union(job(false), {"tier": {"spec": {"spot": "required", "spot_fallback_minutes": 10}}})
	count(capacity.findings) == 0 with input as facts
}

test_spot_required_fires_where_there_is_no_fall_back if {
	facts := object.union(job(false), {"tier": {"spec": {"spot": "required", "spot_fallback_minutes": null}}})
	found := capacity.findings with input as facts
	fixtures.rules(found) == {"spot-required"}
}

test_tier_not_granted_fires_with_the_tier_it_was_judged_as if {
	found := capacity.findings with input as tier({"requested": "critical", "granted": false})
	fixtures.rules(found) == {"tier-not-granted"}
	some finding in found
	contains(finding.message, `critical is not granted to namespace "fraud"; it was judged as standard`)
}

test_tier_not_granted_is_silent_for_a_deletion if {
	count(capacity.findings) == 0 with input as object.union(fixtures.deletion, {"tier": {"granted": false}})
}

test_tier_not_granted_is_silent_for_a_granted_one if {
	count(capacity.findings) == 0 with input as tier({"requested": "standard"})
}

test_gpu_class_fires_for_a_class_of_another_tier if {
	found := capacity.findings with input as gpus("H100", 1)
	fixtures.rules(found) == {"gpu-class"}
	some finding in found
	finding.pointer == "/spec/template/spec/containers/0/resources/limits"
	contains(finding.message, "H100 (1 per replica); it may use: L4, T4")
}

test_gpu_class_fires_when_the_tier_may_use_none if {
	found := capacity.findings with input as fixtures.with_tier(gpus("L4", 1), {"gpu_classes": []})
	fixtures.rules(found) == {"gpu-class"}
	some finding in found
	contains(finding.message, "it may use: none")
}

test_gpu_class_fires_when_no_container_can_be_named if {
	found := capacity.findings with input as fixtures.with_workload({"accelerator_classes": ["H100"]})
	fixtures.rules(found) == {"gpu-class"}
}

test_gpu_class_fires_for_a_claim if {
	found := capacity.findings with input as claim("H100", 1)
	fixtures.rules(found) == {"gpu-class"}
}

test_gpu_class_is_silent_for_a_claim_of_a_class_of_the_tier if {
	count(capacity.findings) == 0 with input as claim("L4", 1)
}

test_gpu_count_fires_for_a_claim if {
	found := capacity.findings with input as claim("L4", 999)
	fixtures.rules(found) == {"gpu-count"}
}

test_gpu_class_is_silent_for_a_class_of_the_tier if {
	count(capacity.findings) == 0 with input as gpus("L4", 1)
}

test_gpu_class_is_silent_when_the_tier_has_no_list if {
	count(capacity.findings) == 0 with input as fixtures.with_tier(gpus("H100", 1), {"gpu_classes": null})
}

test_gpu_class_unknown_fires_even_without_a_list if {
	found := capacity.findings with input as fixtures.with_tier(gpus("unknown", 2), {"gpu_classes": null})
	fixtures.rules(found) == {"gpu-class-unknown"}
}

test_gpu_class_unknown_is_silent_without_accelerators if {
	count(capacity.findings) == 0 with input as fixtures.facts
}

test_gpu_count_fires_above_the_bound if {
	found := capacity.findings with input as gpus("L4", 8)
	fixtures.rules(found) == {"gpu-count"}
}

test_gpu_count_is_silent_at_the_bound if {
	count(capacity.findings) == 0 with input as gpus("L4", 2)
}

test_spot_required_fires_for_batch_on_demand if {
	found := capacity.findings with input as job(false)
	fixtures.rules(found) == {"spot-required"}
}

test_spot_required_is_silent_for_batch_on_spot if {
	count(capacity.findings) == 0 with input as job(true)
}

test_spot_required_is_silent_for_what_serves if {
	count(capacity.findings) == 0 with input as fixtures.facts
}

test_spot_forbidden_fires if {
	found := capacity.findings with input as fixtures.with_tier(spot_pods, {"spot": "forbidden"})
	fixtures.rules(found) == {"spot-forbidden"}
}

test_spot_forbidden_is_silent_where_it_is_allowed if {
	count(capacity.findings) == 0 with input as fixtures.with_tier(spot_pods, {"spot": "allowed"})
}

test_replicas_unbounded_fires_without_a_maximum if {
	found := capacity.findings with input as max_replicas(null)
	fixtures.rules(found) == {"replicas-unbounded"}
}

test_replicas_unbounded_fires_for_a_range_upside_down if {
	service := object.union(max_replicas(1), {"change": {"after": {"workload": {"replicas_min": 2}}}})
	found := capacity.findings with input as service
	fixtures.rules(found) == {"replicas-unbounded"}
}

test_replicas_unbounded_fires_for_every_set_of_pods if {
	every kind, component in {"RayService": "worker", "Service": "revision", "InferenceService": "transformer"} {
		found := capacity.findings with input as unbounded(kind, component)
		fixtures.rules(found) == {"replicas-unbounded"}
	}
}

test_replicas_unbounded_is_silent_for_a_range if {
	count(capacity.findings) == 0 with input as max_replicas(3)
}

test_replicas_over_bound_fires_with_the_place_of_its_kind if {
	every kind, pointer in {
		"Deployment": "/spec/replicas",
		"InferenceService": "/spec/predictor/maxReplicas",
		"Job": "/spec/parallelism",
		"CronJob": "/spec/jobTemplate/spec/parallelism",
	} {
		many := fixtures.with_after({"kind": kind, "workload": {"replicas_max": 6}, "spec": {"max_replicas": 6}})
		found := capacity.findings with input as many
		fixtures.rules(found) == {"replicas-over-bound"}
		some finding in found
		finding.pointer == pointer
	}
}

test_replicas_over_bound_fires_for_an_autoscaler if {
	found := capacity.findings with input as scaler(6)
	fixtures.rules(found) == {"replicas-over-bound"}
}

test_replicas_over_bound_is_silent_at_the_bound if {
	count(capacity.findings) == 0 with input as scaler(5)
}

test_replicas_over_bound_is_silent_without_a_bound if {
	count(capacity.findings) == 0 with input as fixtures.with_tier(scaler(600), {"max_replicas": null})
}

queued(classes) := object.union(
	fixtures.with_workload({"accelerators": 1, "accelerator_classes": ["unknown"]}),
	{"surroundings": {"queue": {"name": "train", "cluster_queue": "gpus", "problem": "", "lacks": [], "places": [
		{"pods": "pod", "flavors": ["first"], "accelerator_classes": [class]} |
		some class in classes
	]}}},
)

test_the_flavors_of_a_queue_name_the_class if {
	count(capacity.findings) == 0 with input as queued(["L4"])
	found := capacity.findings with input as queued(["L4", "unknown"])
	fixtures.rules(found) == {"gpu-class-unknown"}
}

test_every_flavor_of_a_queue_has_to_be_of_the_tier if {
	found := capacity.findings with input as queued(["L4", "H100"])
	fixtures.rules(found) == {"gpu-class"}
	some finding in found
	contains(finding.message, "Queue train may send it to flavor first with H100, which tier standard may not use")
}

device(change) := object.union(
	{"claim": "gpus", "device_class": "team", "accelerator": "L4", "count": 1, "preferred": true},
	change,
)

claiming(devices) := object.union(
	fixtures.with_workload({"accelerators": 0, "accelerator_classes": []}),
	{"surroundings": {"claimed": devices}},
)

test_what_a_workload_claims_is_held_to_its_tier if {
	count(capacity.findings) == 0 with input as claiming([device({})])
	count(capacity.findings) == 0 with input as claiming([device({"accelerator": "unknown"})])
	found := capacity.findings with input as claiming([device({}), device({"accelerator": "H100", "preferred": false})])
	fixtures.rules(found) == {"gpu-class"}
	some finding in found
	contains(finding.message, "Tier standard may not use H100, which its claim gpus may get (1)")
}

test_claims_count_beside_counted_accelerators if {
	found := capacity.findings with input as claiming([device({"count": 1000})])
	fixtures.rules(found) == {"gpu-count"}
	count(capacity.findings) == 0 with input as claiming([device({"count": 1000, "preferred": false})])
}

test_a_claim_is_judged_by_the_classes_that_are_declared if {
	bare := fixtures.with_object("resource.k8s.io/v1", "ResourceClaim", {"devices": [device({"accelerator": "team"})]})
	fixtures.rules(capacity.findings) == {"gpu-class"} with input as bare
	known := object.union(bare, {"surroundings": {"claimed": [device({})]}})
	count(capacity.findings) == 0 with input as known
	none := object.union(bare, {"surroundings": null})
	fixtures.rules(capacity.findings) == {"gpu-class"} with input as none
}
