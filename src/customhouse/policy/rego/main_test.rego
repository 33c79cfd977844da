package customhouse.tests.main

import data.customhouse
import data.customhouse.fixtures

test_good_deployment_has_no_finding if {
	count(customhouse.findings) == 0 with input as fixtures.facts
}

test_good_service_has_no_finding if {
	count(customhouse.findings) == 0 with input as fixtures.service
}

test_signed_deletion_has_no_finding if {
	count(customhouse.findings) == 0 with input as fixtures.deletion
}

test_kind_without_pods_has_no_finding if {
	count(customhouse.findings) == 0 with input as fixtures.with_after({"kind": "Service", "workload": null})
}

test_findings_of_all_topics_are_joined if {
	found := customhouse.findings with input as object.union(
		fixtures.with_image({"tag": "latest"}),
		{"revision": {"signature": "unsigned"}},
	)
	fixtures.rules(found) == {"image-latest-tag", "commit-signature"}
}
