package customhouse.tests.cluster

import data.customhouse.fixtures
import data.customhouse.rules.cluster

enforce := "pod-security.kubernetes.io/enforce"

namespace(labels) := object.union(
	fixtures.with_object("v1", "Namespace", {}),
	{"change": {"after": object.union(fixtures.with_object("v1", "Namespace", {}).change.after, {"labels": labels})}},
)

before(document, labels) := object.union(
	document,
	{"change": {"before": object.union(document.change.after, {"labels": labels})}},
)

test_namespace_privileged_fires if {
	found := cluster.findings with input as namespace({enforce: "privileged"})
	fixtures.rules(found) == {"namespace-privileged"}
	{finding.pointer | some finding in found} == {"/metadata/labels"}
}

test_namespace_privileged_fires_once_for_one_that_was_restricted if {
	found := cluster.findings with input as before(namespace({enforce: "privileged"}), {enforce: "restricted"})
	count(found) == 1
}

test_namespace_privileged_fires_for_a_level_that_is_taken_away if {
	every case in [["baseline", "baseline"], ["", "nothing"]] {
		found := cluster.findings with input as before(namespace({enforce: case[0]}), {enforce: "restricted"})
		fixtures.rules(found) == {"namespace-privileged"}
		some finding in found
		contains(finding.message, sprintf("held to %s from now on", [case[1]]))
	}
}

test_namespace_privileged_is_silent_for_the_other_levels if {
	every level in ["baseline", "restricted", ""] {
		count(cluster.findings) == 0 with input as namespace({enforce: level})
		count(cluster.findings) == 0 with input as before(namespace({enforce: level}), {enforce: level})
		count(cluster.findings) == 0 with input as before(namespace({enforce: level}), {enforce: "privileged"})
	}
}

test_namespace_privileged_is_silent_for_other_kinds if {
	other := object.union(namespace({enforce: "privileged"}), {"change": {"after": {"kind": "Pod"}}})
	count(cluster.findings) == 0 with input as other
}

role(change) := fixtures.with_object("rbac.authorization.k8s.io/v1", "Role", {"rules": [object.union(
	{"api_groups": [""], "resources": ["pods"], "resource_names": [], "urls": [], "verbs": ["get"], "pointer": "/rules/0"},
	change,
)]})

test_role_exec_fires_also_for_get if {
	every verb in ["create", "get", "*"] {
		found := cluster.findings with input as role({"resources": ["pods", "pods/exec"], "verbs": [verb]})
		fixtures.rules(found) == {"role-exec"}
		some finding in found
		finding.pointer == "/rules/0/resources"
		finding.message == "The Role may open pods/exec."
	}
}

test_role_exec_is_silent_for_reading if {
	count(cluster.findings) == 0 with input as role({"resources": ["pods", "pods/log"]})
	count(cluster.findings) == 0 with input as role({"resources": ["pods/exec"], "verbs": ["list"]})
}

webhook(outside, wide) := fixtures.with_object(
	"admissionregistration.k8s.io/v1",
	"MutatingWebhookConfiguration",
	{"webhooks": [{
		"name": "x.example.com",
		"failure_policy": "Fail",
		"outside": outside,
		"wide": wide,
		"pointer": "/webhooks/0",
	}]},
)

test_webhook_outside_fires_for_wide_rules if {
	found := cluster.findings with input as webhook("evil.example.com", ["Secrets", "everything"])
	fixtures.rules(found) == {"webhook-outside"}
	some finding in found
	finding.pointer == "/webhooks/0/clientConfig/url"
	finding.message == "The webhook x.example.com sends Secrets, everything to evil.example.com, outside the cluster."
}

test_webhook_outside_is_silent_inside_and_for_few_kinds if {
	count(cluster.findings) == 0 with input as webhook(null, ["everything"])
	count(cluster.findings) == 0 with input as webhook("images.example.com", [])
}

# Facts that were recorded before the rule have neither.
test_webhook_outside_is_silent_for_older_facts if {
	older := fixtures.with_object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", {"webhooks": [{
		"name": "x.example.com",
		"failure_policy": "Fail",
		"pointer": "/webhooks/0",
	}]})
	count(cluster.findings) == 0 with input as older
}

book(kind, version, change) := object.union(
	fixtures.with_object(version, kind, {}),
	{"change": {"after": object.union(
		fixtures.with_object(version, kind, {}).change.after,
		object.union({"namespace": "customhouse-system", "labels": {}}, change),
	)}},
)

test_own_books_fires_for_each_of_them if {
	every case in [
		book("ConfigMap", "v1", {"name": "customhouse-allowed"}),
		book("ConfigMap", "v1", {"name": "inventory-shop-0"}),
		book("ConfigMap", "v1", {"name": "followed-shop"}),
		book("ConfigMap", "v1", {"name": "other", "labels": {"customhouse.dev/inventory": "v1"}}),
		book("Lease", "coordination.k8s.io/v1", {"name": "customhouse-shop"}),
	] {
		found := cluster.findings with input as case
		fixtures.rules(found) == {"own-books"}
		some finding in found
		finding.severity == "error"
	}
}

test_own_books_is_silent_for_what_is_beside_them_and_for_what_lives_in_a_cluster if {
	every case in [
		book("ConfigMap", "v1", {"name": "settings"}),
		book("ConfigMap", "v1", {"name": "customhouse-allowed", "namespace": "shop"}),
		book("Service", "v1", {"name": "inventory-shop"}),
		book("Lease", "coordination.k8s.io/v1", {"name": "another"}),
		object.union(book("ConfigMap", "v1", {"name": "inventory-shop-0"}), {"revision": null}),
	] {
		count(cluster.findings) == 0 with input as case
	}
}
