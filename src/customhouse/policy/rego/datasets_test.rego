package customhouse.tests.datasets

import data.customhouse.fixtures
import data.customhouse.rules.datasets

validation := {
	"kind": "data-validation",
	"verified": true,
	"signer": "data",
	"problem": "",
	"age_seconds": 3600,
	"digest": fixtures.other_digest,
	"summary": {
		"passed": true,
		"rows": 10,
		"schema": fixtures.digest,
		"validator": "customhouse-data/1",
		"errors": [],
		"sensitive": [],
		"encrypted": null,
		"access_controlled": null,
	},
}

email := [{"column": "email", "kind": "pii", "sure": true}]

dataset(evidence) := {
	"role": "dataset",
	"reference": fixtures.digest,
	"digest": fixtures.digest,
	"pinned": true,
	"pointer": "/d",
	"evidence": evidence,
}

with_kinds(kinds, items, days) := object.union(fixtures.facts, {
	"artifacts": items,
	"tier": object.union(fixtures.facts.tier, {"spec": object.union(
		fixtures.facts.tier.spec,
		{"required_dataset_evidence": kinds, "evidence_max_age_days": days},
	)}),
})

asked(items) := with_kinds(["data-validation"], items, null)

said(changes) := object.union(validation, {"summary": object.union(validation.summary, changes)})

rules_of(document) := found if {
	found := fixtures.rules(datasets.findings) with input as document
}

test_a_validated_dataset_is_fine if {
	rules_of(asked([dataset([validation])])) == set()
}

test_nothing_is_asked_where_the_tier_asks_for_nothing if {
	rules_of(object.union(fixtures.facts, {"artifacts": [object.union(dataset([]), {"digest": null})]})) == set()
}

test_dataset_not_pinned_fires if {
	rules_of(asked([object.union(dataset([]), {"digest": null})])) == {"dataset-not-pinned"}
}

test_dataset_evidence_missing_fires if {
	document := with_kinds(["data-validation", "provenance", "signature"], [dataset([])], null)
	found := datasets.findings with input as document
	{finding.rule | some finding in found} == {"dataset-evidence-missing"}
	{split(finding.message, " has no ")[1] | some finding in found} == {
		sprintf("%s; tier %s requires it.", [name, document.tier.name]) |
		some name in ["validation", "provenance", "signature"]
	}
}

test_dataset_evidence_unverified_fires if {
	item := object.union(validation, {"verified": false, "problem": "unknown key"})
	found := datasets.findings with input as asked([dataset([item])])
	{finding.rule | some finding in found} == {"dataset-evidence-unverified"}
	some finding in found
	contains(finding.message, "unknown key")
}

test_dataset_evidence_stale_fires if {
	rules_of(with_kinds(["data-validation"], [dataset([validation])], 1)) == set()
	old := object.union(validation, {"age_seconds": 172801})
	rules_of(with_kinds(["data-validation"], [dataset([old])], 1)) == {"dataset-evidence-stale"}
	undated := object.union(validation, {"age_seconds": null})
	rules_of(with_kinds(["data-validation"], [dataset([undated])], 1)) == {"dataset-evidence-stale"}
}

test_dataset_validation_failed_fires_whoever_signed_it if {
	found := datasets.findings with input as asked([dataset([said({"passed": false, "errors": ["range", "leakage"]})])])
	{finding.rule | some finding in found} == {"dataset-validation-failed"}
	some finding in found
	contains(finding.message, ": leakage, range.")
	bad := object.union(said({"passed": false}), {"verified": false, "problem": "unknown key"})
	rules_of(object.union(fixtures.facts, {"artifacts": [dataset([bad])]})) == {"dataset-validation-failed"}
	rules_of(asked([dataset([said({"passed": null})])])) == {"dataset-validation-failed"}
	silent := object.union(said({"passed": null}), {"verified": false})
	rules_of(object.union(fixtures.facts, {"artifacts": [dataset([silent])]})) == set()
}

test_dataset_schema_missing_fires if {
	rules_of(asked([dataset([said({"schema": null})])])) == {"dataset-schema-missing"}
}

test_dataset_storage_unprotected_fires if {
	protected := said({"sensitive": email, "encrypted": true, "access_controlled": true})
	rules_of(asked([dataset([protected])])) == set()
	unknown := said({"sensitive": email, "encrypted": true})
	found := datasets.findings with input as asked([dataset([unknown])])
	{finding.message | some finding in found} == {sprintf(
		"The dataset %s has sensitive columns (email), and its storage is not known to be access-controlled.",
		[fixtures.digest],
	)}
	open := said({"sensitive": email, "encrypted": false, "access_controlled": true})
	some finding in datasets.findings with input as asked([dataset([open])])
	contains(finding.message, "is not encrypted")
}

test_sensitive_columns_that_are_not_listed_are_not_taken_for_none if {
	rules_of(asked([dataset([said({"sensitive": null})])])) == {"dataset-storage-unprotected"}
}

test_a_name_alone_denies_nothing if {
	maybe := [{"column": "age", "kind": "pii", "sure": false}]
	rules_of(asked([dataset([said({"sensitive": maybe})])])) == set()
}

