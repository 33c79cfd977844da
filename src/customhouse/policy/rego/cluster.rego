package customhouse.rules.cluster

import data.customhouse.lib

# METADATA
# title: No namespace lets its pods do everything
# description: >-
#   A namespace whose label pod-security.kubernetes.io/enforce says privileged, or no longer says what it said, lets pods
#   own their node: the check of Kubernetes that holds when nothing else does is away.
# custom:
#   id: namespace-privileged
#   category: security
#   severity: error
#   fix: "Set pod-security.kubernetes.io/enforce: restricted, or baseline where that cannot be."
findings contains lib.error("security", "namespace-privileged", "/metadata/labels", message, fix) if {
	input.change.after.kind == "Namespace"
	input.change.after.api_version == "v1"
	message := weakness
	fix := "Set pod-security.kubernetes.io/enforce: restricted, or baseline where that cannot be."
}

enforce := "pod-security.kubernetes.io/enforce"

levels := {"privileged": 0, "baseline": 1, "restricted": 2}

now := object.get(input.change.after.labels, enforce, "")

earlier := object.get(input.change.before.labels, enforce, "") if input.change.before != null

weakness := "Pods of the namespace may do everything (pod-security.kubernetes.io/enforce: privileged)." if now == "privileged"

weakness := sprintf("Pods of the namespace were held to %s, and are held to %s from now on.", [earlier, kept]) if {
	now != "privileged"
	object.get(levels, earlier, 0) > object.get(levels, now, 0)
}

held := {"baseline", "restricted"}

kept := now if now in held

kept := "nothing" if not now in held

# METADATA
# title: Few roles run commands in pods
# description: >-
#   Who may open pods/exec or pods/attach runs commands with the rights and the secrets of the pod, and leaves no commit;
#   an ephemeral container or the proxy of a node does the same. To get is enough: the connection is made by a GET.
# custom:
#   id: role-exec
#   category: security
#   severity: warning
#   fix: Leave these resources out; look at logs and metrics, and change what runs by Git.
findings contains lib.warning("security", "role-exec", pointer, message, fix) if {
	input.change.after.kind in {"Role", "ClusterRole"}
	startswith(input.change.after.api_version, "rbac.authorization.k8s.io/")
	some rule in input.change.after.spec.rules
	granted := {resource | some resource in rule.resources; resource in doors}
	count(granted) > 0
	opens(rule.verbs)
	message := sprintf("The %s may open %s.", [input.change.after.kind, lib.listed(granted)])
	fix := "Leave these resources out; look at logs and metrics, and change what runs by Git."
	pointer := sprintf("%s/resources", [rule.pointer])
}

doors := {
	"pods/exec",
	"pods/attach",
	"pods/ephemeralcontainers",
	"pods/*",
	"*/exec",
	"*/attach",
	"*/ephemeralcontainers",
	"nodes/proxy",
	"nodes/*",
}

opens(verbs) if {
	some verb in verbs
	not verb in looks
}

looks := {"list", "watch"}

# METADATA
# title: What is asked of the API server is not sent outside the cluster
# description: >-
#   A webhook with a URL gets every object that its rules match, before it is stored. One whose rules match everything, or
#   Secrets, hands them to whoever answers there, and a mutating one writes what comes back.
# custom:
#   id: webhook-outside
#   category: security
#   severity: error
#   fix: Run the webhook in the cluster (clientConfig.service), or name the few resources that it has to see.
findings contains lib.error("security", "webhook-outside", pointer, message, fix) if {
	input.change.after.kind in {"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}
	startswith(input.change.after.api_version, "admissionregistration.k8s.io/")
	some webhook in input.change.after.spec.webhooks
	webhook.outside != null
	count(webhook.wide) > 0
	message := sprintf("The webhook %s sends %s to %s, outside the cluster.", [webhook.name, lib.listed(webhook.wide), webhook.outside])
	fix := "Run the webhook in the cluster (clientConfig.service), or name the few resources that it has to see."
	pointer := sprintf("%s/clientConfig/url", [webhook.pointer])
}

# METADATA
# title: Nobody declares what Customhouse keeps its books in
# description: >-
#   In ConfigMaps and Leases of customhouse-system Customhouse keeps which objects are its own, which commit was allowed
#   last and who of several works. Declared in Git they would say what somebody wrote: another commit would rule the
#   webhook, and what others have would be deleted.
# custom:
#   id: own-books
#   category: security
#   severity: error
#   fix: Take the object out; Customhouse makes and keeps it itself.
findings contains lib.error("security", "own-books", "/metadata/name", message, fix) if {
	input.revision != null # what is found in a cluster is what Customhouse wrote
	after := input.change.after
	after.namespace == "customhouse-system"
	is_book(after)
	message := sprintf("Customhouse keeps its own books in the %s %s.", [after.kind, after.name])
	fix := "Take the object out; Customhouse makes and keeps it itself."
}

is_book(object) if {
	object.kind == "ConfigMap"
	object.api_version == "v1"
	some prefix in ["customhouse-allowed", "inventory-", "followed-"]
	startswith(object.name, prefix)
}

is_book(object) if {
	object.kind == "ConfigMap"
	object.api_version == "v1"
	some label, _ in object.labels
	label in {"customhouse.dev/inventory", "customhouse.dev/followed"}
}

is_book(object) if {
	object.kind == "Lease"
	startswith(object.api_version, "coordination.k8s.io/")
	startswith(object.name, "customhouse-")
}
