# How good a model has to be shown to be: the plan of the base revision's customhouse.yaml, and what a tier asks for.
package customhouse.rules.evaluation

import data.customhouse.lib

models := [artifact | some artifact in input.artifacts; artifact.role == "model"]

# METADATA
# title: A model is evaluated by its declared plan
# description: >-
#   A plan of evaluation.plans covers the model, and no verified evaluation names the plan's file of the base revision by
#   its digest. Evidence under looser bounds, or an older version of the plan, does not count.
# custom:
#   id: evaluation-plan
#   category: compliance
#   severity: error
#   fix: Run `customhouse model evaluate MODEL --data FILE --plan NAME --attest --key KEY` and commit what it writes.
findings contains lib.error("compliance", "evaluation-plan", pointer, message, fix) if {
	some model in models
	plan := model.evaluation
	count([item | some item in statements(model); item.summary.plan == plan.digest]) == 0
	message := sprintf("No verified evaluation of the model %s is by the plan %s (%s) as the base revision has it%s.", [
		model.reference,
		plan.plan,
		plan.file,
		others(model),
	])
	fix := again(plan.plan)
	pointer := model.pointer
}

others(model) := "" if count(statements(model)) == 0

others(model) := ": it changed, or another one was used" if count(statements(model)) > 0

again(plan) := sprintf("Run `customhouse model evaluate MODEL --data FILE --plan %s --attest --key KEY`, commit what it writes.", [plan])

# METADATA
# title: An evaluation measured what the tier asks for
# description: >-
#   The tier's requiredEvaluation names kinds of measurement; one verified evaluation (by the declared plan, where there
#   is one) must hold all of them, and its declared bounds must hold.
# custom:
#   id: evaluation-incomplete
#   category: compliance
#   severity: error
#   fix: Evaluate it with what is missing (groups, --train, bounds), and commit the evidence.
findings contains lib.error("compliance", "evaluation-incomplete", pointer, message, fix) if {
	some model in models
	count(asked) > 0
	not served(model)
	message := sprintf("The evaluation of the model %s is not what tier %s asks for: %s.", [
		model.reference,
		input.tier.name,
		lacking(model),
	])
	fix := "Evaluate it with what is missing (groups, --train, bounds in a plan), and commit the evidence."
	pointer := model.pointer
}

asked := {kind | some kind in object.get(input.tier.spec, "required_evaluation", [])}

served(model) if {
	some item in counted(model)
	item.summary.passed == true
	count(missing(item)) == 0
}

missing(item) := sort(asked - {kind | some kind in item.summary.measured})

lacking(model) := "there is none that counts" if count(counted(model)) == 0

lacking(model) := concat("; ", sort({text | some item in counted(model); some text in wrong(item)})) if {
	count(counted(model)) > 0
}

wrong(item) := array.concat(
	[sprintf("no %s", [kind]) | some kind in missing(item)],
	[text | some text in [unjudged(item)]; text != ""],
)

unjudged(item) := "no bounds were declared" if item.summary.passed == null

unjudged(item) := "it did not pass" if item.summary.passed == false

unjudged(item) := "" if item.summary.passed == true

# METADATA
# title: An evaluation is recent
# description: >-
#   The tier says how old an evaluation may be (evaluationMaxAgeDays): the world that a model was measured in changes.
# custom:
#   id: evaluation-stale
#   category: compliance
#   severity: error
#   fix: Evaluate it on data of today.
findings contains lib.error("compliance", "evaluation-stale", pointer, message, fix) if {
	some model in models
	limit := input.tier.spec.evaluation_max_age_days
	is_number(limit)
	found := counted(model)
	count(found) > 0
	count([item | some item in found; is_number(item.age_seconds); item.age_seconds <= limit * 86400]) == 0
	message := sprintf("The evaluation of the model %s is older than %v days.", [model.reference, limit])
	fix := "Evaluate it again, on data of today, and commit the evidence."
	pointer := model.pointer
}

# METADATA
# title: A model is evaluated on data that it was not trained on
# description: >-
#   A verified evaluation that counts is of the file or dataset that its training used, by digest (of --train, or a
#   material of the model's provenance), or found the evaluated rows among those of training.
# custom:
#   id: evaluation-on-training-data
#   category: compliance
#   severity: error
#   fix: Hold rows out of training, and evaluate on those.
findings contains lib.error("compliance", "evaluation-on-training-data", pointer, message, fix) if {
	some model in models
	some item in counted(model)
	trained(model, item)
	message := sprintf("The model %s was evaluated on data that it was trained on (%s).", [model.reference, item.summary.dataset])
	fix := "Hold rows out of training, and evaluate on those."
	pointer := model.pointer
}

trained(_, item) if item.summary.leak

trained(_, item) if {
	item.summary.dataset == item.summary.trained_on
	item.summary.dataset != null
}

trained(model, item) if {
	some statement in model.evidence
	statement.kind == "provenance"
	statement.verified
	some material in statement.summary.materials
	material.digest == item.summary.dataset
	item.summary.dataset != null
}

# METADATA
# title: The data of an evaluation are registered
# description: >-
#   The tier asks for evaluationDataRegistered: the evaluated file, or the dataset that it is a file of (--dataset), is
#   one that provenance.datasets of the base revision names.
# custom:
#   id: evaluation-data-unregistered
#   category: compliance
#   severity: error
#   fix: Register the dataset, name its digest under provenance.datasets, and evaluate with --dataset FOLDER.
findings contains lib.error("compliance", "evaluation-data-unregistered", pointer, message, fix) if {
	some model in models
	object.get(input.tier.spec, "evaluation_data_registered", false) == true
	found := counted(model)
	count(found) > 0
	count([item | some item in found; item.summary.registered == true]) == 0
	message := sprintf("The model %s was evaluated on data that no dataset of this repository is (%s).", [
		model.reference,
		dataset(found[0]),
	])
	fix := "Name the dataset's digest under provenance.datasets by review, and evaluate with --dataset FOLDER."
	pointer := model.pointer
}

dataset(item) := item.summary.dataset if item.summary.dataset != null

dataset(item) := "it names none" if item.summary.dataset == null

# METADATA
# title: An evaluation without bounds says nothing of good enough
# description: >-
#   The tier requires an evaluation, and those that verify name no bound that was held against the figures.
# custom:
#   id: evaluation-unjudged
#   category: compliance
#   severity: warning
#   fix: Declare bounds in a plan, and evaluate by it.
findings contains lib.warning("compliance", "evaluation-unjudged", pointer, message, fix) if {
	"evaluation" in input.tier.spec.required_evidence
	count(asked) == 0
	some model in models
	found := counted(model)
	count(found) > 0
	count([item | some item in found; item.summary.passed != null]) == 0
	message := sprintf("The evaluation of the model %s names no bounds: nothing says whether it is good enough.", [model.reference])
	fix := "Declare bounds in a plan (docs/evaluation.md), and evaluate by it."
	pointer := model.pointer
}

# Where a plan is declared, what was measured by another one does not count.
counted(model) := [item | some item in statements(model); by_plan(model, item)]

by_plan(model, _) if not model.evaluation

by_plan(model, item) if model.evaluation.digest == item.summary.plan

# Facts of an earlier version tell no plan and no kinds: they meet nothing.
statements(model) := [item |
	some item in model.evidence
	item.kind == "evaluation"
	item.verified
	is_array(item.summary.measured)
]
