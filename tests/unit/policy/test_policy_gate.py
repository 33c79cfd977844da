"""The gate: Decisions, their identity over points, and that it stays shut when anything is wrong."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from customhouse._kit.canonical import canonical_json
from customhouse._kit.money import Money
from customhouse.core.change import SignatureState
from customhouse.core.cost import BudgetState, WorkloadCost
from customhouse.core.decision import Point, Severity, Verdict
from customhouse.core.errors import CannotDecideError, PolicyError
from customhouse.core.evidence import EvidenceKind
from customhouse.core.facts import Facts
from customhouse.core.resource import Location
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import builtin_bundle, load_bundle
from customhouse.policy.facts import Alternative, BudgetImpact, PolicySettings, build_facts
from customhouse.policy.gate import Gate
from customhouse.policy.tiers import TierJudgement, TierSpec
from customhouse.policy.waiver import Scope, Waiver
from policy_cases import DIGEST, NOW, context, created, declared, deleted, deployment, evidence, revision, service

ENGINE = RegorusEngine()


def judge(change, facts=None, *, gate=None, point=Point.GATE, **changes):
    manifest = (change.after or change.before).manifest
    facts = facts or build_facts(change, context(manifest, **changes))
    return (gate or Gate(ENGINE, builtin_bundle())).judge(change, facts, point=point, decided_at=NOW)


def rules(decision):
    return {finding.rule for finding in decision.findings}


@pytest.mark.parametrize("manifest", [service(), deployment()], ids=["service", "deployment"])
def test_a_good_release_is_allowed_without_a_finding(manifest):
    decision = judge(created(manifest))
    assert decision.verdict is Verdict.ALLOW
    assert decision.findings == ()


def test_the_same_facts_give_the_same_body_at_every_point_and_in_every_thread():
    change = created(service(resources={}))
    bodies = [canonical_json(judge(change, point=point).body()) for point in Point for _ in range(3)]
    other = threading.Thread(target=lambda: bodies.append(canonical_json(judge(change).body())))
    other.start()
    other.join()
    assert len(bodies) == 10
    assert len(set(bodies)) == 1


def test_eight_h100_in_a_standard_tier_are_denied_for_cost_with_the_figures():
    manifest = service(resources={"limits": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": 8}})
    manifest["spec"]["predictor"]["nodeSelector"] = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    price = Money.parse("71393.12")
    budget = BudgetState("risk", Money.parse("5000"), Money.parse("1200"), Money.parse("800.5"), Money.parse("3800"))
    decision = judge(
        created(manifest),
        cost_after=WorkloadCost(declared(manifest).ref, price, price, price.scale(2)),
        budgets=(BudgetImpact(budget, price),),
        alternatives=(Alternative("1 × L4 (g2-standard-8)", Money.parse("512.4")),),
    )
    assert decision.verdict is Verdict.DENY
    assert rules(decision) == {"gpu-class", "replica-price-ceiling", "budget-exceeded"}
    said = {finding.rule: finding for finding in decision.findings}
    assert said["budget-exceeded"].message == (
        "Budget risk is exceeded by 68393.62 USD: limit 5000.00 USD, spent 1200.00 USD, forecast 800.50 USD, "
        "this change 71393.12 USD a month. Cheaper: 1 × L4 (g2-standard-8) for 512.40 USD a month."
    )
    assert said["budget-exceeded"].cost_delta == price
    assert "H100 (8 per replica); it may use: L4" in said["gpu-class"].message


def test_a_malicious_scan_is_denied_and_names_the_file():
    bad = {
        "verdict": "malicious",
        "files": [{"path": "model.pkl", "verdict": "malicious", "findings": [{"rule": "os"}]}],
    }
    items = [evidence(EvidenceKind.SIGNATURE), evidence(EvidenceKind.BOM), evidence(EvidenceKind.SCAN, bad)]
    change = created(service())
    decision = judge(change, build_facts(change, context(service(), items)))
    assert rules(decision) == {"model-scan"}
    assert "malicious (model.pkl), for os" in decision.findings[0].message


def test_an_unsigned_model_is_denied():
    change = created(service())
    items = [evidence(EvidenceKind.SCAN), evidence(EvidenceKind.BOM)]
    decision = judge(change, build_facts(change, context(service(), items)))
    assert rules(decision) == {"evidence-missing"}
    assert "has no signature; tier standard requires it" in decision.findings[0].message


def test_an_image_from_an_untrusted_registry_is_denied_at_its_line():
    manifest = deployment(image=f"evil.io/web:1@{DIGEST}")
    change = created(manifest)
    pointer = "/spec/template/spec/containers/0/image"
    marked = replace(change.after, marks={pointer: Location("release.yaml", 14, 18)})
    decision = judge(replace(change, after=marked))
    assert rules(decision) == {"image-untrusted-registry"}
    assert [str(place) for place in decision.locations] == ["release.yaml:14:18"]


def test_a_deletion_is_judged_for_its_commit_alone():
    assert judge(deleted(deployment(image="evil.io/x"))).verdict is Verdict.ALLOW
    unsigned = judge(deleted(deployment(), revision(SignatureState.UNSIGNED)))
    assert rules(unsigned) == {"commit-signature"}
    assert [str(place) for place in unsigned.locations] == ["release.yaml:1:1"]


@pytest.mark.parametrize("state", [SignatureState.UNSIGNED, SignatureState.UNTRUSTED, SignatureState.INVALID])
def test_a_commit_that_is_not_well_signed_is_denied(state):
    assert rules(judge(created(deployment(), revision(state)))) == {"commit-signature"}


def test_a_signature_that_could_not_be_checked_keeps_the_gate_shut():
    with pytest.raises(CannotDecideError, match="could not be checked"):
        judge(created(deployment(), revision(SignatureState.UNKNOWN)))


def test_a_signature_that_could_not_be_checked_does_not_matter_where_none_is_required():
    loose = PolicySettings(trusted_registries=("apexlogic.com",), require_signed_commits=False)
    assert judge(created(deployment(), revision(SignatureState.UNKNOWN)), settings=loose).verdict is Verdict.ALLOW


def test_rewritten_history_is_denied():
    assert rules(judge(created(deployment(), revision(descends=False)))) == {"history-rewritten"}


def test_a_work_tree_is_judged_with_a_note_that_it_was_not_signed():
    change = replace(created(deployment()), revision=None)
    decision = judge(change)
    assert decision.verdict is Verdict.ALLOW
    assert [(f.rule, f.severity) for f in decision.findings] == [("revision-absent", Severity.NOTE)]
    assert decision.revision is None


def test_a_tier_that_was_not_granted_is_denied():
    tier = TierJudgement("standard", "critical", granted=False, spec=TierSpec())
    assert rules(judge(created(deployment()), tier=tier)) == {"tier-not-granted"}


def test_an_unpriced_accelerator_is_denied_and_never_free():
    free = WorkloadCost(declared(deployment()).ref, Money(0), Money(0), Money(0), unpriced=("accelerator GB300",))
    assert rules(judge(created(deployment()), cost_after=free)) == {"cost-unpriced"}


def test_facts_of_another_change_are_refused():
    facts = build_facts(created(service()), context(service()))
    with pytest.raises(CannotDecideError, match="not those of the change"):
        judge(created(deployment()), facts)
    with pytest.raises(CannotDecideError, match="not those of the change"):
        judge(deleted(service()), facts)
    with pytest.raises(CannotDecideError, match="not those of the change"):
        judge(created(service()), Facts({**facts.document, "schema": "other/v1"}))


class Answering:
    """An engine that answers what it is told."""

    name = "answering"

    def __init__(self, answer):
        self.answer = answer

    def evaluate(self, modules, data, document, query):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


GOOD = {"rule": "r", "category": "cost", "severity": "note", "message": "m", "fix": "f", "pointer": ""}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        "findings",
        [1],
        [{"rule": "r"}],
        [{**GOOD, "severity": "fatal"}],
        [{**GOOD, "category": "luck"}],
        [{**GOOD, "message": 3}],
        [{**GOOD, "message": "x" * 20_000}],
        [{**GOOD, "rule": ""}],
        [{**GOOD, "cost_delta_micro": 1.5}],
        [{**GOOD, "cost_delta_micro": True}],
        [{**GOOD, "surprise": 1}],
        [{**GOOD, "message": str(n)} for n in range(1001)],
        PolicyError("the engine died"),
    ],
)
def test_an_engine_that_answers_nonsense_keeps_the_gate_shut(answer):
    with pytest.raises(PolicyError):
        judge(created(deployment()), gate=Gate(Answering(answer), builtin_bundle()))


def test_findings_have_one_order_and_no_duplicates():
    low, high = {**GOOD, "rule": "b"}, {**GOOD, "rule": "z", "severity": "error", "cost_delta_micro": 5}
    decision = judge(created(deployment()), gate=Gate(Answering([low, high, low]), builtin_bundle()))
    assert [finding.rule for finding in decision.findings] == ["z", "b"]
    assert decision.findings[0].cost_delta == Money.parse("0.000005")


def waiver(**changes):
    values = {
        "id": "W-1",
        "rules": ("image-untrusted-registry",),
        "owner": "ada",
        "reason": "mirror is being moved",
        "ticket": "OPS-7",
        "expires": NOW + timedelta(days=1),
        "scope": Scope("Deployment", "models", "web"),
    }
    return Waiver(**{**values, **changes})


def test_a_waived_finding_is_shown_and_does_not_deny():
    gate = Gate(ENGINE, builtin_bundle(), [waiver()])
    decision = judge(created(deployment(image=f"evil.io/web@{DIGEST}")), gate=gate)
    assert decision.verdict is Verdict.ALLOW
    assert [(f.rule, f.waiver, f.severity) for f in decision.findings] == [
        ("image-untrusted-registry", "W-1", Severity.ERROR)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": NOW},
        {"rules": ("image-not-pinned",)},
        {"scope": Scope(name="other")},
        {"scope": Scope("Deployment", "Models", "web")},
    ],
    ids=["expired", "other rule", "other name", "other case"],
)
def test_a_waiver_that_does_not_cover_the_finding_does_nothing(changes):
    gate = Gate(ENGINE, builtin_bundle(), [waiver(**changes)])
    decision = judge(created(deployment(image=f"evil.io/web@{DIGEST}")), gate=gate)
    assert decision.verdict is Verdict.DENY
    assert decision.findings[0].waiver is None


def test_waivers_are_part_of_the_bundles_digest():
    plain, waived = Gate(ENGINE, builtin_bundle()), Gate(ENGINE, builtin_bundle(), [waiver()])
    assert plain.bundle_digest == builtin_bundle().digest
    assert (
        len(
            {
                plain.bundle_digest,
                waived.bundle_digest,
                Gate(ENGINE, builtin_bundle(), [waiver(owner="bob")]).bundle_digest,
            }
        )
        == 3
    )


def test_a_projects_own_rule_denies_beside_the_built_in_ones():
    source = b"""package customhouse.rules.freeze

import data.customhouse.lib
import data.freeze

findings contains lib.error("reliability", "freeze", "", message, "Wait.") if {
	input.change.after.namespace in freeze.namespaces
	message := "The namespace is frozen."
}
"""
    files = {"policy/freeze.rego": source, "policy/data.yaml": b"freeze:\n  namespaces: [models]\n"}
    bundle = load_bundle(files, base=builtin_bundle())
    decision = judge(created(deployment()), gate=Gate(ENGINE, bundle))
    assert rules(decision) == {"freeze"}
    assert decision.bundle_digest == bundle.digest != builtin_bundle().digest
