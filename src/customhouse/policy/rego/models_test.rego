package customhouse.tests.models

import data.customhouse.fixtures
import data.customhouse.rules.models

with_models(items) := object.union(fixtures.service, {"change": {"after": {"workload": {"models": items}}}})

declared := fixtures.service.change.after.workload.models[0]

required(kinds) := {"tier": {"spec": {"required_evidence": kinds}}}

test_model_undeclared_fires_without_a_storage_uri if {
	found := models.findings with input as with_models([object.union(declared, {"storage_uri": null})])
	fixtures.rules(found) == {"model-undeclared"}
}

test_model_undeclared_fires_for_a_second_model if {
	found := models.findings with input as with_models([declared, object.union(declared, {"pointer": "/second"})])
	fixtures.rules(found) == {"model-undeclared"}
	some finding in found
	finding.pointer == "/second"
}

test_model_undeclared_fires_for_the_variable_of_the_storage_initializer if {
	variable := {"name": "STORAGE_URI", "source": "literal", "value": "s3://x", "looks_like": null, "pointer": "/e/9"}
	pods := [object.union(fixtures.pod, {"containers": [object.union(fixtures.container, {"environment": [variable]})]})]
	found := models.findings with input as object.union(fixtures.service, {"change": {"after": {"workload": {"pods": pods}}}})
	fixtures.rules(found) == {"model-undeclared"}
}

test_model_undeclared_fires_for_a_kind_that_loads_models_past_the_gate if {
	trained := fixtures.with_after({
		"kind": "TrainedModel",
		"workload": null,
		"spec": {"models": [{"pointer": "/spec/model/storageUri", "uri": "s3://x"}]},
	})
	found := models.findings with input as trained
	fixtures.rules(found) == {"model-undeclared"}
	some finding in found
	contains(finding.message, "A TrainedModel loads the model s3://x")
}

test_model_undeclared_is_silent_for_one_storage_uri if {
	count(models.findings) == 0 with input as fixtures.service
}

test_model_not_pinned_fires if {
	loose := object.union(fixtures.model, {"pinned": false})
	found := models.findings with input as object.union(fixtures.service, {"artifacts": [loose]})
	fixtures.rules(found) == {"model-not-pinned"}
}

test_model_not_pinned_says_how_a_tag_is_resolved if {
	loose := object.union(fixtures.model, {"pinned": false, "reference": "oci://apexlogic.com/fraud:v3"})
	found := models.findings with input as object.union(fixtures.service, {"artifacts": [loose]})
	some finding in found
	contains(finding.fix, "customhouse image resolve oci://apexlogic.com/fraud:v3")
}

test_model_not_pinned_is_silent_for_other_artifacts if {
	image := object.union(fixtures.model, {"role": "image", "pinned": false, "evidence": []})
	count(models.findings) == 0 with input as object.union(fixtures.service, {"artifacts": [image, fixtures.model]})
}

test_evidence_missing_fires_for_every_kind_with_the_command_that_makes_it if {
	every kind in ["signature", "scan", "bom"] {
		found := models.findings with input as fixtures.with_evidence(fixtures.without(kind))
		fixtures.rules(found) == {"evidence-missing"}
		some finding in found
		contains(finding.fix, "`customhouse model attest PATH --key KEY` and commit")
	}
	every kind, option in {"evaluation": "model evaluate PATH", "provenance": "--job FILE"} {
		found := models.findings with input as object.union(fixtures.service, required([kind]))
		fixtures.rules(found) == {"evidence-missing"}
		some finding in found
		contains(finding.fix, option)
	}
}

test_evidence_missing_fires_for_a_kind_that_only_the_tier_knows if {
	found := models.findings with input as object.union(fixtures.service, required(["forecast"]))
	fixtures.rules(found) == {"evidence-missing"}
	some finding in found
	contains(finding.message, "no forecast")
}

test_evidence_missing_is_silent_for_what_the_tier_does_not_ask if {
	facts := object.union(fixtures.with_evidence([fixtures.evidence("bom", {})]), required(["bom"]))
	count(models.findings) == 0 with input as facts
}

test_evidence_unverified_fires_with_the_problem if {
	bad := object.union(fixtures.evidence("signature", {}), {"verified": false, "problem": "the key is not trusted"})
	found := models.findings with input as fixtures.with_evidence(array.concat(fixtures.without("signature"), [bad]))
	fixtures.rules(found) == {"evidence-unverified"}
	some finding in found
	contains(finding.message, "the key is not trusted")
}

test_evidence_unverified_is_silent_when_another_one_verifies if {
	bad := object.union(fixtures.evidence("signature", {}), {"verified": false, "problem": "old key"})
	count(models.findings) == 0 with input as fixtures.with_evidence(array.concat(fixtures.model.evidence, [bad]))
}

