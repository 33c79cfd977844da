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
findings contains lib.error("security", "dataset-not-pinned", pointer, message, fix) if {
	count(required) > 0
	some item in datasets
	item.digest == null
	message := sprintf("The dataset %s is not pinned by a digest.", [item.reference])
	fix := "Write the digest that `customhouse data register` prints."
	pointer := item.pointer
}

# METADATA
# title: A dataset has the evidence its tier asks for
# description: For every kind of evidence in the tier's requiredDatasetEvidence there is a statement about the dataset's digest.
# custom:
#   id: dataset-evidence-missing
#   category: compliance
#   severity: error
#   fix: "Run `customhouse data validate PATH --attest NAME --key KEY` and commit what it writes under .evidence/."
findings contains lib.error("compliance", "dataset-evidence-missing", pointer, message, fix) if {
	some item in datasets
	item.digest != null
	some kind in required
	count(of_kind(item, kind)) == 0
	message := sprintf("The dataset %s has no %s; tier %s requires it.", [item.reference, called(kind), input.tier.name])
	fix := sprintf("Run `customhouse %s` and commit what it writes under .evidence/.", [command(kind)])
	pointer := item.pointer
}

# METADATA
# title: Evidence about a dataset is believed only when its signature verifies
# description: There is a statement of the required kind about the dataset, but none of that kind verifies.
# custom:
#   id: dataset-evidence-unverified
#   category: security
#   severity: error
#   fix: Have it signed by somebody whom the base revision trusts with this kind, about the digest that is pinned.
findings contains lib.error("security", "dataset-evidence-unverified", pointer, message, fix) if {
	some item in datasets
	some kind in required
	found := of_kind(item, kind)
	count(found) > 0
	count(believed(item, kind)) == 0
	message := sprintf("The %s of the dataset %s cannot be believed: %s.", [called(kind), item.reference, found[0].problem])
	fix := sprintf("Run `customhouse %s` with a key that the base revision trusts.", [command(kind)])
	pointer := item.pointer
}

