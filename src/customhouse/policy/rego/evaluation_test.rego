package customhouse.tests.evaluation

import data.customhouse.fixtures
import data.customhouse.rules.evaluation

plan := {"plan": "fraud", "file": "evaluation/fraud.yaml", "digest": fixtures.digest}

good := {
	"passed": true,
	"dataset": fixtures.other_digest,
	"within": null,
	"trained_on": null,
	"leak": false,
	"plan": fixtures.digest,
	"measured": ["fairness", "performance"],
	"failed": [],
	"bounds": 2,
	"registered": true,
}

said(change) := fixtures.evidence("evaluation", object.union(good, change))

with_evaluations(items) := fixtures.with_evidence(array.concat(fixtures.model.evidence, items))

with_plan(items) := object.union(
	fixtures.service,
	{"artifacts": [object.union(fixtures.model, {"evaluation": plan, "evidence": items})]},
)

asks(spec) := {"tier": {"spec": spec}}

test_nothing_is_asked_where_nothing_is_declared if {
	count(evaluation.findings) == 0 with input as fixtures.service
	count(evaluation.findings) == 0 with input as with_evaluations([said({"passed": null})])
}

test_evaluation_plan_is_silent_for_its_own_digest if {
	count(evaluation.findings) == 0 with input as with_plan([said({})])
}

test_evaluation_plan_fires_without_an_evaluation if {
	found := evaluation.findings with input as with_plan([])
	fixtures.rules(found) == {"evaluation-plan"}
	some finding in found
	contains(finding.message, "by the plan fraud (evaluation/fraud.yaml) as the base revision has it.")
	contains(finding.fix, "--plan fraud")
}

test_evaluation_plan_fires_for_another_version_of_the_plan if {
	found := evaluation.findings with input as with_plan([said({"plan": fixtures.other_digest})])
	fixtures.rules(found) == {"evaluation-plan"}
	some finding in found
	contains(finding.message, "it changed, or another one was used")
}

test_evaluation_plan_fires_for_one_that_does_not_verify if {
	found := evaluation.findings with input as with_plan([object.union(said({}), {"verified": false})])
	fixtures.rules(found) == {"evaluation-plan"}
}

test_evaluation_plan_fires_for_facts_that_tell_no_kinds if {
	found := evaluation.findings with input as with_plan([fixtures.evidence("evaluation", {"passed": true})])
	fixtures.rules(found) == {"evaluation-plan"}
}

test_evaluation_incomplete_names_what_is_missing if {
	asked := asks({"required_evaluation": ["fairness", "performance", "privacy"]})
	found := evaluation.findings with input as object.union(with_evaluations([said({})]), asked)
	fixtures.rules(found) == {"evaluation-incomplete"}
	some finding in found
	contains(finding.message, "no privacy")
}

test_evaluation_incomplete_fires_without_any if {
	found := evaluation.findings with input as object.union(fixtures.service, asks({"required_evaluation": ["performance"]}))
	fixtures.rules(found) == {"evaluation-incomplete"}
	some finding in found
	contains(finding.message, "there is none that counts")
}

test_evaluation_incomplete_fires_without_bounds_and_for_those_that_do_not_hold if {
	every text, passed in {"no bounds were declared": null, "it did not pass": false} {
		asked := asks({"required_evaluation": ["performance"]})
		items := [said({"passed": passed})]
		found := evaluation.findings with input as object.union(with_evaluations(items), asked)
		fixtures.rules(found) == {"evaluation-incomplete"}
		some finding in found
		contains(finding.message, text)
	}
}

test_evaluation_incomplete_is_silent_when_all_is_there if {
	asked := asks({"required_evaluation": ["performance", "fairness"]})
	count(evaluation.findings) == 0 with input as object.union(with_evaluations([said({})]), asked)
}

test_evaluation_incomplete_does_not_count_another_plan if {
	asked := asks({"required_evaluation": ["performance"]})
	found := evaluation.findings with input as object.union(with_plan([said({"plan": null})]), asked)
	fixtures.rules(found) == {"evaluation-incomplete", "evaluation-plan"}
}

test_evaluation_stale_fires_when_it_is_old_or_does_not_say if {
	every age in [86401, null] {
		items := [object.union(said({}), {"age_seconds": age})]
		found := evaluation.findings with input as object.union(with_evaluations(items), asks({"evaluation_max_age_days": 1}))
		fixtures.rules(found) == {"evaluation-stale"}
	}
}

test_evaluation_stale_is_silent_for_a_recent_one if {
	facts := object.union(with_evaluations([said({})]), asks({"evaluation_max_age_days": 1}))
	count(evaluation.findings) == 0 with input as facts
}

test_evaluation_on_training_data_fires_for_rows_that_leaked if {
	found := evaluation.findings with input as with_evaluations([said({"leak": true})])
	fixtures.rules(found) == {"evaluation-on-training-data"}
}

test_evaluation_on_training_data_fires_for_the_file_of_training if {
	found := evaluation.findings with input as with_evaluations([said({"trained_on": fixtures.other_digest})])
	fixtures.rules(found) == {"evaluation-on-training-data"}
}

test_evaluation_on_training_data_fires_for_a_material_of_the_provenance if {
	materials := {"materials": [{"name": "dataset", "digest": fixtures.other_digest}]}
	found := evaluation.findings with input as with_evaluations([said({}), fixtures.evidence("provenance", materials)])
	fixtures.rules(found) == {"evaluation-on-training-data"}
}

test_evaluation_on_training_data_is_silent_without_digests if {
	items := [said({"dataset": null, "trained_on": null})]
	count(evaluation.findings) == 0 with input as with_evaluations(items)
	material := fixtures.evidence("provenance", {"materials": [{"name": "code", "digest": null}]})
	count(evaluation.findings) == 0 with input as with_evaluations(array.concat(items, [material]))
}

test_evaluation_data_unregistered_fires if {
	every dataset, text in {fixtures.digest: fixtures.digest, "": "it names none"} {
		named := {"": null}
		items := [said({"registered": false, "dataset": object.get(named, dataset, dataset)})]
		asked := asks({"evaluation_data_registered": true})
		found := evaluation.findings with input as object.union(with_evaluations(items), asked)
		fixtures.rules(found) == {"evaluation-data-unregistered"}
		some finding in found
		contains(finding.message, text)
	}
}

test_evaluation_data_unregistered_is_silent_for_a_declared_dataset if {
	facts := object.union(with_evaluations([said({})]), asks({"evaluation_data_registered": true}))
	count(evaluation.findings) == 0 with input as facts
}

test_evaluation_unjudged_fires_where_the_tier_requires_an_evaluation if {
	asked := asks({"required_evidence": ["evaluation"]})
	found := evaluation.findings with input as object.union(with_evaluations([said({"passed": null})]), asked)
	fixtures.rules(found) == {"evaluation-unjudged"}
	some finding in found
	finding.severity == "warning"
}

test_evaluation_unjudged_is_silent_when_bounds_were_held_against_it if {
	asked := asks({"required_evidence": ["evaluation"]})
	count(evaluation.findings) == 0 with input as object.union(with_evaluations([said({})]), asked)
}
