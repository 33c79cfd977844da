package customhouse.tests.access

import data.customhouse.fixtures
import data.customhouse.rules.access

rbac := "rbac.authorization.k8s.io/v1"

role(change) := fixtures.with_object(rbac, "Role", {"rules": [object.union(
	{"api_groups": [""], "resources": ["pods"], "resource_names": [], "urls": [], "verbs": ["get"], "pointer": "/rules/0"},
	change,
)]})

test_role_wildcard_fires_in_every_field if {
	every field, pointer in {
		"verbs": "/rules/0/verbs",
		"resources": "/rules/0/resources",
		"api_groups": "/rules/0/apiGroups",
		"urls": "/rules/0/nonResourceURLs",
	} {
		found := access.findings with input as role({field: ["*"]})
		fixtures.rules(found) == {"role-wildcard"}
		{finding.pointer | some finding in found} == {pointer}
	}
}

test_role_wildcard_fires_for_every_subresource if {
	found := access.findings with input as role({"resources": ["*/scale"]})
	fixtures.rules(found) == {"role-wildcard"}
}

test_role_wildcard_is_silent_for_names if {
	count(access.findings) == 0 with input as role({})
}

test_role_escalates_fires_for_each_verb if {
	every verb in ["escalate", "bind", "impersonate"] {
		found := access.findings with input as role({"verbs": ["get", verb]})
		fixtures.rules(found) == {"role-escalates"}
	}
}

test_role_escalates_is_silent_for_ordinary_verbs if {
	count(access.findings) == 0 with input as role({"verbs": ["create", "delete"]})
}

subject(kind, name) := {"kind": kind, "name": name, "namespace": "", "pointer": "/subjects/0"}

production := {"environment": {"name": "production", "production": true}}

binding(name, subjects, change) := object.union(
	fixtures.with_object(rbac, "RoleBinding", {"role": {"kind": "ClusterRole", "name": name}, "subjects": subjects}),
	change,
)

test_binding_cluster_admin_fires if {
	found := access.findings with input as binding("cluster-admin", [subject("ServiceAccount", "ci")], production)
	fixtures.rules(found) == {"binding-cluster-admin"}
	some finding in found
	finding.message == "ServiceAccount ci gets cluster-admin."
}

test_binding_cluster_admin_is_silent_for_another_role if {
	count(access.findings) == 0 with input as binding("edit", [subject("ServiceAccount", "ci")], production)
}

test_binding_people_write_fires_for_users_and_groups if {
	every item in [subject("User", "ada"), subject("Group", "devs"), subject("Group", "system:authenticated")] {
		found := access.findings with input as binding("edit", [item], production)
		fixtures.rules(found) == {"binding-people-write"}
	}
}

test_binding_people_write_fires_for_a_role_that_nobody_declares if {
	found := access.findings with input as binding("deployer", [subject("User", "ada")], production)
	fixtures.rules(found) == {"binding-people-write"}
	some finding in found
	contains(finding.message, "not declared here")
}

test_binding_people_write_fires_for_a_declared_role_that_writes if {
	change := object.union(production, {"surroundings": {"role": {"found": true, "writes": true}}})
	found := access.findings with input as binding("deployer", [subject("User", "ada")], change)
	fixtures.rules(found) == {"binding-people-write"}
	some finding in found
	not contains(finding.message, "not declared here")
}

test_binding_people_write_is_silent_for_a_declared_role_that_reads if {
	change := object.union(production, {"surroundings": {"role": {"found": true, "writes": false}}})
	count(access.findings) == 0 with input as binding("looker", [subject("User", "ada")], change)
}

test_binding_people_write_is_silent_for_view if {
	count(access.findings) == 0 with input as binding("view", [subject("Group", "devs")], production)
}

test_binding_people_write_is_silent_for_components_and_service_accounts if {
	parts := [subject("User", "system:kube-scheduler"), subject("Group", "system:nodes"), subject("ServiceAccount", "ci")]
	count(access.findings) == 0 with input as binding("edit", parts, production)
}

test_binding_people_write_is_silent_outside_production if {
	change := {"environment": {"name": "dev", "production": false}}
	count(access.findings) == 0 with input as binding("edit", [subject("User", "ada")], change)
}

test_binding_people_unplaced_fires_without_environments if {
	found := access.findings with input as binding("edit", [subject("User", "ada")], {})
	fixtures.rules(found) == {"binding-people-unplaced"}
}

test_binding_people_unplaced_is_silent_for_readers if {
	count(access.findings) == 0 with input as binding("view", [subject("User", "ada")], {})
}
