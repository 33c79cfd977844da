package customhouse.rules.labels

import data.customhouse.lib

# METADATA
# title: Workloads say who pays
# description: >-
#   What costs money carries the labels that the configuration requires (owner, team, project and cost-centre unless it
#   says otherwise), so that every cent has somebody to ask.
# custom:
#   id: labels-missing
#   category: cost
#   severity: error
#   fix: Add the labels under metadata.labels.
findings contains lib.error("cost", "labels-missing", "/metadata/labels", message, fix) if {
	lib.workload
	missing := [label |
		some name in input.settings.required_labels
		label := full_name(name)
		object.get(input.change.after.labels, label, "") == ""
	]
	count(missing) > 0
	message := sprintf("The labels %s are missing: nobody can be asked about the cost.", [lib.listed(missing)])
	fix := sprintf("Add %s under metadata.labels.", [lib.listed(missing)])
}

full_name(name) := name if {
	contains(name, "/")
} else := concat("", ["customhouse.dev/", name])
