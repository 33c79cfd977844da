# Datasets that a workload is trained on or evaluated with: pinned, validated, and kept where sensitive data may be kept.
package customhouse.rules.datasets

import data.customhouse.lib

datasets := [artifact | some artifact in input.artifacts; artifact.role == "dataset"]

required := object.get(input.tier.spec, "required_dataset_evidence", [])

# METADATA
# title: Datasets are pinned by digest
# description: >-
#   The annotation customhouse.dev/dataset (or the address that the kind names) has a digest; what is only named can be
#   exchanged after it was validated. Asked where the tier asks for evidence about datasets.
# custom:
#   id: dataset-not-pinned
#   category: security
#   severity: error
#   fix: Write the digest that `customhouse data register` prints.
findings contains lib.error("security", "dataset-not-pinned", item.pointer, message, fix) if {
	count(required) > 0
	some item in datasets
	item.digest == null
	message := sprintf("The dataset %s is not pinned by a digest.", [item.reference])
	fix := "Write the digest that `customhouse data register` prints."
}

# METADATA
# title: A dataset has the evidence its tier asks for
# description: For every kind of evidence in the tier's requiredDatasetEvidence there is a statement about the dataset's digest.
# custom:
#   id: dataset-evidence-missing
#   category: compliance
#   severity: error
#   fix: "Run `customhouse data validate PATH --attest NAME --key KEY` and commit what it writes under .evidence/."
findings contains lib.error("compliance", "dataset-evidence-missing", item.pointer, message, fix) if {
	some item in datasets
	item.digest != null
	some kind in required
	count(of_kind(item, kind)) == 0
	message := sprintf("The dataset %s has no %s; tier %s requires it.", [item.reference, called(kind), input.tier.name])
	fix := sprintf("Run `customhouse %s` and commit what it writes under .evidence/.", [command(kind)])
}

# METADATA
# title: Evidence about a dataset is believed only when its signature verifies
# description: There is a statement of the required kind about the dataset, but none of that kind verifies.
# custom:
#   id: dataset-evidence-unverified
#   category: security
#   severity: error
#   fix: Have it signed by somebody whom the base revision trusts with this kind, about the digest that is pinned.
findings contains lib.error("security", "dataset-evidence-unverified", item.pointer, message, fix) if {
	some item in datasets
	some kind in required
	found := of_kind(item, kind)
	count(found) > 0
	count(believed(item, kind)) == 0
	message := sprintf("The %s of the dataset %s cannot be believed: %s.", [called(kind), item.reference, found[0].problem])
	fix := sprintf("Run `customhouse %s` with a key that the base revision trusts.", [command(kind)])
}

# METADATA
# title: Evidence about a dataset is recent
# description: The tier says how old evidence may be (evidenceMaxAgeDays).
# custom:
#   id: dataset-evidence-stale
#   category: compliance
#   severity: error
#   fix: Validate the dataset again.
findings contains lib.error("compliance", "dataset-evidence-stale", item.pointer, message, fix) if {
	limit := input.tier.spec.evidence_max_age_days
	is_number(limit)
	some item in datasets
	some kind in required
	verified := believed(item, kind)
	count(verified) > 0
	count([one | some one in verified; is_number(one.age_seconds); one.age_seconds <= limit * 86400]) == 0
	message := sprintf("The %s of the dataset %s is older than %v days, or does not say when it was made.", [
		called(kind),
		item.reference,
		limit,
	])
	fix := sprintf("Run `customhouse %s` again.", [command(kind)])
}

# METADATA
# title: Only a dataset that passed its validation is used
# description: >-
#   Any statement about the dataset's digest that says it failed denies, whoever signed it; a verified one that does not
#   say that it passed denies too.
# custom:
#   id: dataset-validation-failed
#   category: security
#   severity: error
#   fix: Correct the data, or change their schema by review, and validate them again.
findings contains lib.error("security", "dataset-validation-failed", item.pointer, message, fix) if {
	some item in datasets
	some one in of_kind(item, "data-validation")
	failed(one)
	message := sprintf("The dataset %s did not pass its validation%s.", [item.reference, reasons(one.summary.errors)])
	fix := "Look at the report of `customhouse data validate`; correct the data, or change their schema by review."
}

# METADATA
# title: A dataset that has to be validated is held against a schema
# description: The tier asks for a validation, and none that verifies was made with a schema.
# custom:
#   id: dataset-schema-missing
#   category: compliance
#   severity: warning
#   fix: "Write a schema (`customhouse data validate PATH --infer` begins one), and validate with it."
findings contains lib.warning("compliance", "dataset-schema-missing", item.pointer, message, fix) if {
	"data-validation" in required
	some item in datasets
	verified := believed(item, "data-validation")
	count(verified) > 0
	count([one | some one in verified; one.summary.schema != null]) == 0
	message := sprintf("The dataset %s was validated without a schema.", [item.reference])
	fix := "Write a schema (`customhouse data validate PATH --infer` begins one), and validate with it."
}

# METADATA
# title: Sensitive data lie on encrypted, access-controlled storage
# description: >-
#   A verified validation names sensitive columns, and does not say that their storage is encrypted and
#   access-controlled. What is not known is not taken for protected.
# custom:
#   id: dataset-storage-unprotected
#   category: security
#   severity: error
#   fix: Move the data to such storage, and say so under `storage` of the dataset's schema, with its evidence.
findings contains lib.error("security", "dataset-storage-unprotected", item.pointer, message, fix) if {
	some item in datasets
	some one in believed(item, "data-validation")
	count(sensitive(one)) > 0
	some side in {"encrypted", "access_controlled"}
	one.summary[side] != true
	message := sprintf("The dataset %s has sensitive columns (%s), and its storage is %s.", [
		item.reference,
		lib.listed(sensitive(one)),
		state(one.summary[side], side),
	])
	fix := "Move the data to such storage, and say so under `storage` of the dataset's schema, with its evidence."
}

of_kind(item, kind) := [one | some one in item.evidence; one.kind == kind]

believed(item, kind) := [one | some one in of_kind(item, kind); one.verified]

failed(one) if one.summary.passed == false

failed(one) if {
	one.verified
	one.summary.passed == null
}

reasons(errors) := "" if count(errors) == 0

reasons(errors) := sprintf(": %s", [lib.listed(errors)]) if count(errors) > 0

# A column that only is called as sensitive ones are is told by the report, and denies nothing.
sensitive(one) := [column.column | some column in one.summary.sensitive; column.sure] if is_array(one.summary.sensitive)

sensitive(one) := ["not listed"] if one.summary.sensitive == null

state(value, side) := sprintf("not %s", [words[side]]) if value == false

state(value, side) := sprintf("not known to be %s", [words[side]]) if value == null

words := {"encrypted": "encrypted", "access_controlled": "access-controlled"}

called("data-validation") := "validation"

called(kind) := kind if kind != "data-validation"

command("data-validation") := "data validate PATH --attest NAME --key KEY"

command("provenance") := "data prepare JOB --key KEY"

command("signature") := "artifact sign PATH --key KEY"
