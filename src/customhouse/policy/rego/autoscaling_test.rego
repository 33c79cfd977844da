package customhouse.tests.autoscaling

import data.customhouse.fixtures
import data.customhouse.rules.autoscaling

horizontal(change) := fixtures.with_object("autoscaling/v2", "HorizontalPodAutoscaler", object.union(
	{
		"target": {"kind": "Deployment", "name": "serve"},
		"min_replicas": 1,
		"max_replicas": 3,
		"max_pointer": "/spec/maxReplicas",
	},
	change,
))

vertical(change) := fixtures.with_object("autoscaling.k8s.io/v1", "VerticalPodAutoscaler", object.union(
	{
		"target": {"kind": "Deployment", "name": "serve"},
		"update_mode": "Auto",
		"bounded": true,
		"container_policies": [{
			"cpu_min_milli": 100,
			"cpu_max_milli": 200,
			"memory_min_bytes": null,
			"memory_max_bytes": 200,
			"pointer": "/spec/resourcePolicy/containerPolicies/0",
		}],
	},
	change,
))

node_group(sizes) := object.union(
	fixtures.with_object("cluster.x-k8s.io/v1beta1", "MachineDeployment", {}),
	{"change": {"after": {"annotations": {name: size |
		some end, size in sizes
		name := sprintf("cluster.x-k8s.io/cluster-api-autoscaler-node-group-%s-size", [end])
	}}}},
)

test_autoscaler_range_fires_for_replicas if {
	found := autoscaling.findings with input as horizontal({"min_replicas": 4})
	fixtures.rules(found) == {"autoscaler-range"}
}

test_autoscaler_range_fires_for_what_a_container_may_have if {
	found := autoscaling.findings with input as vertical({"container_policies": [{
		"cpu_min_milli": 300,
		"cpu_max_milli": 200,
		"memory_min_bytes": null,
		"memory_max_bytes": 200,
		"pointer": "/p",
	}]})
	fixtures.rules(found) == {"autoscaler-range"}
}

test_autoscaler_range_fires_for_a_node_group if {
	found := autoscaling.findings with input as node_group({"min": "10", "max": "9"})
	fixtures.rules(found) == {"autoscaler-range"}
}

test_autoscaler_range_is_silent_in_order if {
	count(autoscaling.findings) == 0 with input as horizontal({})
	count(autoscaling.findings) == 0 with input as vertical({})
	count(autoscaling.findings) == 0 with input as node_group({"min": "9", "max": "10"})
}

test_autoscaler_unbounded_fires_for_replicas if {
	found := autoscaling.findings with input as horizontal({"max_replicas": null})
	fixtures.rules(found) == {"autoscaler-unbounded"}
}

test_autoscaler_unbounded_fires_for_what_a_container_may_have if {
	found := autoscaling.findings with input as vertical({"bounded": false})
	fixtures.rules(found) == {"autoscaler-unbounded"}
}

test_autoscaler_unbounded_fires_for_a_node_pool if {
	found := autoscaling.findings with input as fixtures.with_object("karpenter.sh/v1", "NodePool", {"limited": []})
	fixtures.rules(found) == {"autoscaler-unbounded"}
}

test_autoscaler_unbounded_fires_for_a_node_group if {
	found := autoscaling.findings with input as node_group({"min": "1"})
	fixtures.rules(found) == {"autoscaler-unbounded"}
}

test_autoscaler_unbounded_is_silent_for_one_that_only_recommends if {
	count(autoscaling.findings) == 0 with input as vertical({"bounded": false, "update_mode": "Off"})
}

test_autoscaler_target_fires_when_it_is_not_there if {
	found := autoscaling.findings with input as fixtures.with_surroundings(horizontal({}), {"target_found": false})
	fixtures.rules(found) == {"autoscaler-target"}
}

test_autoscaler_target_is_silent_when_it_is_there if {
	count(autoscaling.findings) == 0 with input as fixtures.with_surroundings(horizontal({}), {"target_found": true})
}

rivals := {"rivals": ["HorizontalPodAutoscaler serve"]}

test_autoscaler_conflict_fires_for_two if {
	every document in [horizontal({}), vertical({})] {
		found := autoscaling.findings with input as fixtures.with_surroundings(document, rivals)
		fixtures.rules(found) == {"autoscaler-conflict"}
	}
}

test_autoscaler_conflict_is_silent_when_one_only_recommends if {
	document := fixtures.with_surroundings(vertical({"update_mode": "Off"}), rivals)
	count(autoscaling.findings) == 0 with input as document
}

pooled(pool) := fixtures.with_surroundings(
	fixtures.with_workload({"accelerators": 2, "accelerator_classes": ["L4"]}),
	{"node_pools": [object.union(
		{"name": "gpu", "accelerators_per_node": 8, "accelerators_total": 8, "accelerator_classes": ["L4"]},
		pool,
	)]},
)

test_node_pool_accelerators_fires_when_no_machine_has_enough if {
	every pool in [{"accelerators_per_node": 1}, {"accelerator_classes": ["T4"]}] {
		found := autoscaling.findings with input as pooled(pool)
		fixtures.rules(found) == {"node-pool-accelerators"}
	}
}

test_node_pool_accelerators_fires_when_the_limits_do_not_hold_them_all if {
	found := autoscaling.findings with input as pooled({"accelerators_total": 5})
	fixtures.rules(found) == {"node-pool-accelerators"}
	some finding in found
	contains(finding.message, "3 replicas ask for 6 accelerators")
}

test_node_pool_accelerators_is_silent_when_they_fit if {
	count(autoscaling.findings) == 0 with input as pooled({})
}

test_node_pool_accelerators_is_silent_when_a_pool_has_no_bounds if {
	change := {"accelerators_per_node": null, "accelerators_total": null, "accelerator_classes": null}
	count(autoscaling.findings) == 0 with input as pooled(change)
}

test_node_pool_accelerators_is_silent_when_no_pools_are_declared_or_known if {
	document := pooled({})
	count(autoscaling.findings) == 0 with input as fixtures.with_surroundings(document, {"node_pools": []})
	count(autoscaling.findings) == 0 with input as object.remove(document, ["surroundings"])
}
