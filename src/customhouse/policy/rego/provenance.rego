# What provenance must say: `provenance:` of the base revision's customhouse.yaml, and the Build level that a tier asks for.
package customhouse.rules.provenance

import data.customhouse.lib

# METADATA
# title: Provenance is what was expected
# description: >-
#   An expectation of the base revision's customhouse.yaml covers the artifact, and there is no verified provenance about
#   its digest, or none that meets all of it: builder, signer, Build level, build type, source, parameters, materials.
# custom:
#   id: provenance-expected
#   category: security
#   severity: error
#   fix: Build it the way that the expectation says, or change the expectation by review.
findings contains lib.error("security", "provenance-expected", pointer, message, fix) if {
	some artifact in expected
	count(statements(artifact)) == 0
	message := sprintf("There is no verified provenance of the %s %s; the expectation %s (%s) asks for it.", [
		artifact.role,
		artifact.reference,
		artifact.provenance.name,
		artifact.provenance.place,
	])
	fix := "Have its builder write SLSA v1 provenance, signed by somebody whom the base revision trusts with it."
	pointer := artifact.pointer
}

findings contains lib.error("security", "provenance-expected", pointer, message, fix) if {
	some artifact in expected
	found := statements(artifact)
	count(found) > 0
	count([item | some item in found; count(item.summary.unmet) == 0]) == 0
	fewest := min([count(item.summary.unmet) | some item in found])
	best := [item | some item in found; count(item.summary.unmet) == fewest][0]
	some problem in best.summary.unmet
	message := sprintf("The provenance of the %s %s is not what %s expects: %s (%s).", [
		artifact.role,
		artifact.reference,
		artifact.provenance.name,
		problem.message,
		places(problem),
	])
	fix := sprintf("Build it as %s says, or change that by review.", [artifact.provenance.place])
	pointer := artifact.pointer
}

places(problem) := sprintf("%s, expected at %s", [problem.at, problem.place]) if problem.at != ""

places(problem) := sprintf("expected at %s", [problem.place]) if problem.at == ""

# METADATA
# title: Provenance is recent
# description: The expectation says how old provenance may be (maxAgeDays), and none that meets it is that young.
# custom:
#   id: provenance-stale
#   category: compliance
#   severity: error
#   fix: Build the artifact anew.
findings contains lib.error("compliance", "provenance-stale", pointer, message, fix) if {
	some artifact in expected
	limit := artifact.provenance.max_age_days
	is_number(limit)
	met := [item | some item in statements(artifact); count(item.summary.unmet) == 0]
	count(met) > 0
	count([item | some item in met; is_number(item.age_seconds); item.age_seconds <= limit * 86400]) == 0
	message := sprintf("The provenance of the %s %s is older than %v days, or does not say when it was made.", [
		artifact.role,
		artifact.reference,
		limit,
	])
	fix := "Build the artifact anew."
	pointer := artifact.pointer
}

# METADATA
# title: Provenance reaches the Build level of the tier
# description: >-
#   The tier asks for an SLSA Build level (provenanceLevel, imageProvenanceLevel). A level counts when the provenance
#   verifies, its builder is declared under provenance.builders, and its signer signs for that builder.
# custom:
#   id: provenance-level
#   category: security
#   severity: error
#   fix: Build it with a builder of that level, and declare the builder with who signs for it.
findings contains lib.error("security", "provenance-level", pointer, message, fix) if {
	some artifact in input.artifacts
	asked := level_asked[artifact.role]
	is_number(asked)
	found := statements(artifact)
	count([item | some item in found; item.summary.level >= asked]) == 0
	message := sprintf("The %s %s reaches SLSA Build level %v, and tier %s asks for %v: %s.", [
		artifact.role,
		artifact.reference,
		reached(found),
		input.tier.name,
		asked,
		reason(found),
	])
	fix := sprintf("Build it with a builder of level %v that provenance.builders of customhouse.yaml declares.", [asked])
	pointer := artifact.pointer
}

level_asked := {
	"model": object.get(input.tier.spec, "provenance_level", null),
	"image": object.get(input.tier.spec, "image_provenance_level", null),
}

reached(found) := 0 if count(found) == 0

reached(found) := max([item.summary.level | some item in found]) if count(found) > 0

reason(found) := "there is no verified provenance" if count(found) == 0

reason(found) := [item.summary.level_reason | some item in found; item.summary.level == reached(found)][0] if {
	count(found) > 0
}

expected := [artifact | some artifact in input.artifacts; artifact.provenance]

# Facts of an earlier version, and those of rules' own tests, tell no level: they meet nothing.
statements(artifact) := [item |
	some item in artifact.evidence
	item.kind == "provenance"
	item.verified
	is_number(item.summary.level)
]
