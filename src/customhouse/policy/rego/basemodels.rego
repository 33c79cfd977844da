# Where models come from: licences, base models, and hubs. `input.origins` has them as verified bills of materials and the
# reference tell them; `input.settings.models` has what reviewed configuration asks for (docs/registries.md).
package customhouse.rules.basemodels

import data.customhouse.lib

# METADATA
# title: A model's licence is not one that is denied
# description: >-
#   Every choice that the licence in a verified bill of materials leaves is denied by models.licences.denied of the base
#   revision's customhouse.yaml.
# custom:
#   id: model-licence-denied
#   category: compliance
#   severity: error
#   fix: Use another model, or have the licence's denial lifted by review.
findings contains lib.error("compliance", "model-licence-denied", pointer, message, fix) if {
	some model in input.origins
	some licence in model.licences
	is_denied(licence)
	message := sprintf("The model %s has the licence %s, which models.licences denies.", [model.reference, licence.text])
	fix := "Use a model of another licence. If the bill is wrong: set licence in --card, and `customhouse model attest` again."
	pointer := model.pointer
}

# METADATA
# title: A model's licence is one that is allowed
# description: >-
#   models.licences.allowed names the licences that models may have, and none of the choices that the licence leaves is
#   made of these alone.
# custom:
#   id: model-licence-not-allowed
#   category: compliance
#   severity: error
#   fix: Use another model, or add the licence to models.licences.allowed by review.
findings contains lib.error("compliance", "model-licence-not-allowed", pointer, message, fix) if {
	some model in input.origins
	some licence in model.licences
	is_outside(licence)
	message := sprintf("The model %s has the licence %s, which models.licences does not allow.", [
		model.reference,
		licence.text,
	])
	fix := "Use a model of an allowed licence, or add this one to models.licences.allowed by review."
	pointer := model.pointer
}

# METADATA
# title: A model's licence is known
# description: >-
#   models.licences.allowed names the licences that models may have, and no verified bill of materials says which one the
#   model has, or what it says cannot be read.
# custom:
#   id: model-licence-unknown
#   category: compliance
#   severity: error
#   fix: "Say the licence in the card (licence: SPDX-ID) and run `customhouse model attest --card CARD` again."
findings contains lib.error("compliance", "model-licence-unknown", pointer, message, fix) if {
	licences.limited
	some model in input.origins
	is_unknown(model)
	pointer := model.pointer
	message := unknown_text(model)
	fix := unknown_fix
}

# METADATA
# title: A model says its licence where some are denied
# description: >-
#   models.licences.denied names licences that models may not have, and nobody can tell whether the model has one of them.
# custom:
#   id: model-licence-unsaid
#   category: compliance
#   severity: warning
#   fix: "Say the licence in the card (licence: SPDX-ID) and run `customhouse model attest --card CARD` again."
findings contains lib.warning("compliance", "model-licence-unsaid", pointer, message, fix) if {
	not licences.limited
	some_denied
	some model in input.origins
	is_unknown(model)
	pointer := model.pointer
	message := unknown_text(model)
	fix := unknown_fix
}

# METADATA
# title: A model says what it was made from
# description: >-
#   models.bases.required asks every model for its base models: a verified bill of materials names them, or says that
#   there are none.
# custom:
#   id: base-model-undeclared
#   category: compliance
#   severity: error
#   fix: "Name base-models in the card ([] when there are none) and run `customhouse model attest --card CARD` again."
findings contains lib.error("compliance", "base-model-undeclared", pointer, message, fix) if {
	bases.required
	some model in input.origins
	count(model.bases) == 0
	not model.made_from_none
	message := sprintf("%s the model %s says what it was made from.", [no_bill(model), model.reference])
	fix := "Name base-models in the card ([] when there are none) and run `customhouse model attest --card CARD` again."
	pointer := model.pointer
}

# METADATA
# title: Base models are named by the bytes that they are
# description: models.bases.pinned asks for each base model's digest, or for its commit on a hub.
# custom:
#   id: base-model-not-pinned
#   category: compliance
#   severity: error
#   fix: Give the base model's digest, or its commit as version, in the card.
findings contains lib.error("compliance", "base-model-not-pinned", pointer, message, fix) if {
	bases.pinned
	some model in input.origins
	loose := [base.name | some base in model.bases; not base.pinned]
	count(loose) > 0
	message := sprintf("Of the model %s these base models are named by no digest and no commit: %s.", [
		model.reference,
		few(loose, model.bases_left_out),
	])
	fix := "Give the digest of each, or its commit as version, under base-models of the card; then `customhouse model attest`."
	pointer := model.pointer
}

findings contains lib.error("compliance", "base-model-not-pinned", pointer, message, fix) if {
	some model in input.origins
	model.bases_left_out > 0
	message := sprintf("The model %s names %v base models more than are looked at.", [model.reference, model.bases_left_out])
	fix := "Name at most 64 base models in its bill."
	pointer := model.pointer
}

# METADATA
# title: The licences of base models go along
# description: >-
#   What a model was made from has a licence too: it has to be one that models.licences allows. Where models.bases.licensed
#   asks for it, it has to be known.
# custom:
#   id: base-model-licence
#   category: compliance
#   severity: error
#   fix: Make the model from another base, or have the licence allowed by review.
findings contains lib.error("compliance", "base-model-licence", pointer, message, fix) if {
	some model in input.origins
	some base in model.bases
	some licence in base.licences
	unfit(licence)
	message := sprintf("The model %s was made from %s, whose licence %s models.licences does not allow.", [
		model.reference,
		base.name,
		licence.text,
	])
	fix := "Make the model from another base, or have that licence allowed by review."
	pointer := model.pointer
}