test_evidence_stale_fires_after_the_days_of_the_tier if {
	found := models.findings with input as fixtures.with_scan({"age_seconds": 2592001}, {})
	fixtures.rules(found) == {"evidence-stale"}
}

test_evidence_stale_fires_when_nobody_knows_how_old_it_is if {
	found := models.findings with input as fixtures.with_scan({"age_seconds": null}, {})
	fixtures.rules(found) == {"evidence-stale"}
}

test_evidence_stale_is_silent_on_the_last_day if {
	count(models.findings) == 0 with input as fixtures.with_scan({"age_seconds": 2592000}, {})
}

test_evidence_stale_is_silent_when_the_tier_sets_no_age if {
	facts := fixtures.with_tier(fixtures.with_scan({"age_seconds": 2592001}, {}), {"evidence_max_age_days": null})
	count(models.findings) == 0 with input as facts
}

test_model_scan_fires_for_each_bad_verdict if {
	every verdict in ["malicious", "suspicious", "unscannable"] {
		found := models.findings with input as fixtures.with_scan({}, {"verdict": verdict, "bad_files": ["model.pkl"], "rules": ["pickle-os"]})
		fixtures.rules(found) == {"model-scan"}
		some finding in found
		contains(finding.message, sprintf("says %s (model.pkl), for pickle-os", [verdict]))
	}
}

test_model_scan_fires_for_a_scan_without_a_verdict if {
	found := models.findings with input as fixtures.with_scan({}, {"verdict": null})
	fixtures.rules(found) == {"model-scan"}
}

test_model_scan_fires_for_a_warning_that_does_not_verify if {
	found := models.findings with input as fixtures.with_scan(
		{"verified": false, "problem": "unknown key"},
		{"verdict": "malicious"},
	)
	fixtures.rules(found) == {"model-scan", "evidence-unverified"}
}

test_model_scan_fires_once_more_beside_a_clean_scan if {
	second := fixtures.evidence("scan", {"verdict": "suspicious", "bad_files": [], "rules": []})
	found := models.findings with input as fixtures.with_evidence(array.concat(fixtures.model.evidence, [second]))
	fixtures.rules(found) == {"model-scan"}
}

test_model_scan_is_silent_for_clean if {
	count(models.findings) == 0 with input as fixtures.with_scan({}, {"verdict": "clean"})
}

test_model_evaluation_fires_when_it_failed if {
	items := array.concat(fixtures.model.evidence, [fixtures.evidence("evaluation", {"passed": false})])
	found := models.findings with input as object.union(fixtures.with_evidence(items), required(["evaluation"]))
	fixtures.rules(found) == {"model-evaluation"}
}

test_model_evaluation_names_the_bounds_that_do_not_hold if {
	failed := {"passed": false, "failed": ["roc_auc must be at least 0.9: 0.8 is below 0.9"]}
	items := array.concat(fixtures.model.evidence, [fixtures.evidence("evaluation", failed)])
	found := models.findings with input as object.union(fixtures.with_evidence(items), required(["evaluation"]))
	some finding in found
	contains(finding.message, "did not pass: roc_auc must be at least 0.9: 0.8 is below 0.9.")
}

test_model_evaluation_is_silent_when_it_passed if {
	items := array.concat(fixtures.model.evidence, [fixtures.evidence("evaluation", {"passed": true})])
	count(models.findings) == 0 with input as object.union(fixtures.with_evidence(items), required(["evaluation"]))
}

test_model_provenance_fires_without_materials_or_builder if {
	every summary in [
		{"builder": "b", "materials": []},
		{"builder": null, "materials": [{"name": "d", "digest": fixtures.digest}]},
		{"builder": "b", "materials": [{"name": "d", "digest": null}]},
	] {
		items := array.concat(fixtures.model.evidence, [fixtures.evidence("provenance", summary)])
		found := models.findings with input as object.union(fixtures.with_evidence(items), required(["provenance"]))
		fixtures.rules(found) == {"model-provenance"}
	}
}

test_model_provenance_takes_a_commit_for_the_digest_of_code if {
	materials := [{"name": "code", "digest": null, "commit": "0123456789abcdef0123456789abcdef01234567"}]
	items := array.concat(fixtures.model.evidence, [fixtures.evidence("provenance", {"builder": "b", "materials": materials})])
	count(models.findings) == 0 with input as object.union(fixtures.with_evidence(items), required(["provenance"]))
}

test_model_provenance_is_silent_for_a_whole_one if {
	summary := {"builder": "b", "materials": [{"name": "d", "digest": fixtures.digest}]}
	items := array.concat(fixtures.model.evidence, [fixtures.evidence("provenance", summary)])
	count(models.findings) == 0 with input as object.union(fixtures.with_evidence(items), required(["provenance"]))
}
