# Evidence about container images; that about models is in models.rego.
package customhouse.rules.evidence

import data.customhouse.lib

# METADATA
# title: An image has the evidence its tier asks for
# description: >-
#   For every kind of evidence in the tier's requiredImageEvidence there is a statement about the image's digest. An image
#   that the tier lists under preScannedImages needs no scan of its own.
# custom:
#   id: image-evidence-missing
#   category: compliance
#   severity: error
#   tiers: "standard: warning; experiment: note"
#   fix: Run the command that the finding names where the image is built; it attaches the statement in the registry.
findings contains lib.error("compliance", "image-evidence-missing", pointer, message, fix) if {
	some image in images
	some kind in input.tier.spec.required_image_evidence
	count(of_kind(image, kind)) == 0
	not excused(image, kind)
	name := called(kind)
	message := sprintf("The image %s has no %s; tier %s asks for it.", [image.reference, name, input.tier.name])
	run := command(image, kind)
	fix := concat("", ["Run `customhouse ", run, "` with a key that the base revision trusts, or commit it below .evidence/."])
	pointer := image.pointer
}

# METADATA
# title: Evidence about an image is believed only when its signature verifies
# description: There is a statement of the required kind about the image, but none of that kind verifies.
# custom:
#   id: image-evidence-unverified
#   category: security
#   severity: error
#   fix: Have it signed by somebody whom the base revision trusts with this kind, about the digest that is pinned.
findings contains lib.error("security", "image-evidence-unverified", pointer, message, fix) if {
	some image in witnessed
	some kind in input.tier.spec.required_image_evidence
	found := of_kind(image, kind)
	count(found) > 0
	count([item | some item in found; item.verified]) == 0
	message := sprintf("The %s of the image %s cannot be believed: %s.", [called(kind), image.reference, found[0].problem])
	fix := sprintf("Run `customhouse %s` with a key that the base revision trusts (`trust:` of customhouse.yaml).", [
		command(image, kind),
	])
	pointer := image.pointer
}

# METADATA
# title: Evidence about an image is recent
# description: The tier says how old evidence may be (evidenceMaxAgeDays).
# custom:
#   id: image-evidence-stale
#   category: compliance
#   severity: error
#   fix: Make the evidence anew.
findings contains lib.error("compliance", "image-evidence-stale", pointer, message, fix) if {
	limit := input.tier.spec.evidence_max_age_days
	is_number(limit)
	some image in witnessed
	some kind in input.tier.spec.required_image_evidence
	verified := [item | some item in of_kind(image, kind); item.verified]
	count(verified) > 0
	count([item | some item in verified; is_number(item.age_seconds); item.age_seconds <= limit * 86400]) == 0
	dated := [item | some item in verified; is_number(item.age_seconds)]
	message := sprintf("The %s of the image %s %s.", [called(kind), image.reference, age(dated, limit)])
	fix := sprintf("Run `customhouse %s` again.", [command(image, kind)])
	pointer := image.pointer
}

age(dated, limit) := sprintf("is older than %v days", [limit]) if count(dated) > 0

# Plain `cosign sign --key` writes no time that is signed.
age(dated, limit) := sprintf("does not say when it was made, and may be %v days old", [limit]) if count(dated) == 0

# METADATA
# title: Only an image that scanned clean is run
# description: >-
#   Any scan about the image's digest that says malicious or suspicious denies, whoever signed it; a verified one that is
#   not clean denies too. A list of pre-scanned images excuses nothing here.
# custom:
#   id: image-scan
#   category: security
#   severity: error
#   fix: Look at the scan's findings, and build the image anew.
findings contains lib.error("security", "image-scan", pointer, message, fix) if {
	some image in witnessed
	some item in of_kind(image, "scan")
	heard(item)
	message := sprintf("The scan of the image %s says %s.", [image.reference, verdict(item.summary.verdict)])
	fix := "Look at the scan's findings, and build the image anew."
	pointer := image.pointer
}

heard(item) if {
	item.verified
	item.summary.verdict != "clean"
}

heard(item) if {
	not item.verified
	item.summary.verdict in {"malicious", "suspicious"}
}

verdict(said) := said if said != null

verdict(said) := "nothing (it has no verdict)" if said == null

# METADATA
# title: A scan that was accepted for a base image is told
# description: The tier asks for a scan, and lists the image (or where it comes from) among those whose scan was accepted by review.
# custom:
#   id: image-prescanned
#   category: compliance
#   severity: note
#   fix: Nothing, as long as the list of preScannedImages is kept up.
findings contains lib.note("compliance", "image-prescanned", pointer, message, fix) if {
	"scan" in input.tier.spec.required_image_evidence
	some image in images
	count(of_kind(image, "scan")) == 0
	entry := accepted[image.pointer]
	message := sprintf("The image %s has no scan of its own; tier %s accepts that of %s.", [
		image.reference,
		input.tier.name,
		entry,
	])
	fix := "Nothing, as long as the list of preScannedImages is kept up."
	pointer := image.pointer
}

# An image without a digest has no evidence, and its own finding (image-not-pinned).
images := [artifact |
	some artifact in input.artifacts
	artifact.role == "image"
	artifact.digest != null
]

# Most images have none at all: of those there is nothing more to ask.
witnessed := [image | some image in images; count(image.evidence) > 0]

of_kind(image, kind) := [item | some item in image.evidence; item.kind == kind]

excused(image, kind) if {
	kind == "scan"
	accepted[image.pointer]
}

# Pointer of an image to the first entry of the list that covers it.
accepted[pointer] := entries[0] if {
	count(input.tier.spec.prescanned_images) > 0
	some pod in lib.pods
	some container in pod.containers
	container.image.valid
	pointer := concat("", [container.pointer, "/image"])
	entries := [entry | some entry in input.tier.spec.prescanned_images; covers(entry, container.image)]
	count(entries) > 0
}

covers(entry, image) if entry == image.digest

covers(entry, image) if image.repository == trim_right(entry, "/")

covers(entry, image) if {
	not startswith(entry, "sha256:")
	prefix := trim_right(entry, "/")
	prefix != ""
	startswith(image.repository, concat("", [prefix, "/"]))
}

# METADATA
# title: Provenance of an image names its builder
# description: When the tier requires provenance of images, one that is verified but names no builder denies.
# custom:
#   id: image-provenance
#   category: compliance
#   severity: error
#   fix: Have the build system write the provenance (SLSA v1, runDetails.builder.id).
findings contains lib.error("compliance", "image-provenance", pointer, message, fix) if {
	"provenance" in input.tier.spec.required_image_evidence
	some image in witnessed
	some item in of_kind(image, "provenance")
	item.verified
	builder := object.get(item.summary, "builder", null)
	not is_string(builder)
	message := sprintf("The provenance of the image %s names no builder.", [image.reference])
	fix := "Have the build system write the provenance (SLSA v1, runDetails.builder.id)."
	pointer := image.pointer
}

# Signing needs no more than a key; every other statement says something that a file holds. One chain: of definitions
# that stand by themselves the engine evaluates every one.
command(image, kind) := sprintf("image sign %s --key KEY", [image.reference]) if {
	kind == "signature"
} else := sprintf("vuln attest REPORT --image %s --key KEY", [image.reference]) if {
	kind == "vulnerabilities"
} else := sprintf("image attest %s --key KEY --kind %s --predicate FILE", [image.reference, kind])

called(kind) := object.get({"bom": "bill of materials", "vulnerabilities": "report of vulnerabilities"}, kind, kind)
