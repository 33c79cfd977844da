"""Plans of evaluations in Git: read, governed, and asked for by the rules at the gate."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import policy_cases as cases
from customhouse._kit.digest import bytes_digest
from customhouse.app.evaluation_document import SCHEMA, bill_metrics, predicate_of, require_model, weighed
from customhouse.app.evaluation_plans import EvaluationJudge, PlanEntry
from customhouse.app.governance import declared_governance, governance, set_aside
from customhouse.core.decision import Point, Verdict
from customhouse.core.errors import ArtifactError, ConfigError
from customhouse.core.evidence import ArtifactRef, EvidenceKind
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.facts import PolicySettings, build_facts
from customhouse.policy.gate import Gate
from customhouse.policy.tiers import TierJudgement, TierSpec
from customhouse.trust.bom_given import Given

PLAN = b"apiVersion: customhouse.dev/evaluation/v1\nlabel: fraud\n"
SERVICE = cases.service()
DATASET = "sha256:" + "d" * 64
YAML = """\
apiVersion: customhouse.dev/v1
policy: {requireSignedCommits: false}
provenance: {datasets: {cards: ["%s"]}}
evaluation: {plans: [{name: fraud, file: evaluation/fraud.yaml, models: ["pvc://models/*"]}]}
"""


class Tree:
    def __init__(self, **files):
        self._files = {name.replace("__", "/").replace("_yaml", ".yaml"): data for name, data in files.items()}

    def read(self, rev, path):
        return self._files.get(path)

    def files(self, rev, prefix=""):
        return {name: data for name, data in self._files.items() if name.startswith(prefix)}


def tree(yaml=YAML % DATASET, plan=PLAN):
    return Tree(customhouse_yaml=yaml.encode(), evaluation__fraud_yaml=plan)


def model(reference="pvc://models/fraud", role="model"):
    return ArtifactRef(role, reference, cases.DIGEST, True, "/spec")


def test_a_plan_is_governed_set_aside_and_known_by_its_digest():
    found = governance(tree(), "r")
    assert declared_governance(tree(), "r")["evaluation/fraud.yaml"] == bytes_digest(PLAN)
    assert "evaluation/fraud.yaml" in set_aside(tree(), "r")
    wanted = found.policy.evaluation.wanted(model())
    assert wanted == {"plan": "fraud", "file": "evaluation/fraud.yaml", "digest": bytes_digest(PLAN)}
    assert found.policy.evaluation.wanted(model("pvc://others/fraud")) is None
    assert found.policy.evaluation.wanted(model(role="image")) is None
    assert found.policy.evaluation.is_registered([cases.DIGEST, DATASET])
    assert not found.policy.evaluation.is_registered([cases.DIGEST])


@pytest.mark.parametrize(
    ("yaml", "plan", "told"),
    [
        (YAML.replace("fraud.yaml", "none.yaml"), PLAN, "it names evaluation/none.yaml, which does not exist"),
        (YAML.replace("models/*", "models/***"), PLAN, "write \\* or \\*\\*"),
        (YAML.replace("file:", "fiel:"), PLAN, "file is missing|unknown key"),  # typos: ignore
        (YAML, b"- a list", "it is no mapping"),
        (YAML, b"a: 1\na: 2\n", "fraud.yaml:2:1"),
    ],
)
def test_a_plan_that_nobody_can_read_is_not_merged(yaml, plan, told):
    with pytest.raises(ConfigError) as caught:
        governance(tree(yaml % DATASET, plan), "r")
    assert re.search(told, str(caught.value)), str(caught.value)


def judged(predicate, spec):
    judge = EvaluationJudge(((PlanEntry("fraud", "fraud.yaml", ("pvc://models/*",)), bytes_digest(PLAN)),), (DATASET,))
    items = [cases.evidence(kind) for kind in (EvidenceKind.SIGNATURE, EvidenceKind.SCAN, EvidenceKind.BOM)]
    items += [] if predicate is None else [cases.evidence(EvidenceKind.EVALUATION, predicate)]
    given = cases.context(SERVICE, items)
    settings = replace(given.settings, evaluation=judge)
    tier = TierJudgement(spec=replace(given.tier.spec, **spec))
    change = cases.created(SERVICE)
    facts = build_facts(change, replace(given, settings=settings, tier=tier))
    decision = Gate(RegorusEngine(), builtin_bundle()).judge(change, facts, point=Point.GATE, decided_at=cases.NOW)
    return decision.verdict, {item.rule for item in decision.findings}


GOOD = {
    "schema": SCHEMA,
    "passed": True,
    "dataset": "sha256:" + "e" * 64,
    "data": {"within": DATASET},
    "train": {"digest": "sha256:" + "f" * 64},
    "leakage": {"leak": False},
    "plan": {"digest": bytes_digest(PLAN)},
    "measured": ["performance", "fairness"],
    "metrics": {"roc_auc": "0.9"},
    "bounds": [{"metric": "roc_auc", "must": "at least 0.8", "met": True, "problem": ""}],
}
ASKED = {"required_evaluation": ("performance",), "evaluation_max_age_days": 30, "evaluation_data_registered": True}


def test_what_the_tier_asks_for_is_allowed_when_it_is_there():
    assert judged(GOOD, ASKED) == (Verdict.ALLOW, set())


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"plan": {"digest": cases.DIGEST}}, "evaluation-plan"),
        ({"plan": None}, "evaluation-plan"),
        ({"measured": ["fairness"]}, "evaluation-incomplete"),
        ({"measured": "performance"}, "evaluation-incomplete"),
        ({"passed": None, "bounds": []}, "evaluation-incomplete"),
        ({"passed": "true"}, "evaluation-incomplete"),
        ({"leakage": {"leak": True}}, "evaluation-on-training-data"),
        ({"train": {"digest": "sha256:" + "e" * 64}}, "evaluation-on-training-data"),
        ({"data": {"within": None}}, "evaluation-data-unregistered"),
        ({"data": []}, "evaluation-data-unregistered"),
    ],
)
def test_what_is_missing_is_denied_by_its_rule(change, rule):
    verdict, rules = judged({**GOOD, **change}, ASKED)
    assert verdict is Verdict.DENY
    assert rule in rules
    assert judged(None, ASKED)[0] is Verdict.DENY


def test_without_plans_and_demands_facts_are_what_they_were():
    facts = build_facts(cases.created(SERVICE), cases.context(SERVICE)).document
    assert "evaluation" not in facts["artifacts"][0]
    assert not [key for key in facts["tier"]["spec"] if "evaluation" in key]
    assert PolicySettings().evaluation is None
    assert TierSpec().required_evaluation == ()


def document():
    item = {"value": 0.5, "low": 0.4, "high": None, "count": 10}
    names = ("roc_auc", "slice.team=a.f1", "fairness.team.accuracy_difference", "privacy.membership_auc")
    return {
        "schema": SCHEMA,
        "model_digest": cases.DIGEST,
        "metrics": dict.fromkeys(names, item),
        "limitations": ["few rows"],
    }


def test_the_bill_says_what_each_figure_is_of_and_floats_become_text():
    found = {(item.type, item.slice): item for item in bill_metrics(document())}
    assert set(found) == {
        ("roc_auc", ""),
        ("f1", "team=a"),
        ("accuracy_difference", "between groups of team"),
        ("membership_auc", "privacy"),
    }
    assert (found["roc_auc", ""].value, found["roc_auc", ""].low, found["roc_auc", ""].high) == ("0.5", "0.4", None)
    said = predicate_of(document())
    assert said["metrics"]["roc_auc"] == "0.5"
    assert said["intervals"]["roc_auc"] == ["0.4", None]
    assert weighed(Given(), document()).considerations.limitations == ("few rows",)


def test_an_evaluation_of_another_model_or_one_that_was_cut_up_is_refused():
    require_model(document(), cases.DIGEST)
    require_model({"metrics": {"auc": 1}, "model_digest": DATASET}, cases.DIGEST)  # another program's
    with pytest.raises(ArtifactError, match="the evaluation is of the model"):
        require_model(document(), DATASET)
    with pytest.raises(ArtifactError, match="not as they were written"):
        require_model({**document(), "metrics": {"roc_auc": 0.9}}, cases.DIGEST)
