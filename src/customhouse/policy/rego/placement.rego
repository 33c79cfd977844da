# What a tier asks of where and how a workload runs: its nodes, its latency, what watches it.
package customhouse.rules.placement

import data.customhouse.lib

# METADATA
# title: A tier with dedicated nodes runs on them
# description: >-
#   The pods of the tier select its nodes by their label, and tolerate the taint that keeps others away; without either
#   they share a machine with whatever comes.
# custom:
#   id: nodes-dedicated
#   category: reliability
#   severity: error
#   fix: Select the tier's nodes, and tolerate their taint.
findings contains lib.error("reliability", "nodes-dedicated", pointer, message, fix) if {
	nodes := input.tier.spec.dedicated_nodes
	nodes != null
	some pod in lib.pods
	problem := nodes_problem(pod, nodes)
	message := sprintf("Tier %s runs on its own nodes; the pod does not %s %s=%s.", [
		input.tier.name,
		problem,
		nodes.key,
		nodes.value,
	])
	fix := sprintf("Set nodeSelector %s: %s, and tolerate the taint %s=%s:NoSchedule.", [
		nodes.key,
		nodes.value,
		nodes.key,
		nodes.value,
	])
	pointer := pod.pointer
}

nodes_problem(pod, nodes) := "select" if not selects(pod, nodes)

nodes_problem(pod, nodes) := "tolerate" if {
	selects(pod, nodes)
	not tolerates(pod, nodes)
}

selects(pod, nodes) if pod.node_selector[nodes.key] == nodes.value

tolerates(pod, nodes) if {
	some toleration in pod.tolerations
	toleration.key in {nodes.key, ""}
	tolerated(toleration, nodes)
}

tolerated(toleration, _) if toleration.operator == "Exists"

tolerated(toleration, nodes) if {
	toleration.operator == "Equal"
	toleration.key == nodes.key
	toleration.value == nodes.value
}

# METADATA
# title: Nodes of another tier are left to it
# description: The pod selects nodes that customhouse.yaml dedicates to another tier, or tolerates the taint that keeps others away.
# custom:
#   id: nodes-reserved
#   category: reliability
#   severity: error
#   fix: Remove the node selector and the toleration, or ask for the tier that owns the nodes.
findings contains lib.error("reliability", "nodes-reserved", pointer, message, fix) if {
	some nodes in input.tier.reserved_nodes
	some pod in lib.pods
	reaches(pod, nodes)
	message := sprintf("The nodes with %s=%s belong to another tier than %s.", [nodes.key, nodes.value, input.tier.name])
	fix := "Remove the node selector and the toleration, or ask for the tier that owns the nodes."
	pointer := pod.pointer
}

reaches(pod, nodes) if selects(pod, nodes)

reaches(pod, nodes) if {
	not selects(pod, nodes)
	tolerates(pod, nodes)
}

# METADATA
# title: Pods are placed by their tier's scheduler
# description: >-
#   The tier names a scheduler (scheduling.schedulerName), which knows its rules about nodes, and the pods name another one.
#   Pods that name none, or default-scheduler (which the API server writes where none is named), get it from the webhook.
# custom:
#   id: scheduler-of-tier
#   category: reliability
#   severity: error
#   fix: Remove schedulerName, or name the tier's.
findings contains lib.error("reliability", "scheduler-of-tier", pointer, message, fix) if {
	wanted := input.tier.spec.scheduler
	wanted != null
	some pod in lib.pods
	named := pod.scheduler
	named != null
	named != wanted
	message := sprintf("Tier %s is placed by the scheduler %s; the pod names %s.", [input.tier.name, wanted, named])
	fix := sprintf("Remove schedulerName, or set it to %s.", [wanted])
	pointer := sprintf("%s/schedulerName", [pod.pointer])
}

