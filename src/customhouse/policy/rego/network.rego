package customhouse.rules.network

import data.customhouse.lib

# METADATA
# title: A namespace with workloads denies by default
# description: >-
#   Pods accept every connection until a NetworkPolicy selects them. The namespace of every workload has one that selects
#   all of its pods (an empty podSelector), names Ingress and allows nothing; what is needed is allowed by others beside it.
# custom:
#   id: network-default-deny
#   category: security
#   severity: error
#   tiers: "standard: warning; experiment: note"
#   fix: "Declare a NetworkPolicy with podSelector: {} and policyTypes: [Ingress, Egress] in the namespace."
findings contains lib.error("security", "network-default-deny", "", message, fix) if {
	lib.workload
	message := default_deny_problem
	fix := "Declare a NetworkPolicy with podSelector: {} and policyTypes: [Ingress, Egress] in the namespace."
}

default_deny_problem := sprintf("Namespace %q has no NetworkPolicy that denies ingress by default.", [input.change.after.namespace]) if {
	input.surroundings.default_deny.ingress == false
}

# Facts of before this rule have no such section; null is "nobody could tell", which is not a yes.
default_deny_problem := "What else is declared is not known, so nobody can tell whether its namespace denies ingress by default." if {
	input.surroundings == null
}

# METADATA
# title: What requests are sent to stays
# description: >-
#   The change deletes a model's service, or a Service, that an InferenceGraph, a route of the Gateway API or an Ingress
#   sends requests to by name, and that one stays declared: its callers would get errors. Judged at the gate and when
#   somebody deletes in the cluster; what nobody declares is not looked for.
# custom:
#   id: network-backend-removed
#   category: compliance
#   severity: error
#   tiers: "experiment: warning"
#   fix: Take it out of what names it first, or in the same commit; name there what is to answer instead.
findings contains lib.error("compliance", "network-backend-removed", "", message, fix) if {
	input.change.operation == "delete"
	some name in input.surroundings.named_by
	message := sprintf("%s sends requests to it and stays: they would fail.", [name])
	fix := sprintf("Take it out of %s first, or in the same commit; name there what is to answer instead.", [name])
}

# METADATA
# title: A namespace with workloads denies egress by default
# description: Without a default-deny for egress, code that was broken into can send what it finds to anywhere.
# custom:
#   id: network-egress-open
#   category: security
#   severity: note
#   fix: "Add Egress to the policyTypes of the default-deny NetworkPolicy, and allow what is needed (DNS first)."
findings contains lib.note("security", "network-egress-open", "", message, fix) if {
	lib.workload
	input.surroundings.default_deny.ingress
	input.surroundings.default_deny.egress == false
	message := sprintf("Namespace %q denies ingress by default, and lets everything out.", [input.change.after.namespace])
	fix := "Add Egress to the policyTypes of the default-deny NetworkPolicy, and allow what is needed (DNS first)."
}

# METADATA
# title: The default-deny policy stays while workloads do
# description: >-
#   The change removes or opens the last NetworkPolicy that denied ingress by default in a namespace that still has
#   workloads. They are not part of the change, and would be open from then on.
# custom:
#   id: network-default-deny-removed
#   category: security
#   severity: error
#   fix: Keep the policy, and allow what is needed by another one beside it.
findings contains lib.error("security", "network-default-deny-removed", "", message, fix) if {
	input.change.before.kind == "NetworkPolicy"
	denied_ingress(input.change.before.spec)
	input.surroundings.default_deny.ingress == false
	input.surroundings.workloads > 0
	message := sprintf("Namespace %q would no longer deny ingress by default; %v workloads are declared in it.", [
		input.change.before.namespace,
		input.surroundings.workloads,
	])
	fix := "Keep the policy, and allow what is needed by another one beside it."
}

denied_ingress(spec) if {
	count(spec.pod_selector.labels) == 0
	spec.pod_selector.expressions == 0
	"Ingress" in spec.policy_types
	spec.ingress_rules == 0
}

# METADATA
# title: Who is let in is who is declared
# description: >-
#   A workload declares its callers by the annotation customhouse.dev/callers. The NetworkPolicies of its namespace let in
#   these and nobody else: who is let in beyond them was reviewed by nobody, and who is not let in cannot work. A changed
#   NetworkPolicy is held against every workload of its namespace.
# custom:
#   id: network-callers-differ
#   category: security
#   severity: error
#   fix: "Run `customhouse network generate` on the files and commit what it prints, or correct the annotation."
findings contains lib.error("security", "network-callers-differ", "", message, fix) if {
	some row in input.surroundings.callers
	message := sprintf("%s%s.", [callee(row.workload), concat("; ", row.differences)])
	fix := "Run `customhouse network generate` on the files and commit what it prints, or correct the annotation."
}

# Where the change is a policy, the message has to say whose callers they are.
callee(workload) := sprintf("%s: ", [workload]) if input.change.resource.kind == "NetworkPolicy"

