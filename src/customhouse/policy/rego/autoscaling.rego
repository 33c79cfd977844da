# Objects that change how much runs: HorizontalPodAutoscaler, VerticalPodAutoscaler, KEDA's ScaledObject and ScaledJob,
# Karpenter's NodePool, and the node groups of the Cluster Autoscaler.
package customhouse.rules.autoscaling

import data.customhouse.lib

# METADATA
# title: The range of an autoscaler is in order
# description: The lower end of the range is not above the upper one; Kubernetes or the autoscaler would refuse it, or do nothing.
# custom:
#   id: autoscaler-range
#   category: reliability
#   severity: error
#   fix: Make the upper end at least the lower one.
findings contains lib.error("reliability", "autoscaler-range", pointer, message, fix) if {
	some range in ranges
	range.min > range.max
	message := sprintf("The lower end of the range (%v) is above the upper one (%v).", [range.min, range.max])
	fix := "Make the upper end at least the lower one."
	pointer := range.pointer
}

ranges contains {"min": spec.min_replicas, "max": spec.max_replicas, "pointer": spec.max_pointer} if {
	spec := input.change.after.spec
	is_number(spec.min_replicas)
	is_number(spec.max_replicas)
	spec.target
}

ranges contains {"min": policy[pair[0]], "max": policy[pair[1]], "pointer": policy.pointer} if {
	some policy in input.change.after.spec.container_policies
	some pair in [["cpu_min_milli", "cpu_max_milli"], ["memory_min_bytes", "memory_max_bytes"]]
	is_number(policy[pair[0]])
	is_number(policy[pair[1]])
}

ranges contains {"min": smallest, "max": largest, "pointer": "/metadata/annotations"} if {
	smallest := to_number(node_group("min"))
	largest := to_number(node_group("max"))
}

node_group(end) := size if {
	size := input.change.after.annotations[sprintf("cluster.x-k8s.io/cluster-api-autoscaler-node-group-%s-size", [end])]
	regex.match(`^(0|[1-9][0-9]{0,6})$`, substring(size, 0, 20))
}

# METADATA
# title: An autoscaler has an upper end
# description: >-
#   What grows by itself says how far: maxReplicas, maxReplicaCount (KEDA would take 100), maxAllowed for every container
#   that a VerticalPodAutoscaler changes, limits of a NodePool, the largest size of a node group.
# custom:
#   id: autoscaler-unbounded
#   category: cost
#   severity: error
#   fix: Declare the upper end.
findings contains lib.error("cost", "autoscaler-unbounded", pointer, message, fix) if {
	input.change.after.spec.target
	input.change.after.spec.max_replicas == null
	message := sprintf("The %s has no upper end; neither has its cost.", [input.change.after.kind])
	fix := sprintf("Set %s.", [input.change.after.spec.max_pointer])
	pointer := input.change.after.spec.max_pointer
}

findings contains lib.error("cost", "autoscaler-unbounded", "/spec/resourcePolicy", message, fix) if {
	input.change.after.kind == "VerticalPodAutoscaler"
	input.change.after.spec.update_mode != "Off"
	not input.change.after.spec.bounded
	message := "The VerticalPodAutoscaler may give a container any amount: maxAllowed is missing for cpu or memory."
	fix := "Set maxAllowed for cpu and memory in resourcePolicy.containerPolicies, for containerName '*'."
}

findings contains lib.error("cost", "autoscaler-unbounded", "/spec/limits", message, fix) if {
	input.change.after.kind == "NodePool"
	count(object.get(input.change.after.spec, "limited", ["?"])) == 0
	message := "The NodePool may buy any number of machines: it has no limits."
	fix := "Set spec.limits for cpu, memory and accelerators."
}

findings contains lib.error("cost", "autoscaler-unbounded", "/metadata/annotations", message, fix) if {
	node_group("min")
	not node_group("max")
	message := "The node group grows by itself and has no largest size."
	fix := "Set the annotation cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size."
}

# METADATA
# title: An autoscaler scales something that is there
# description: The target is declared in the same namespace; a wrong name scales nothing, and nobody is told.
# custom:
#   id: autoscaler-target
#   category: reliability
#   severity: warning
#   fix: Name the kind and name of what is to be scaled.
findings contains lib.warning("reliability", "autoscaler-target", "/spec", message, fix) if {
	target := input.change.after.spec.target
	input.surroundings.target_found == false
	message := sprintf("No %s %q is declared in namespace %q.", [target.kind, target.name, input.change.after.namespace])
	fix := "Name the kind and name of what is to be scaled."
}

# METADATA
# title: Two autoscalers do not pull at one workload
# description: >-
#   Two autoscalers of replicas fight over one number, and a VerticalPodAutoscaler that acts changes the very requests that
#   a HorizontalPodAutoscaler of cpu or memory measures by.
# custom:
#   id: autoscaler-conflict
#   category: reliability
#   severity: warning
#   fix: "Keep one, or set the VerticalPodAutoscaler's updateMode to Off (it then only recommends)."
findings contains lib.warning("reliability", "autoscaler-conflict", "/spec", message, fix) if {
	input.change.after.spec.target
	others := input.surroundings.rivals
	count(others) > 0
	object.get(input.change.after.spec, "update_mode", "Auto") != "Off"
	message := sprintf("%s also scale %s %q.", [
		concat(", ", others),
		input.change.after.spec.target.kind,
		input.change.after.spec.target.name,
	])
	fix := "Keep one, or set the VerticalPodAutoscaler's updateMode to Off (it then only recommends)."
}

# METADATA
# title: The declared node pools can carry the accelerators
# description: >-
#   Where NodePools are declared, at least one of them has machines with as many accelerators as a replica asks for, of its
#   class, and the limits of the pools together hold the largest number of replicas.
# custom:
#   id: node-pool-accelerators
#   category: reliability
#   severity: error
#   fix: Ask for fewer accelerators, or change the NodePool.
findings contains lib.error("reliability", "node-pool-accelerators", "", message, fix) if {
	lib.workload.accelerators > 0
	count(pools) > 0
	count(carriers) == 0
	message := sprintf("A replica asks for %v accelerators (%s), and no declared NodePool has machines with them.", [
		lib.workload.accelerators,
		lib.shown(lib.workload.accelerator_classes, "of no class"),
	])
	fix := "Ask for fewer accelerators, or change the NodePool."
}

findings contains lib.error("reliability", "node-pool-accelerators", "", message, fix) if {
	lib.workload.accelerators > 0
	count(carriers) > 0
	limits := [pool.accelerators_total | some pool in carriers]
	not null in limits
	needed := lib.workload.accelerators * lib.workload.replicas_max
	needed > sum(limits)
	message := sprintf("%v replicas ask for %v accelerators; the NodePools that carry them are limited to %v.", [
		lib.workload.replicas_max,
		needed,
		sum(limits),
	])
	fix := "Lower the number of replicas, or raise the limits of the NodePool."
}

default pools := []

pools := input.surroundings.node_pools

carriers := [pool |
	some pool in pools
	enough(pool.accelerators_per_node)
	of_class(pool.accelerator_classes)
]

enough(per_node) if per_node == null

enough(per_node) if lib.workload.accelerators <= per_node

of_class(classes) if classes == null

of_class(classes) if {
	some class in lib.workload.accelerator_classes
	class in classes
}