# METADATA
# title: Evidence about a dataset is recent
# description: The tier says how old evidence may be (evidenceMaxAgeDays).
# custom:
#   id: dataset-evidence-stale
#   category: compliance
#   severity: error
#   fix: Validate the dataset again.
findings contains lib.error("compliance", "dataset-evidence-stale", pointer, message, fix) if {
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
	pointer := item.pointer
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
findings contains lib.error("security", "dataset-validation-failed", pointer, message, fix) if {
	some item in datasets
	some one in of_kind(item, "data-validation")
	failed(one)
	message := sprintf("The dataset %s did not pass its validation%s.", [item.reference, reasons(one.summary.errors)])
	fix := "Look at the report of `customhouse data validate`; correct the data, or change their schema by review."
	pointer := item.pointer
}

# METADATA
# title: A dataset that has to be validated is held against a schema
# description: The tier asks for a validation, and none that verifies was made with a schema.
# custom:
#   id: dataset-schema-missing
#   category: compliance
#   severity: warning
#   fix: "Write a schema (`customhouse data validate PATH --infer` begins one), and validate with it."
findings contains lib.warning("compliance", "dataset-schema-missing", pointer, message, fix) if {
	"data-validation" in required
	some item in datasets
	verified := believed(item, "data-validation")
	count(verified) > 0
	count([one | some one in verified; one.summary.schema != null]) == 0
	message := sprintf("The dataset %s was validated without a schema.", [item.reference])
	fix := "Write a schema (`customhouse data validate PATH --infer` begins one), and validate with it."
	pointer := item.pointer
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
findings contains lib.error("security", "dataset-storage-unprotected", pointer, message, fix) if {
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
	pointer := item.pointer
}

# METADATA
# title: Sensitive data are mounted from encrypted storage
# description: >-
#   A workload names data with sensitive columns, and a volume that it mounts lies on storage that is not encrypted, or
#   that lets in everybody. Asked are the declared StorageClasses, by the parameters that their drivers heed, and
#   data.storage of the base revision's customhouse.yaml.
# custom:
#   id: dataset-volume-unprotected
#   category: security
#   severity: error
#   fix: Mount them from a StorageClass that encrypts, and move the data there.
findings contains lib.error("security", "dataset-volume-unprotected", pointer, message, fix) if {
	count(delicate) > 0
	some volume in input.surroundings.storage
	volume.encrypted == false
	message := sprintf("%s: the volume %q is not encrypted: %s.", [holding, volume.volume, volume.reason])
	fix := "Use a StorageClass that encrypts (ebs.csi.aws.com: encrypted: \"true\"), and move the data to a claim of it."
	pointer := volume.pointer
}

findings contains lib.error("security", "dataset-volume-unprotected", pointer, message, fix) if {
	count(delicate) > 0
	some volume in input.surroundings.storage
	volume.access_controlled == false
	message := sprintf("%s: the volume %q lets in everybody: %s.", [holding, volume.volume, admitted(volume)])
	fix := "Use a PersistentVolumeClaim whose storage lets in whom it should, and move the data to it."
	pointer := volume.pointer
}

# METADATA
# title: It is known how sensitive data are stored
# description: >-
#   A workload names data with sensitive columns, and it cannot be told whether a volume that it mounts is encrypted.
#   What is not known is not taken for protected.
# custom:
#   id: dataset-volume-unknown
#   category: security
#   severity: error
#   tiers: "standard: warning; experiment: warning"
#   fix: Declare the claim and its StorageClass, or say what is known of the class under data.storage.classes.
findings contains lib.error("security", "dataset-volume-unknown", pointer, message, fix) if {
	count(delicate) > 0
	some volume in input.surroundings.storage
	volume.encrypted == null
	message := sprintf("%s: whether the volume %q is encrypted could not be told: %s.", [
		holding,
		volume.volume,
		volume.reason,
	])
	pointer := volume.pointer
	fix := learn(volume)
}

findings contains lib.error("security", "dataset-volume-unknown", pointer, message, fix) if {
	input.surroundings == null
	count(delicate) > 0
	some pod in lib.pods
	some volume in pod.volumes
	volume.claim != null
	message := sprintf("%s: how the volume %q is stored could not be told: %s.", [
		holding,
		volume.name,
		"what else is declared is not known here",
	])
	fix := "Let the gate judge it in its repository, or run the webhook with --repo."
	pointer := volume.pointer
}

# METADATA
# title: Claims with sensitive data are not open to a whole namespace
# description: >-
#   A claim that many pods may mount at once (ReadWriteMany, ReadOnlyMany) is open to every pod of its namespace, unless
#   the storage itself controls access and data.storage.classes says so.
# custom:
#   id: dataset-volume-open
#   category: security
#   severity: error
#   tiers: "standard: warning; experiment: warning"
#   fix: Use ReadWriteOncePod, a namespace of its own, or storage that controls access.
findings contains lib.error("security", "dataset-volume-open", pointer, message, fix) if {
	count(delicate) > 0
	some volume in input.surroundings.storage
	volume.open != null
	message := sprintf("%s: every pod of the namespace %s may mount the claim %s (%s).", [
		holding,
		input.change.after.namespace,
		volume.claim,
		volume.open,
	])
	fix := "Use ReadWriteOncePod; or say accessControlled of its StorageClass under data.storage.classes, if the storage does."
	pointer := volume.pointer
}

# METADATA
# title: Claims with sensitive data are mounted by one team
# description: >-
#   Another workload of the namespace, with another customhouse.dev/team, mounts the claim of a workload that names data
#   with sensitive columns.
# custom:
#   id: dataset-volume-shared
#   category: security
#   severity: error
#   fix: Give each team a claim of its own.
findings contains lib.error("security", "dataset-volume-shared", pointer, message, fix) if {
	count(delicate) > 0
	some volume in input.surroundings.storage
	count(volume.others) > 0
	message := sprintf("%s: another team mounts the claim %s too: %s.", [holding, volume.claim, concat(", ", volume.others)])
	fix := "Give each team a claim of its own, and let others read what they need by a copy without these columns."
	pointer := volume.pointer
}

# Data sets of which a verified validation says that they have sensitive columns.
delicate := [item |
	some item in datasets
	count([one | some one in believed(item, "data-validation"); count(sensitive(one)) > 0]) > 0
]

holding := sprintf("Data with sensitive columns are named (%s)", [concat(", ", [item.reference | some item in delicate])])

admitted(volume) := volume.reason if volume.kind == "hostPath"

admitted(volume) := "data.storage.classes says that access is not controlled" if volume.kind != "hostPath"

learn(volume) := "Name a key of yours in the StorageClass, or accept the provider's by data.storage.providerKeys: true." if {
	volume.provider_keys
}

learn(volume) := "Declare the claim and its StorageClass here, or say under data.storage.classes what is known of the class." if {
	not volume.provider_keys
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
