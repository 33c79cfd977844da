package customhouse.rules.models

import data.customhouse.lib

models := [artifact | some artifact in input.artifacts; artifact.role == "model"]

required := {kind | some kind in input.tier.spec.required_evidence}

# METADATA
# title: A model is declared where it can be pinned
# description: >-
#   The model of an InferenceService is named by exactly one storageUri. A storage key, a second model or the variable
#   STORAGE_URI of a custom container would load bytes that nobody inspected.
# custom:
#   id: model-undeclared
#   category: security
#   severity: error
#   fix: Name the model in spec.predictor.model.storageUri.
findings contains lib.error("security", "model-undeclared", pointer, message, fix) if {
	some model in lib.workload.models
	model.storage_uri == null
	message := sprintf("The %s model has no storageUri, so what it loads cannot be inspected.", [model.format])
	fix := "Name the model in spec.predictor.model.storageUri."
	pointer := model.pointer
}

findings contains lib.error("security", "model-undeclared", pointer, message, fix) if {
	count(lib.workload.models) > 1
	message := sprintf("The InferenceService names %v models; one digest cannot pin them all.", [count(lib.workload.models)])
	fix := "Keep one model per InferenceService."
	pointer := lib.workload.models[1].pointer
}

findings contains lib.error("security", "model-undeclared", pointer, message, fix) if {
	input.change.after.kind == "InferenceService"
	some pod in lib.pods
	some container in pod.containers
	some variable in container.environment
	variable.name == "STORAGE_URI"
	message := sprintf("The variable STORAGE_URI of %s loads a model that is not declared.", [lib.called(container)])
	fix := "Name the model in spec.predictor.model.storageUri."
	pointer := variable.pointer
}

findings contains lib.error("security", "model-undeclared", pointer, message, fix) if {
	some model in input.change.after.spec.models
	message := sprintf("A %s loads the model %s, in a kind whose models cannot be pinned.", [
		input.change.after.kind,
		model.uri,
	])
	fix := "Serve the model as an InferenceService, with spec.predictor.model.storageUri."
	pointer := model.pointer
}

# METADATA
# title: Models are pinned by digest
# description: Evidence speaks of a digest; a model that is only named can be exchanged after it was inspected.
# custom:
#   id: model-not-pinned
#   category: security
#   severity: error
#   fix: "Set the annotation customhouse.dev/model-digest: sha256:… (customhouse model sign prints it), or name oci://…@sha256:…."
findings contains lib.error("security", "model-not-pinned", pointer, message, fix) if {
	some model in models
	not model.pinned
	message := sprintf("The model %s is not pinned by a digest.", [model.reference])
	pointer := model.pointer
	fix := pin(model.reference)
}

pin(reference) := sprintf("Write what `customhouse image resolve %s` prints.", [reference]) if startswith(reference, "oci://")

pin(reference) := "Set the annotation customhouse.dev/model-digest: sha256:… (customhouse model sign prints it)." if {
	not startswith(reference, "oci://")
}

# METADATA
# title: A model has the evidence its tier asks for
# description: >-
#   For every kind of evidence in the tier's required_evidence there is a statement about the pinned digest, signed by
#   somebody whom the base revision trusts with that kind.
# custom:
#   id: evidence-missing
#   category: compliance
#   severity: error
#   fix: Make the evidence with the command that the finding names, and commit it under .evidence/.
findings contains lib.error("compliance", "evidence-missing", pointer, message, fix) if {
	some model in models
	some kind in required
	count([item | some item in model.evidence; item.kind == kind]) == 0
	message := sprintf("The model %s has no %s; tier %s requires it.", [model.reference, called[kind], input.tier.name])
	fix := sprintf("Run `customhouse %s` and commit what it writes under .evidence/.", [command[kind]])
	pointer := model.pointer
}

# METADATA
# title: Evidence is believed only when its signature verifies
# description: >-
#   There is a statement of the required kind, but none of that kind verifies: wrong key, a signer who may not sign this
#   kind, other bytes, or a broken signature. The finding says which.
# custom:
#   id: evidence-unverified
#   category: security
#   severity: error
#   fix: Have it signed by a trusted signer, about the digest that is pinned.
findings contains lib.error("security", "evidence-unverified", pointer, message, fix) if {
	some model in models
	some kind in required
	found := [item | some item in model.evidence; item.kind == kind]
	count(found) > 0
	count([item | some item in found; item.verified]) == 0
	message := sprintf("The %s of the model %s cannot be believed: %s.", [called[kind], model.reference, found[0].problem])
	fix := sprintf("Run `customhouse %s` with a key that the base revision trusts, and commit what it writes.", [command[kind]])
	pointer := model.pointer
}

