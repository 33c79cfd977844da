package customhouse.rules.access

import data.customhouse.lib

# METADATA
# title: No role grants everything
# description: >-
#   A rule with a wildcard in verbs, resources or apiGroups also grants what will exist tomorrow; nobody has reviewed
#   that. Secrets are among it.
# custom:
#   id: role-wildcard
#   category: security
#   severity: error
#   fix: Name the verbs, resources and API groups that are needed.
findings contains lib.error("security", "role-wildcard", pointer, message, fix) if {
	is_role
	some rule in input.change.after.spec.rules
	some key, field in {"verbs": "verbs", "resources": "resources", "api_groups": "apiGroups", "urls": "nonResourceURLs"}
	wild(rule[key])
	message := sprintf("The %s grants every one of its %s (*).", [input.change.after.kind, field])
	fix := sprintf("Name the %s that are needed.", [field])
	pointer := sprintf("%s/%s", [rule.pointer, field])
}

wild(values) if {
	some value in values
	startswith(value, "*")
}

# METADATA
# title: No role can make itself stronger
# description: >-
#   Who may escalate or bind roles, impersonate others, or make certificates and tokens in their names, can become
#   anybody, cluster-admin included.
# custom:
#   id: role-escalates
#   category: security
#   severity: error
#   fix: Leave these verbs out; let a reviewed commit change roles.
findings contains lib.error("security", "role-escalates", pointer, message, fix) if {
	is_role
	some rule in input.change.after.spec.rules
	granted := {verb | some verb in rule.verbs; verb in {"escalate", "bind", "impersonate"}}
	count(granted) > 0
	message := sprintf("The %s may %s.", [input.change.after.kind, lib.listed(granted)])
	fix := "Leave these verbs out; let a reviewed commit change roles."
	pointer := sprintf("%s/verbs", [rule.pointer])
}

# METADATA
# title: Nobody is bound to cluster-admin
# description: The role cluster-admin may do everything in every namespace, and read every Secret.
# custom:
#   id: binding-cluster-admin
#   category: security
#   severity: error
#   fix: Bind a role that grants what is needed, in the namespace where it is needed.
findings contains lib.error("security", "binding-cluster-admin", "/roleRef/name", message, fix) if {
	is_binding
	input.change.after.spec.role.name == "cluster-admin"
	input.change.after.spec.role.kind == "ClusterRole"
	message := sprintf("%s gets cluster-admin.", [lib.shown(subjects, "Nobody yet")])
	fix := "Bind a role that grants what is needed, in the namespace where it is needed."
}

subjects := [sprintf("%s %s", [subject.kind, subject.name]) | some subject in input.change.after.spec.subjects]

# METADATA
# title: People do not write in production
# description: >-
#   In an environment that is marked as production, changes come by Git. Users and groups may be bound to roles that
#   read; a role that writes, or whose rules are not declared beside the binding, is for service accounts. The groups
#   of Kubernetes' own components (system:…) are no people, save those that stand for everybody who can log in.
# custom:
#   id: binding-people-write
#   category: security
#   severity: error
#   fix: Bind people to view, and let changes come by Git; break-glass is for emergencies.
findings contains lib.error("security", "binding-people-write", pointer, message, fix) if {
	is_binding
	input.environment.production
	writes
	some subject in input.change.after.spec.subjects
	person(subject)
	message := sprintf("The %s %s gets %s in production%s.", [
		lower(subject.kind),
		subject.name,
		input.change.after.spec.role.name,
		unknown_role,
	])
	fix := "Bind people to view, and let changes come by Git; break-glass is for emergencies."
	pointer := subject.pointer
}

# METADATA
# title: A write binding of people, where nobody said what is production
# description: >-
#   customhouse.yaml names no environments, so this namespace may be production. A user or group is bound to a role that
#   writes.
# custom:
#   id: binding-people-unplaced
#   category: security
#   severity: warning
#   fix: Name the production namespaces under environments in customhouse.yaml.
findings contains lib.warning("security", "binding-people-unplaced", pointer, message, fix) if {
	is_binding
	input.environment == null
	writes
	some subject in input.change.after.spec.subjects
	person(subject)
	message := sprintf("The %s %s gets %s, and no environment says whether this is production%s.", [
		lower(subject.kind),
		subject.name,
		input.change.after.spec.role.name,
		unknown_role,
	])
	fix := "Name the production namespaces under environments in customhouse.yaml."
	pointer := subject.pointer
}

# Kubernetes' own roles that only read, and one that only logs in.
readers := {"view", "system:basic-user", "system:discovery", "system:public-info-viewer", "system:monitoring"}

writes if {
	name := input.change.after.spec.role.name
	not name in readers
	not declared_reader
}

declared_reader if input.surroundings.role.writes == false

whole_roles := {"admin", "edit", "cluster-admin"}

default unknown_role := ""

unknown_role := " (what the role grants is not declared here)" if {
	name := input.change.after.spec.role.name
	not name in whole_roles
	not input.surroundings.role.found
}

person(subject) if {
	subject.kind == "User"
	name := subject.name
	not startswith(name, "system:")
}

person(subject) if {
	subject.kind == "Group"
	name := subject.name
	not startswith(name, "system:")
}

person(subject) if {
	subject.kind in {"User", "Group"}
	subject.name in {"system:authenticated", "system:unauthenticated", "system:anonymous", "system:masters"}
}

is_role if {
	input.change.after.kind in {"Role", "ClusterRole"}
	startswith(input.change.after.api_version, "rbac.authorization.k8s.io/")
}

is_binding if {
	input.change.after.kind in {"RoleBinding", "ClusterRoleBinding"}
	startswith(input.change.after.api_version, "rbac.authorization.k8s.io/")
}