test_dataset_not_pinned_is_silent if {
	not "dataset-not-pinned" in rules_of(asked([dataset([validation])]))
}

test_dataset_evidence_missing_is_silent if {
	not "dataset-evidence-missing" in rules_of(asked([dataset([validation])]))
}

test_dataset_evidence_unverified_is_silent if {
	not "dataset-evidence-unverified" in rules_of(asked([dataset([validation])]))
}

test_dataset_evidence_stale_is_silent if {
	not "dataset-evidence-stale" in rules_of(asked([dataset([validation])]))
}

test_dataset_validation_failed_is_silent if {
	not "dataset-validation-failed" in rules_of(asked([dataset([validation])]))
}

test_dataset_schema_missing_is_silent if {
	not "dataset-schema-missing" in rules_of(asked([dataset([validation])]))
}

test_dataset_storage_unprotected_is_silent if {
	not "dataset-storage-unprotected" in rules_of(asked([dataset([validation])]))
}

personal := said({"sensitive": email, "encrypted": true, "access_controlled": true})

volume := {
	"volume": "data",
	"pointer": "/spec/template/spec/volumes/0",
	"kind": "persistentVolumeClaim",
	"claim": "orders",
	"class": "fast",
	"encrypted": true,
	"reason": "the StorageClass fast (ebs.csi.aws.com) says encrypted: true",
	"provider_keys": false,
	"access_controlled": null,
	"open": null,
	"others": [],
}

mounting(evidence, change) := object.union(
	asked([dataset([evidence])]),
	{"surroundings": {"storage": [object.union(volume, change)]}},
)

messages_of(document) := {finding.message | some finding in findings} if {
	findings := datasets.findings with input as document
}

fixes_of(document) := {finding.fix | some finding in findings} if {
	findings := datasets.findings with input as document
}

test_dataset_volume_unprotected_fires if {
	plain := mounting(personal, {"encrypted": false, "reason": "it says encrypted: false"})
	rules_of(plain) == {"dataset-volume-unprotected"}
	some message in messages_of(plain)
	endswith(message, "the volume \"data\" is not encrypted: it says encrypted: false.")
	folder := mounting(personal, {"kind": "hostPath", "access_controlled": false, "reason": "it is a folder of the node"})
	rules_of(folder) == {"dataset-volume-unprotected"}
	some text in messages_of(folder)
	endswith(text, "lets in everybody: it is a folder of the node.")
	some other in messages_of(mounting(personal, {"access_controlled": false}))
	endswith(other, "data.storage.classes says that access is not controlled.")
}

test_dataset_volume_unprotected_is_silent if {
	rules_of(mounting(personal, {})) == set()
	rules_of(mounting(personal, {"access_controlled": true})) == set()
	rules_of(mounting(validation, {"encrypted": false, "access_controlled": false})) == set()
}

test_dataset_volume_unknown_fires if {
	unknown := mounting(personal, {"encrypted": null, "reason": "the claim orders is not declared here"})
	rules_of(unknown) == {"dataset-volume-unknown"}
	some fix in fixes_of(unknown)
	startswith(fix, "Declare the claim")
	some other in fixes_of(mounting(personal, {"encrypted": null, "provider_keys": true}))
	startswith(other, "Name a key of yours")
}

test_dataset_volume_unknown_fires_where_nothing_is_known_of_what_stands_beside if {
	volumes := [
		{"name": "tmp", "kind": "emptyDir", "host_path": null, "claim": null, "pointer": "/v/0"},
		{"name": "data", "kind": "persistentVolumeClaim", "host_path": null, "claim": "orders", "pointer": "/v/1"},
	]
	alone := object.union(fixtures.with_pod({"volumes": volumes}), {
		"surroundings": null,
		"artifacts": [dataset([personal])],
	})
	findings := datasets.findings with input as alone
	{[finding.rule, finding.pointer] | some finding in findings} == {["dataset-volume-unknown", "/v/1"]}
}

test_dataset_volume_unknown_is_silent if {
	rules_of(mounting(personal, {})) == set()
	rules_of(mounting(validation, {"encrypted": null})) == set()
	rules_of(object.union(asked([dataset([personal])]), {"surroundings": {"storage": []}})) == set()
}

test_dataset_volume_open_fires if {
	open := mounting(personal, {"open": "ReadWriteMany"})
	rules_of(open) == {"dataset-volume-open"}
	some message in messages_of(open)
	endswith(message, "every pod of the namespace fraud may mount the claim orders (ReadWriteMany).")
}

test_dataset_volume_open_is_silent if {
	rules_of(mounting(personal, {})) == set()
	rules_of(mounting(validation, {"open": "ReadWriteMany"})) == set()
}

test_dataset_volume_shared_fires if {
	rules_of(mounting(personal, {"others": ["Job copy (team ads)"]})) == {"dataset-volume-shared"}
}

test_dataset_volume_shared_is_silent if {
	rules_of(mounting(personal, {})) == set()
	rules_of(mounting(validation, {"others": ["Job copy (team ads)"]})) == set()
}
