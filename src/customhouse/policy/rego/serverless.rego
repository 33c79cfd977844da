# What follows its requests: KServe and Knative without a server, KEDA and its HTTP add-on; who may sleep, and for how long
# the first request then waits.
package customhouse.rules.serverless

import data.customhouse.lib

# METADATA
# title: A tier that must answer at once does not scale to zero
# description: >-
#   The first request to a workload without replicas waits for a machine and for the model to load. Also a transformer or
#   explainer that sleeps, and an autoscaler (also KEDA's, also paused at zero) that may take its target to zero.
# custom:
#   id: scale-to-zero
#   category: reliability
#   severity: error
#   fix: Set minReplicas to 1 or more.
findings contains lib.error("reliability", "scale-to-zero", "", message, fix) if {
	lib.workload
	not lib.workload.batch
	input.tier.spec.scale_to_zero == "forbidden"
	lib.workload.replicas_min == 0
	message := sprintf("The workload may scale to zero; tier %s forbids it.", [input.tier.name])
	fix := "Set minReplicas to 1 or more."
}

findings contains lib.error("reliability", "scale-to-zero", pointer, message, fix) if {
	input.tier.spec.scale_to_zero == "forbidden"
	some part in asleep
	pointer := part.pointer
	not told_whole
	message := sprintf("The %s may scale to zero; tier %s forbids it.", [part.what, input.tier.name])
	fix := "Set minReplicas (min-scale, minReplicaCount, replicas.min, paused-replicas) to 1 or more."
}

# The workload as a whole was told already.
told_whole if lib.workload.replicas_min == 0

# METADATA
# title: A tier runs nothing without a server where it forbids that
# description: >-
#   In a tier with `serverless: forbidden` nothing is run by Knative, by KServe in that mode, or by KEDA's HTTP add-on, and
#   nothing goes to zero: what answers depends on an activator or interceptor in the way of each request.
# custom:
#   id: serverless-forbidden
#   category: reliability
#   severity: error
#   fix: "Run a number of replicas, or a HorizontalPodAutoscaler (KServe: deploymentMode Standard)."
findings contains lib.error("reliability", "serverless-forbidden", "", message, fix) if {
	input.tier.spec.serverless == "forbidden"
	without_server
	message := sprintf("%s follows its requests (%s); tier %s forbids serverless.", [
		input.change.after.kind,
		names[served.how],
		input.tier.name,
	])
	fix := "Run a number of replicas, or a HorizontalPodAutoscaler (KServe: deploymentMode Standard)."
}

without_server if served.how in {"knative", "keda-http"}

without_server if count(asleep) > 0

names := {"knative": "Knative", "keda": "KEDA", "keda-http": "KEDA's HTTP add-on", "hpa": "a HorizontalPodAutoscaler"}

# METADATA
# title: What may sleep starts within the time that its tier allows
# description: >-
#   In a tier with coldStartSeconds, what may have no replica says how long one takes to start, as measured (annotation
#   customhouse.dev/cold-start-seconds), and that is within the bound: so long the first request waits.
# custom:
#   id: cold-start
#   category: reliability
#   severity: error
#   fix: Measure the start, declare it, and keep a replica where it is too long.
findings contains lib.error("reliability", "cold-start", "/metadata/annotations", message, fix) if {
	is_number(input.tier.spec.cold_start_seconds)
	count(asleep) > 0
	served.cold_start_seconds == null
	message := sprintf("It may scale to zero and does not say how long a start takes; tier %s allows %v seconds.", [
		input.tier.name,
		input.tier.spec.cold_start_seconds,
	])
	fix := "Measure it and annotate customhouse.dev/cold-start-seconds with it, in quotes."
}

findings contains lib.error("reliability", "cold-start", "/metadata/annotations", message, fix) if {
	is_number(input.tier.spec.cold_start_seconds)
	count(asleep) > 0
	served.cold_start_seconds > input.tier.spec.cold_start_seconds
	message := sprintf("A start takes %v seconds, and the first request after a pause waits for it; tier %s allows %v.", [
		served.cold_start_seconds,
		input.tier.name,
		input.tier.spec.cold_start_seconds,
	])
	fix := "Keep a replica (minReplicas 1), or make the start faster and measure it again."
}

# METADATA
# title: What takes a workload to zero is judged in the workload's tier
# description: >-
#   An autoscaler (also a ScaledObject or HTTPScaledObject) that may take its target to zero asks for the same tier as its
#   target (label customhouse.dev/tier): else a tier that forbids sleeping is asked by an object that is not in it.
# custom:
#   id: scaler-tier
#   category: reliability
#   severity: error
#   fix: Give both the same label customhouse.dev/tier.
findings contains lib.error("reliability", "scaler-tier", "/metadata/labels", message, fix) if {
	count(asleep) > 0
	wanted := input.surroundings.target_tier
	wanted != input.tier.requested
	message := sprintf("It may take to zero what asks for tier %q, and does not ask for that tier itself.", [wanted])
	fix := sprintf("Set the label customhouse.dev/tier to %q.", [wanted])
}

# METADATA
# title: What is written of scaling by requests is understood
# description: >-
#   An annotation of autoscaling.knative.dev that nothing reads, or a value out of its bounds: Knative would refuse it, or
#   scale otherwise than it reads.
# custom:
#   id: scaling-unread
#   category: reliability
#   severity: warning
#   fix: Correct the annotation, or take it away.
findings contains lib.warning("reliability", "scaling-unread", "", message, fix) if {
	is_string(served.problem)
	message := sprintf("How it scales cannot be read: %s.", [served.problem])
	fix := "Correct the annotation, or take it away."
}

served := input.change.after.serverless

default asleep := []

asleep := served.asleep
