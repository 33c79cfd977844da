package customhouse.tests.labels

import data.customhouse.fixtures
import data.customhouse.rules.labels

test_labels_missing_fires_and_names_them if {
	found := labels.findings with input as fixtures.with_after({"labels": {"customhouse.dev/owner": ""}})
	fixtures.rules(found) == {"labels-missing"}
	some finding in found
	contains(finding.message, "customhouse.dev/owner")
	not contains(finding.message, "customhouse.dev/team")
}

test_labels_missing_fires_for_a_label_of_the_company if {
	required := {"settings": {"required_labels": ["example.com/unit"]}}
	found := labels.findings with input as object.union(fixtures.facts, required)
	fixtures.rules(found) == {"labels-missing"}
}

test_labels_missing_is_silent_for_what_runs_nothing if {
	bare := fixtures.with_after({"workload": null, "labels": {"customhouse.dev/owner": ""}})
	count(labels.findings) == 0 with input as bare
}

test_labels_missing_is_silent_when_none_is_required if {
	required := {"settings": {"required_labels": []}}
	count(labels.findings) == 0 with input as object.union(fixtures.facts, required)
}