findings contains lib.error("compliance", "base-model-licence", pointer, message, fix) if {
	bases.licensed
	some model in input.origins
	silent := [base.name | some base in model.bases; not licensed(base)]
	count(silent) > 0
	message := sprintf("Of the model %s it is not known which licences its base models have: %s.", [
		model.reference,
		few(silent, 0),
	])
	fix := "Give licence of each under base-models of the card, and run `customhouse model attest --card CARD` again."
	pointer := model.pointer
}

# METADATA
# title: Models come from where they may
# description: >-
#   models.sources of the base revision's customhouse.yaml says from which hubs, registries and addresses models and
#   their base models may come. The reference of the model counts, and so does what its verified bill names.
# custom:
#   id: model-source-not-allowed
#   category: security
#   severity: error
#   fix: Take the model from an allowed place, or add this one to models.sources.allowed by review.
findings contains lib.error("security", "model-source-not-allowed", pointer, message, fix) if {
	some model in input.origins
	some place in model.places
	place.refused != ""
	message := sprintf("%s %s comes from %s, %s.", [part(place), subject(model, place), place.written, place.refused])
	fix := "Take it from an allowed place, or add this one to models.sources.allowed by review."
	pointer := model.pointer
}

# METADATA
# title: A model of a hub is pinned to a commit
# description: >-
#   A branch or a tag of a hub moves, and so does a model without a revision: the next start of a pod would load other
#   bytes than those that were inspected.
# custom:
#   id: model-revision-not-pinned
#   category: security
#   severity: error
#   fix: "Name the commit (40 hex digits): `customhouse model pull hf://ORG/NAME@main DIR --lock FILE` prints it."
findings contains lib.error("security", "model-revision-not-pinned", pointer, message, fix) if {
	some model in input.origins
	some place in model.places
	place.of == ""
	place.pinned == false
	message := sprintf("The model %s comes from %s without a commit: what lies there may change.", [
		model.reference,
		place.written,
	])
	fix := sprintf("Name the commit (40 hex digits): `customhouse model pull %s DIR --lock FILE` prints it.", [place.written])
	pointer := model.pointer
}

# `limited`: whether there is a list of what is allowed; without one it is empty, and allows everything.
default licences := {
	"limited": false,
	"allowed": {"names": [], "prefixes": []},
	"denied": {"names": [], "prefixes": []},
}

licences := input.settings.models.licences

default bases := {"required": false, "pinned": false, "licensed": false}

bases := input.settings.models.bases

some_denied if count(licences.denied.names) > 0

some_denied if count(licences.denied.prefixes) > 0

is_denied(licence) if {
	is_array(licence.choices)
	count([choice | some choice in licence.choices; not choice_denied(choice)]) == 0
}

choice_denied(choice) if {
	some term in choice
	term_denied(term)
}

# The exact name counts first: a licence may be allowed with an exception and denied without it.
term_denied(term) if {
	some name in term
	listed(licences.denied, name)
	not named_exactly(term)
}

named_exactly(term) if {
	some name in licences.allowed.names
	name == term[0]
}

# A choice that is denied is none: what is left has to be allowed.
is_outside(licence) if {
	is_array(licence.choices)
	licences.limited
	not is_denied(licence)
	count([choice | some choice in licence.choices; choice_fits(choice)]) == 0
}

choice_fits(choice) if {
	not choice_denied(choice)
	count([term | some term in choice; not term_allowed(term)]) == 0
}

term_allowed(term) if {
	some name in term
	listed(licences.allowed, name)
}

unfit(licence) if is_denied(licence)

unfit(licence) if is_outside(licence)

listed(list, name) if name in list.names

listed(list, name) if {
	some prefix in list.prefixes
	startswith(name, prefix)
}

is_unknown(model) if count(model.licences) == 0

is_unknown(model) if {
	some licence in model.licences
	licence.choices == null
}

unknown_text(model) := sprintf("It is not known which licence the model %s has: %s.", [model.reference, silence(model)])

silence(model) := "it has no verified bill of materials" if model.bills <= 0

silence(model) := "its bill of materials does not say" if {
	model.bills > 0
	count(model.licences) == 0
}

silence(model) := sprintf("%q cannot be read", [unread(model)[0]]) if {
	model.bills > 0
	count(model.licences) > 0
}

unread(model) := [licence.text | some licence in model.licences; licence.choices == null]

unknown_fix := "Say it in the card (\"licence\": an SPDX identifier) and run `customhouse model attest --card CARD` again."

no_bill(model) := "No verified bill of materials of" if model.bills <= 0

no_bill(model) := "No bill of materials of" if model.bills > 0

licensed(base) if {
	count(base.licences) > 0
	count([licence | some licence in base.licences; licence.choices == null]) == 0
}

few(names, left_out) := concat(", ", names) if {
	count(names) <= 5
	left_out <= 0
}

few(names, left_out) := sprintf("%s and %v more", [concat(", ", array.slice(names, 0, 5)), (count(names) - 5) + left_out]) if {
	count(names) > 5
}

few(names, left_out) := sprintf("%s and %v more", [concat(", ", names), left_out]) if {
	count(names) <= 5
	left_out > 0
}

part(place) := "The model" if place.of == ""

part(place) := "The base model" if place.of != ""

subject(model, place) := model.reference if place.of == ""

subject(model, place) := sprintf("%s of %s", [place.of, model.reference]) if place.of != ""
