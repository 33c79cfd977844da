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
	found := customhouse.findings with input as everything_wrong
	fixtures.rules(found) == {
		"budget-used-up",
		"commit-signature",
		"container-privileged",
		"image-latest-tag",
		"labels-missing",
		"model-not-pinned",
		"secret-in-container",
		"tier-not-granted",
	}
}

everything_wrong := object.union(
	fixtures.with_container({
		"image": {"tag": "latest"},
		"security": {"privileged": true},
		"credentials": [{"pointer": "/a", "looks_like": "a GitHub token"}],
	}),
	object.union(
		{"change": {"after": {"labels": {"customhouse.dev/owner": ""}}}, "artifacts": [not_pinned]},
		{
			"revision": {"signature": "unsigned"},
			"tier": {"granted": false, "requested": "batch"},
			"budgets": [object.union(fixtures.facts.budgets[0], {"change_micro": 0, "month_to_date_micro": 900000000})],
		},
	),
)

not_pinned := object.union(fixtures.model, {"pinned": false})