# METADATA
# title: Evidence is recent
# description: A scan of last year knows nothing of this year's attacks; the tier says how old evidence may be.
# custom:
#   id: evidence-stale
#   category: compliance
#   severity: error
#   fix: Make the evidence anew.
findings contains lib.error("compliance", "evidence-stale", pointer, message, fix) if {
	some model in models
	some kind in required
	limit := input.tier.spec.evidence_max_age_days
	limit != null
	verified := [item | some item in model.evidence; item.kind == kind; item.verified]
	count(verified) > 0
	count([item | some item in verified; item.age_seconds != null; item.age_seconds <= limit * 86400]) == 0
	message := sprintf("The %s of the model %s is older than %v days.", [called[kind], model.reference, limit])
	fix := sprintf("Run `customhouse %s` again and commit what it writes.", [command[kind]])
	pointer := model.pointer
}

# METADATA
# title: Only a model that scanned clean is served
# description: >-
#   Any scan that speaks of the digest and says malicious, suspicious or unscannable denies, whoever signed it and
#   whatever other scans say; a verified scan without a verdict denies too.
# custom:
#   id: model-scan
#   category: security
#   severity: error
#   fix: Look at the scan's findings; export the weights as safetensors or ONNX without code.
findings contains lib.error("security", "model-scan", pointer, message, fix) if {
	some model in models
	some item in model.evidence
	item.kind == "scan"
	item.summary.verdict != "clean"
	about_these_bytes(item, model)
	message := sprintf("The scan of the model %s says %s%s%s.", [
		model.reference,
		verdict_text(item.summary.verdict),
		in_files(item.summary.bad_files),
		for_rules(item.summary.rules),
	])
	fix := scan_fix(item.summary.verdict)
	pointer := model.pointer
}

# A scan that does not verify may be a forgery either way: it is heard when it warns.
about_these_bytes(item, _) if item.verified

about_these_bytes(item, model) if {
	not item.verified
	item.summary.verdict in {"malicious", "suspicious"}
	model.digest != null
}

verdict_text(verdict) := verdict if verdict != null

verdict_text(null) := "nothing (it has no verdict)"

in_files(files) := "" if count(files) == 0

in_files(files) := sprintf(" (%s)", [concat(", ", array.slice(files, 0, 3))]) if count(files) > 0

for_rules(rules) := "" if count(rules) == 0

for_rules(rules) := sprintf(", for %s", [concat(", ", array.slice(rules, 0, 3))]) if count(rules) > 0

scan_fix("unscannable") := "Export the model in a format that can be read whole: ONNX, safetensors or plain arrays."

scan_fix(verdict) := "Do not load this file. Find out where it comes from; export the weights without code." if {
	verdict != "unscannable"
}

# METADATA
# title: An evaluation that failed does not go into production
# description: When the tier requires an evaluation, one that is verified and says passed false denies.
# custom:
#   id: model-evaluation
#   category: compliance
#   severity: error
#   fix: Train a better model, or change the declared bounds by review.
findings contains lib.error("compliance", "model-evaluation", pointer, message, fix) if {
	"evaluation" in required
	some model in models
	some item in model.evidence
	item.kind == "evaluation"
	item.verified
	item.summary.passed == false
	message := sprintf("The evaluation of the model %s did not pass%s.", [model.reference, failed(item.summary)])
	fix := "Train a better model, or change the declared bounds by review."
	pointer := model.pointer
}

# Evaluations of other programs, and Facts of an earlier version, name no bounds.
failed(summary) := "" if count(object.get(summary, "failed", [])) == 0

failed(summary) := sprintf(": %s", [concat("; ", array.slice(summary.failed, 0, 3))]) if count(summary.failed) > 0

# METADATA
# title: Provenance names a builder and its materials
# description: When the tier requires provenance, one that is verified but names no builder or no digest of a material denies.
# custom:
#   id: model-provenance
#   category: compliance
#   severity: error
#   fix: Let the declared training Job make the provenance.
findings contains lib.error("compliance", "model-provenance", pointer, message, fix) if {
	"provenance" in required
	some model in models
	some item in model.evidence
	item.kind == "provenance"
	item.verified
	summary := item.summary
	not whole(summary)
	message := sprintf("The provenance of the model %s names no builder, or a material without a digest.", [model.reference])
	fix := "Let the declared training Job make the provenance."
	pointer := model.pointer
}

whole(summary) if {
	summary.builder != null
	count(summary.materials) > 0
	count([item | some item in summary.materials; nameless(item)]) == 0
}

# A commit stands for its bytes as a digest does; Facts of an earlier version tell none.
nameless(item) if {
	item.digest == null
	object.get(item, "commit", null) == null
}

called := object.union(
	{kind: kind | some kind in required},
	{
		"signature": "signature",
		"scan": "scan",
		"bom": "bill of materials",
		"provenance": "provenance",
		"evaluation": "evaluation",
		"data-validation": "data validation",
		"vulnerabilities": "report of vulnerabilities",
	},
)

command := object.union(
	{kind: "model attest PATH --key KEY" | some kind in required},
	{
		"evaluation": "model evaluate PATH --data FILE --attest --key KEY",
		"provenance": "model attest PATH --key KEY --job FILE",
		"vulnerabilities": "vuln attest REPORT --subject DIGEST --key KEY",
	},
)