callee(_) := "" if input.change.resource.kind != "NetworkPolicy"

# METADATA
# title: No Service takes addresses of others
# description: >-
#   externalIPs lets a Service take traffic for any address, also that of another tenant (CVE-2020-8554).
# custom:
#   id: service-external-ips
#   category: security
#   severity: error
#   fix: Remove spec.externalIPs; use a load balancer or an Ingress.
findings contains lib.error("security", "service-external-ips", "/spec/externalIPs", message, fix) if {
	is_service
	addresses := input.change.after.spec.external_ips
	count(addresses) > 0
	message := sprintf("The Service claims the addresses %s.", [lib.listed(addresses)])
	fix := "Remove spec.externalIPs; use a load balancer or an Ingress."
}

# METADATA
# title: A Service opened to the outside is seen
# description: >-
#   A LoadBalancer without loadBalancerSourceRanges (and not marked internal) is open to the internet and costs money by
#   the hour; a NodePort opens a port on every node.
# custom:
#   id: service-exposed
#   category: security
#   severity: warning
#   fix: "Use ClusterIP behind an Ingress or Gateway, or name loadBalancerSourceRanges."
findings contains lib.warning("security", "service-exposed", "/spec/type", message, fix) if {
	is_service
	input.change.after.spec.type == "NodePort"
	message := "The Service opens a port on every node."
	fix := "Use ClusterIP behind an Ingress or Gateway."
}

findings contains lib.warning("security", "service-exposed", "/spec/type", message, fix) if {
	is_service
	input.change.after.spec.type == "LoadBalancer"
	not is_internal
	open_to_all(input.change.after.spec.load_balancer_source_ranges)
	message := "The Service asks for a load balancer that is open to the whole internet."
	fix := "Name loadBalancerSourceRanges, or use ClusterIP behind an Ingress or Gateway."
}

is_service if {
	input.change.after.kind == "Service"
	input.change.after.api_version == "v1"
}

is_internal if {
	some name, value in {
		"service.beta.kubernetes.io/aws-load-balancer-internal": "true",
		"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
		"networking.gke.io/load-balancer-type": "Internal",
		"cloud.google.com/load-balancer-type": "Internal",
		"service.beta.kubernetes.io/azure-load-balancer-internal": "true",
	}
	input.change.after.annotations[name] == value
}

open_to_all(ranges) if count(ranges) == 0

open_to_all(ranges) if {
	some everywhere in ["0.0.0.0/0", "::/0"]
	everywhere in ranges
}

# METADATA
# title: An Ingress speaks TLS
# description: What comes in over plain HTTP can be read and changed on the way, tokens and features alike.
# custom:
#   id: ingress-without-tls
#   category: security
#   severity: error
#   tiers: "experiment: warning"
#   fix: Add spec.tls with the hosts and the name of a certificate's Secret.
findings contains lib.error("security", "ingress-without-tls", "/spec/tls", message, fix) if {
	is_ingress
	count(input.change.after.spec.without_tls) > 0
	message := sprintf("The Ingress serves %s without TLS.", [lib.listed(input.change.after.spec.without_tls)])
	fix := "Add spec.tls with the hosts and the name of a certificate's Secret."
}

# METADATA
# title: An Ingress names its hosts
# description: A wildcard or missing host answers for every name that points at the controller, also for those of others.
# custom:
#   id: ingress-wildcard
#   category: security
#   severity: warning
#   fix: Name the host in spec.rules.
findings contains lib.warning("security", "ingress-wildcard", pointer, message, fix) if {
	is_ingress
	some host in input.change.after.spec.hosts
	wide(host.name)
	message := sprintf("The Ingress answers for %s.", [shown_host(host.name)])
	fix := "Name the host in spec.rules."
	pointer := host.pointer
}

is_ingress if {
	input.change.after.kind == "Ingress"
	startswith(input.change.after.api_version, "networking.k8s.io/")
}

wide(name) if name == ""

wide(name) if startswith(name, "*")

shown_host(name) := "every host" if name == ""

shown_host(name) := name if name != ""

# METADATA
# title: A webhook that fails open is seen
# description: >-
#   failurePolicy Ignore lets everything through while the webhook is away: whoever can stop it, or wait until it is
#   down, is past it.
# custom:
#   id: webhook-fails-open
#   category: security
#   severity: note
#   fix: "Set failurePolicy: Fail, and run two or more replicas of the webhook."
findings contains lib.note("security", "webhook-fails-open", pointer, message, fix) if {
	input.change.after.kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"]
	some webhook in input.change.after.spec.webhooks
	webhook.failure_policy == "Ignore"
	message := sprintf("The webhook %s lets everything through while it cannot be reached.", [webhook.name])
	fix := "Set failurePolicy: Fail, and run two or more replicas of the webhook."
	pointer := webhook.pointer
}
