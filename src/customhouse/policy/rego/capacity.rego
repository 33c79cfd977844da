package customhouse.rules.capacity

import data.customhouse.lib

# METADATA
# title: A tier that is asked for has to be granted
# description: >-
#   The label customhouse.dev/tier only asks. customhouse.yaml lists which namespaces and paths may use a tier; what is
#   not listed is judged as the default tier, and refused.
# custom:
#   id: tier-not-granted
#   category: compliance
#   severity: error
#   fix: Remove the label, or have the namespace added to the tier in customhouse.yaml.
findings contains lib.error("compliance", "tier-not-granted", "/metadata/labels/customhouse.dev~1tier", message, fix) if {
	input.change.after != null
	not input.tier.granted
	message := sprintf("The tier %s is not granted to namespace %q; it was judged as %s.", [
		input.tier.requested,
		input.change.after.namespace,
		input.tier.name,
	])
	fix := "Remove the label, or have the namespace added to the tier in customhouse.yaml."
}

# METADATA
# title: The accelerator is one that the tier may use
# description: >-
#   Every tier lists the accelerator classes it may use, so that scarce and dear hardware stays with what needs it.
# custom:
#   id: gpu-class
#   category: cost
#   severity: error
#   fix: Ask for a class of the tier, or for the tier that has the class.
findings contains lib.error("cost", "gpu-class", pointer, message, fix) if {
	lib.workload
	classes := input.tier.spec.gpu_classes
	classes != null
	some class in lib.workload.accelerator_classes
	class != "unknown"
	not class in classes
	message := sprintf("Tier %s may not use %s (%v per replica); it may use: %s.", [
		input.tier.name,
		class,
		lib.workload.accelerators,
		lib.shown(input.tier.spec.gpu_classes, "none"),
	])
	fix := "Ask for a class of the tier, or for the tier that has the class."
	pointer := accelerator_pointer
}

findings contains lib.error("cost", "gpu-class", pointer, message, fix) if {
	classes := input.tier.spec.gpu_classes
	classes != null
	some place in input.surroundings.queue.places
	some class in place.accelerator_classes
	class != "unknown"
	not class in classes
	own := lib.workload.accelerator_classes
	not class in own
	message := sprintf("Queue %s may send it to flavor %s with %s, which tier %s may not use; it may use: %s.", [
		input.surroundings.queue.name,
		concat(" + ", place.flavors),
		class,
		input.tier.name,
		lib.shown(classes, "none"),
	])
	fix := "Ask for a class of the tier, or for the tier that has the class."
	pointer := accelerator_pointer
}

findings contains lib.error("cost", "gpu-class", "/spec", message, fix) if {
	is_claim
	classes := input.tier.spec.gpu_classes
	classes != null
	some device in claim_devices
	class := device.accelerator
	class != "unknown"
	not class in classes
	message := sprintf("Tier %s may not use %s, which this claim asks for (%v); it may use: %s.", [
		input.tier.name,
		device.accelerator,
		device.count,
		lib.shown(input.tier.spec.gpu_classes, "none"),
	])
	fix := "Ask for a class of the tier, or for the tier that has the class."
}

# The flavors of its queue say which class it will get: every one that it may land on.
named_by_queue if {
	count(input.surroundings.queue.places) > 0
	unnamed := [place | some place in input.surroundings.queue.places; "unknown" in place.accelerator_classes]
	count(unnamed) == 0
}

# By the device classes that are declared beside it, where any are known of.
claim_devices := input.surroundings.claimed if {
	count(claimed) > 0
} else := input.change.after.spec.devices

claimed := [device | some device in input.surroundings.claimed]

is_claim if {
	input.change.after.kind in {"ResourceClaim", "ResourceClaimTemplate"}
	startswith(input.change.after.api_version, "resource.k8s.io/")
}

