# The entry point. One body a topic, each behind a guard: a topic that cannot concern the object costs nothing. A project's
# own rules, packages `customhouse.rules.NAME` with a set `findings`, join by bodies that the bundle adds when it is read
# (`policy.bundle`): named packages are what the embedded engine can compile, and what makes it several times faster.
package customhouse

import data.customhouse.lib

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.pods.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.images.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.labels.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	loads
	some finding in data.customhouse.rules.models.findings
	lib.kept(finding)
}

# What every rule of that topic asks for one of: a model that is declared, or a kind that may load one undeclared.
loads if "model" in lib.roles

loads if input.change.after.kind == "InferenceService"

loads if count(lib.workload.models) > 0

loads if input.change.after.spec.models

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.secrets.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.capacity.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.cost.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.revisions.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	input.review != null
	some finding in data.customhouse.rules.reviews.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	startswith(input.change.after.api_version, "rbac.authorization.k8s.io/")
	some finding in data.customhouse.rules.access.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	input.change.after.kind in cluster_kinds
	some finding in data.customhouse.rules.cluster.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	input.change.after.namespace == "customhouse-system"
	some finding in data.customhouse.rules.cluster.findings
	lib.kept(finding)
}

cluster_kinds := {
	"Namespace",
	"Role",
	"ClusterRole",
	"ValidatingWebhookConfiguration",
	"MutatingWebhookConfiguration",
}

findings contains lib.judged(finding) if {
	scales
	some finding in data.customhouse.rules.autoscaling.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	sleeps
	some finding in data.customhouse.rules.serverless.findings
	lib.kept(finding)
}

# What every rule of that topic asks for one of: something that follows its requests, or a workload without a replica.
sleeps if input.change.after.serverless

sleeps if lib.workload.replicas_min == 0

findings contains lib.judged(finding) if {
	interruptible
	some finding in data.customhouse.rules.spot.findings
	lib.kept(finding)
}

interruptible if {
	some pod in lib.pods
	pod.spot
}

interruptible if {
	some pod in lib.pods
	count(pod.burstable) > 0
}

# What every rule of that topic asks for one of: an end that is asked for or declared, or use that was measured.
bounded if {
	lib.workload
	input.tier.spec.ttl_required
}

bounded if {
	lib.workload
	input.lifetime != null
}

bounded if {
	lib.workload
	input.usage != null
}

# What every rule of that topic asks for one of: an expectation that covers the artifact, or a Build level of the tier.
traced if {
	some artifact in input.artifacts
	artifact.provenance
}

traced if {
	count(input.artifacts) > 0
	is_number(input.tier.spec.provenance_level)
}

traced if {
	count(input.artifacts) > 0
	is_number(input.tier.spec.image_provenance_level)
}

# What every rule of that topic asks for one of: most workloads have none of it.
scales if input.change.after.workload == null

scales if lib.workload.accelerators > 0

scales if input.change.after.annotations != {}

scales if input.change.after.spec.target

scales if input.change.after.spec.container_policies

scales if input.change.after.kind in {"NodePool", "VerticalPodAutoscaler"}

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.evidence.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	bounded
	some finding in data.customhouse.rules.experiments.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.files.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.network.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.placement.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	traced
	some finding in data.customhouse.rules.provenance.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	lib.witnessed
	some finding in data.customhouse.rules.vulnerabilities.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	"model" in lib.roles
	some finding in data.customhouse.rules.evaluation.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.spend.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	"dataset" in lib.roles
	some finding in data.customhouse.rules.datasets.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	count(input.origins) > 0
	some finding in data.customhouse.rules.basemodels.findings
	lib.kept(finding)
}

findings contains lib.judged(finding) if {
	queued
	some finding in data.customhouse.rules.queues.findings
	lib.kept(finding)
}

# What every rule of that topic asks for one of: a queue that is named, a tier that wants one, or a queue itself.
queued if input.surroundings.queue != null

queued if {
	lib.workload
	input.tier.spec.queue_required
}

queued if startswith(input.change.after.api_version, "kueue.x-k8s.io/")