# METADATA
# title: What a tier wants to see can be seen
# description: >-
#   The tier asks for monitoring hooks. readiness and liveness: a probe in every main container (KServe and Knative probe
#   their own). metrics: an annotation that asks to be scraped, or a PodMonitor or ServiceMonitor for the pods. tracing:
#   an OpenTelemetry annotation, or an OTEL_EXPORTER_OTLP… endpoint in a container.
# custom:
#   id: monitoring-missing
#   category: reliability
#   severity: error
#   fix: "Add the hook: a probe, the annotation prometheus.io/scrape, or an OpenTelemetry annotation."
findings contains lib.error("reliability", "monitoring-missing", "", message, fix) if {
	lib.workload
	not lib.workload.batch
	some hook in input.tier.spec.monitoring
	not hooked(hook)
	message := sprintf("Tier %s asks for %s, and the workload has none.", [input.tier.name, hook])
	fix := remedies[hook]
}

remedies := {
	"readiness": "Add a readinessProbe to every main container.",
	"liveness": "Add a livenessProbe to every main container.",
	"metrics": "Set the annotation prometheus.io/scrape: \"true\" on the pods, or declare a PodMonitor for them.",
	"tracing": "Set the annotation sidecar.opentelemetry.io/inject, or OTEL_EXPORTER_OTLP_ENDPOINT in the container.",
}

hooked(hook) if {
	hook in {"readiness", "liveness"}
	input.change.after.kind == "InferenceService"
}

hooked(hook) if {
	hook in {"readiness", "liveness"}
	without := [container |
		some pod in lib.pods
		some container in pod.containers
		container.role == "main"
		probes := container.probes
		not hook in probes
	]
	count(without) == 0
}

hooked("metrics") if input.surroundings.metrics

hooked("tracing") if input.surroundings.tracing

hooked("tracing") if {
	some pod in lib.pods
	some container in pod.containers
	some variable in container.environment
	variable.name in {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
}

# METADATA
# title: A declared latency target is within the tier's
# description: >-
#   A workload may promise more than its tier (annotation customhouse.dev/latency-target-ms), never less.
# custom:
#   id: latency-target
#   category: reliability
#   severity: error
#   fix: Lower the target, or ask for another tier.
findings contains lib.error("reliability", "latency-target", "/metadata/annotations/customhouse.dev~1latency-target-ms", message, fix) if {
	lib.workload
	limit := input.tier.spec.latency_target_ms
	is_number(limit)
	said := input.change.after.annotations["customhouse.dev/latency-target-ms"]
	not kept(said, limit)
	message := sprintf("The latency target %q is no whole number of milliseconds up to %v, which tier %s promises.", [
		substring(said, 0, 40),
		limit,
		input.tier.name,
	])
	fix := sprintf("Declare at most %v.", [limit])
}

kept(said, limit) if {
	regex.match(`^(0|[1-9][0-9]{0,6})$`, substring(said, 0, 20))
	to_number(said) <= limit
}

# METADATA
# title: Frameworks are of a version that is kept up
# description: The version of a serving framework is within the range of policy.frameworks; one that is not told is a finding too.
# custom:
#   id: framework-version
#   category: compliance
#   severity: error
#   fix: Use a version in the range, and say which it is.
findings contains lib.error("compliance", "framework-version", pointer, message, fix) if {
	some framework in lib.workload.frameworks
	limits := input.settings.frameworks[framework.name]
	message := framework_problem(framework, limits)
	fix := "Use a version in the range, and say which it is (annotation customhouse.dev/framework)."
	pointer := framework.pointer
}

framework_problem(framework, limits) := sprintf("%s %s is not %s.", [framework.name, framework.version, limits.text]) if {
	release := framework.release
	release != null
	not within(release, limits)
}

framework_problem(framework, limits) := sprintf("The version of %s is not told; it has to be %s.", [framework.name, limits.text]) if {
	framework.release == null
	name := framework.name
	not name in told
}

told contains framework.name if {
	some framework in lib.workload.frameworks
	framework.release != null
}

# A release is an array of numbers, and so is a limit without its last zeros: arrays are ordered element by element.
within(release, limits) if {
	at_least(release, limits.min)
	below(release, limits.below)
}

at_least(_, limit) if limit == null

at_least(release, limit) if {
	limit != null
	release >= limit
}

below(_, limit) if limit == null

below(release, limit) if {
	limit != null
	release < limit
}