findings contains lib.error("cost", "gpu-class", pointer, message, fix) if {
	lib.workload
	classes := input.tier.spec.gpu_classes
	classes != null
	some device in claimed
	class := device.accelerator
	class != "unknown"
	not class in classes
	message := sprintf("Tier %s may not use %s, which its claim %s may get (%v); it may use: %s.", [
		input.tier.name,
		class,
		device.claim,
		device.count,
		lib.shown(classes, "none"),
	])
	fix := "Ask for a class of the tier, or for the tier that has the class."
	pointer := accelerator_pointer
}

# METADATA
# title: Whoever asks for accelerators says which
# description: >-
#   A number of accelerators without a class (a node selector such as nvidia.com/gpu.product) may become anything from
#   a T4 to an H100: it can be neither priced nor judged.
# custom:
#   id: gpu-class-unknown
#   category: cost
#   severity: error
#   fix: "Name the class in nodeSelector, for example nvidia.com/gpu.product: NVIDIA-L4."
findings contains lib.error("cost", "gpu-class-unknown", pointer, message, fix) if {
	lib.workload
	"unknown" in lib.workload.accelerator_classes
	not named_by_queue
	message := sprintf("The workload asks for %v accelerators per replica and names no class.", [lib.workload.accelerators])
	fix := "Name the class in nodeSelector, for example nvidia.com/gpu.product: NVIDIA-L4."
	pointer := accelerator_pointer
}

# METADATA
# title: A replica has no more accelerators than the tier allows
# description: The tier bounds the whole accelerators of one replica, and of one claim.
# custom:
#   id: gpu-count
#   category: cost
#   severity: error
#   fix: Ask for fewer accelerators.
findings contains lib.error("cost", "gpu-count", pointer, message, fix) if {
	lib.workload
	limit := input.tier.spec.max_accelerators
	limit != null
	lib.workload.accelerators > limit
	message := sprintf("One replica asks for %v accelerators; tier %s allows %v.", [
		lib.workload.accelerators,
		input.tier.name,
		limit,
	])
	fix := sprintf("Ask for at most %v.", [limit])
	pointer := accelerator_pointer
}

findings contains lib.error("cost", "gpu-count", pointer, message, fix) if {
	lib.workload
	limit := input.tier.spec.max_accelerators
	limit != null
	asked := sum([device.count | some device in claimed; device.preferred; device.accelerator != "unknown"])
	asked > 0
	total := lib.workload.accelerators + asked
	total > limit
	message := sprintf("One replica asks for %v accelerators, %v of them by claims; tier %s allows %v.", [
		total,
		asked,
		input.tier.name,
		limit,
	])
	fix := sprintf("Ask for at most %v.", [limit])
	pointer := accelerator_pointer
}

findings contains lib.error("cost", "gpu-count", "/spec", message, fix) if {
	is_claim
	limit := input.tier.spec.max_accelerators
	limit != null
	asked := sum([device.count |
		some device in claim_devices
		device.accelerator != "unknown"
		object.get(device, "preferred", true)
	])
	asked > limit
	message := sprintf("One claim asks for %v accelerators; tier %s allows %v.", [asked, input.tier.name, limit])
	fix := sprintf("Ask for at most %v.", [limit])
}

# METADATA
# title: Batch work runs on spot capacity where the tier says so
# description: >-
#   A Job can start again when its machine is taken away, so it has no claim to on-demand prices in a tier with spot
#   required.
# custom:
#   id: spot-required
#   category: cost
#   severity: error
#   fix: "Set nodeSelector customhouse.dev/capacity: spot (or your cloud's label)."
findings contains lib.error("cost", "spot-required", pointer, message, fix) if {
	lib.workload.batch
	not lib.workload.spot
	input.tier.spec.spot == "required"
	not falls_back
	message := sprintf("Tier %s runs batch work on spot capacity; this workload does not ask for it.", [input.tier.name])
	fix := "Set nodeSelector customhouse.dev/capacity: spot (or your cloud's label)."
	pointer := pod_pointer("nodeSelector")
}

# With a declared fall-back a selector would keep the pods from on-demand machines: the webhook prefers spot instead.
default falls_back := false

falls_back := true if input.tier.spec.spot_fallback_minutes > 0

