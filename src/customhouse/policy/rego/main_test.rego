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

test_findings_about_evaluations_are_joined if {
	plan := {"plan": "fraud", "file": "fraud.yaml", "digest": fixtures.digest}
	model := object.union(fixtures.model, {"evaluation": plan})
	found := customhouse.findings with input as object.union(fixtures.service, {"artifacts": [model]})
	fixtures.rules(found) == {"evaluation-plan"}
}

test_findings_about_provenance_are_joined if {
	model := object.union(fixtures.model, {"provenance": {"name": "all", "place": "customhouse.yaml:1:1", "max_age_days": null}})
	found := customhouse.findings with input as object.union(fixtures.service, {"artifacts": [model]})
	fixtures.rules(found) == {"provenance-expected"}
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

test_findings_of_every_topic_about_tiers_are_joined if {
	tier := fixtures.with_tier(fixtures.with_workload({"accelerators": 1, "accelerator_classes": ["L4"]}), {
		"ttl_required": true,
		"monitoring": ["metrics"],
		"required_image_evidence": ["scan"],
	})
	pool := {
		"name": "cpu",
		"accelerators_per_node": 0,
		"accelerators_total": null,
		"accelerator_classes": null,
	}
	image := {
		"role": "image",
		"reference": "a",
		"digest": fixtures.digest,
		"pinned": true,
		"pointer": "/x",
		"evidence": [],
	}
	around := {"default_deny": {"ingress": false}, "node_pools": [pool]}
	found := customhouse.findings with input as object.union(tier, {"surroundings": around, "artifacts": [image]})
	fixtures.rules(found) == {
		"image-evidence-missing",
		"monitoring-missing",
		"network-default-deny",
		"node-pool-accelerators",
		"ttl-missing",
	}
}

test_findings_about_vulnerabilities_are_joined if {
	item := {"author": "Ada", "problem": "older than 365 days"}
	known := {"reports": [], "missing": [], "findings": [], "left_out": [], "excused": [], "ignored": [item], "heard": []}
	model := object.union(fixtures.model, {"vulnerabilities": known})
	found := customhouse.findings with input as object.union(fixtures.service, {"artifacts": [model]})
	fixtures.rules(found) == {"vulnerability-excuse-ignored"}
}

test_findings_about_queues_are_joined if {
	none := fixtures.with_tier(fixtures.with_workload({"batch": true}), {"queue_required": true})
	fixtures.rules(customhouse.findings) == {"queue-required", "spot-required"} with input as object.union(none, {"surroundings": {}})
	closed := {"name": "q", "cluster_queue": "c", "problem": "it is stopped", "places": [], "lacks": []}
	waiting := object.union(fixtures.facts, {"surroundings": {"queue": closed}})
	fixtures.rules(customhouse.findings) == {"queue-closed"} with input as waiting
	quota := object.union(
		fixtures.with_object("kueue.x-k8s.io/v1beta1", "ClusterQueue", {}),
		{"cost": {"monthly_high_micro": 2000000000}, "budgets": fixtures.facts.budgets},
	)
	fixtures.rules(customhouse.findings) == {"quota-over-budget"} with input as quota
}

test_findings_about_what_sleeps_are_joined if {
	served := {"how": "keda", "asleep": [{"what": "ScaledObject", "pointer": "/spec"}], "cold_start_seconds": 1, "problem": null}
	sleeping := object.union(
		fixtures.with_tier(fixtures.with_object("keda.sh/v1alpha1", "ScaledObject", {}), {"scale_to_zero": "forbidden"}),
		{"change": {"after": {"serverless": served}}},
	)
	fixtures.rules(customhouse.findings) == {"scale-to-zero"} with input as sleeping
	none := fixtures.with_tier(fixtures.with_workload({"replicas_min": 0, "spot": true}), {"scale_to_zero": "forbidden"})
	"scale-to-zero" in fixtures.rules(customhouse.findings) with input as none
}

test_findings_about_roles_are_joined if {
	rule := {"api_groups": [], "resources": ["pods"], "urls": [], "verbs": ["*"], "pointer": "/rules/0"}
	document := fixtures.with_object("rbac.authorization.k8s.io/v1", "ClusterRole", {"rules": [rule]})
	fixtures.rules(customhouse.findings) == {"role-wildcard"} with input as document
}

test_findings_about_namespaces_are_joined if {
	document := object.union(
		fixtures.with_object("v1", "Namespace", {}),
		{"change": {"after": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}},
	)
	"namespace-privileged" in fixtures.rules(customhouse.findings) with input as document
}

test_findings_about_our_own_books_are_joined if {
	document := object.union(
		fixtures.with_object("v1", "ConfigMap", {}),
		{"change": {"after": {"namespace": "customhouse-system", "name": "customhouse-allowed"}}},
	)
	"own-books" in fixtures.rules(customhouse.findings) with input as document
}

test_findings_about_files_are_joined if {
	file := {"path": "a.parquet", "problem": "data", "detail": "a Parquet table", "digest": "", "pointer": "/spec/files/0"}
	document := fixtures.with_object("customhouse.dev/v1", "RepositoryFiles", {"files": [file]})
	fixtures.rules(customhouse.findings) == {"data-file-in-git"} with input as document
}

test_findings_about_reviews_and_spend_are_joined if {
	review := {
		"required": 1,
		"pull_request": 7,
		"approvals": ["bob"],
		"objections": ["eve"],
		"missing_owners": [],
		"exempt": false,
	}
	budget := object.union(fixtures.facts.budgets[0], {"spend_age_hours": 30})
	document := object.union(fixtures.facts, {"review": review, "budgets": [budget]})
	fixtures.rules(customhouse.findings) == {"review-objection", "spend-stale"} with input as document
}

test_findings_about_datasets_are_joined if {
	failed := {"passed": false, "errors": [], "sensitive": [], "schema": null}
	one := {"kind": "data-validation", "verified": false, "problem": "", "age_seconds": 1, "summary": failed}
	data_set := {"role": "dataset", "reference": "d", "digest": fixtures.digest, "pointer": "/d", "evidence": [one]}
	document := object.union(fixtures.facts, {"artifacts": [data_set]})
	fixtures.rules(customhouse.findings) == {"dataset-validation-failed"} with input as document
}

test_findings_about_ends_and_use_are_joined if {
	lifetime := {"ttl": "2026-02-10", "seconds_left": 0}
	usage := {"window_days": 7, "cpu_milli": null, "memory_bytes": null, "accelerator_percent": null, "requests": 0}
	fixtures.rules(customhouse.findings) == {"ttl-expired"} with input as object.union(fixtures.facts, {"lifetime": lifetime})
	fixtures.rules(customhouse.findings) == {"workload-idle"} with input as object.union(fixtures.facts, {"usage": usage})
}

test_findings_about_build_levels_are_joined if {
	every level, role in {"provenance_level": "model", "image_provenance_level": "image"} {
		artifact := object.union(fixtures.model, {"role": role})
		asked := object.union(fixtures.with_tier(fixtures.service, {level: 3}), {"artifacts": [artifact]})
		"provenance-level" in fixtures.rules(customhouse.findings) with input as asked
	}
}

test_findings_about_spot_capacity_are_joined if {
	pod := object.union(fixtures.pod, {"spot": true, "replicas_min": 1, "termination_grace_s": 30, "interruption": null})
	found := customhouse.findings with input as fixtures.with_workload({"template": false, "pods": [pod]})
	fixtures.rules(found) == {"spot-interruption"}
}

test_findings_about_burstable_machines_are_joined if {
	pod := object.union(fixtures.pod, {"spot": false, "burstable": ["t3.large"]})
	facts := object.union(fixtures.with_workload({"pods": [pod]}), {"tier": {"spec": {"burstable": "forbidden"}}})
	found := customhouse.findings with input as facts
	fixtures.rules(found) == {"burstable-forbidden"}
}