# METADATA
# title: No spot capacity where the tier forbids it
# description: A spot machine can go within two minutes; a tier that promises availability forbids it.
# custom:
#   id: spot-forbidden
#   category: reliability
#   severity: error
#   fix: Remove the node selector that asks for spot capacity.
findings contains lib.error("reliability", "spot-forbidden", pointer, message, fix) if {
	input.tier.spec.spot == "forbidden"
	some pod in lib.pods
	pod.spot
	message := sprintf("Tier %s forbids spot capacity; this workload asks for it.", [input.tier.name])
	fix := "Remove the node selector that asks for spot capacity."
	pointer := sprintf("%s/nodeSelector", [pod.pointer])
}

# METADATA
# title: The range of replicas is bounded
# description: >-
#   An InferenceService without maxReplicas grows with its traffic without end, and so does its bill; a range has to
#   have its ends in order.
# custom:
#   id: replicas-unbounded
#   category: cost
#   severity: error
#   fix: Set spec.predictor.maxReplicas.
findings contains lib.error("cost", "replicas-unbounded", "/spec/predictor", message, fix) if {
	input.change.after.kind == "InferenceService"
	lib.workload
	input.change.after.spec.max_replicas == null
	message := "The InferenceService has no maxReplicas: its cost has no upper bound."
	fix := "Set spec.predictor.maxReplicas."
}

findings contains lib.error("cost", "replicas-unbounded", "/spec/predictor/maxReplicas", message, fix) if {
	input.change.after.kind == "InferenceService"
	lib.workload
	input.change.after.spec.max_replicas != null # null sorts below every number
	input.change.after.spec.max_replicas < lib.workload.replicas_min
	message := sprintf("maxReplicas (%v) is below minReplicas (%v).", [
		input.change.after.spec.max_replicas,
		lib.workload.replicas_min,
	])
	fix := "Set maxReplicas to at least minReplicas."
}

findings contains lib.error("cost", "replicas-unbounded", pointer, message, fix) if {
	some pod in lib.pods
	pod.replicas_bounded == false
	not named_above(pod)
	message := sprintf("The %s pods of this %s grow without an upper end, and so does their cost.", [
		pod.component,
		input.change.after.kind,
	])
	fix := "Set the upper end of the range (maxReplicas, maxReplicaCount, autoscaling.knative.dev/max-scale)."
	pointer := pod.pointer
}

named_above(pod) if {
	input.change.after.kind == "InferenceService"
	startswith(pod.component, "predictor")
}

# METADATA
# title: No more replicas than the tier allows
# description: The upper end of the range, of an autoscaler too, is within the tier's max_replicas.
# custom:
#   id: replicas-over-bound
#   category: cost
#   severity: error
#   fix: Lower the number of replicas, or ask for another tier.
findings contains lib.error("cost", "replicas-over-bound", pointer, message, fix) if {
	limit := input.tier.spec.max_replicas
	limit != null
	some replicas in declared_replicas
	replicas.count > limit
	message := sprintf("Up to %v replicas are declared; tier %s allows %v.", [replicas.count, input.tier.name, limit])
	fix := sprintf("Declare at most %v.", [limit])
	pointer := replicas.pointer
}

declared_replicas contains {"count": lib.workload.replicas_max, "pointer": replica_pointer}

declared_replicas contains {"count": limit, "pointer": pointer} if {
	input.change.after.spec.target # an autoscaler
	limit := input.change.after.spec.max_replicas
	limit != null
	pointer := object.get(input.change.after.spec, "max_pointer", "/spec/maxReplicas")
}

default replica_pointer := "/spec/replicas"

replica_pointer := "/spec/predictor/maxReplicas" if input.change.after.kind == "InferenceService"

replica_pointer := "/spec/parallelism" if input.change.after.kind == "Job"

replica_pointer := "/spec/jobTemplate/spec/parallelism" if input.change.after.kind == "CronJob"

default accelerator_pointer := ""

accelerator_pointer := places[0]

places := [sprintf("%s/resources/limits", [container.pointer]) |
	some pod in lib.pods
	some container in pod.containers
	container.accelerators > 0
]

pod_pointer(field) := sprintf("%s/%s", [lib.pods[0].pointer, field])
