"""The embedded engine against Open Policy Agent itself: the same bundle, the same Facts, the same findings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customhouse._kit.canonical import canonical_json
from customhouse._kit.money import Money
from customhouse.core.change import SignatureState
from customhouse.core.cost import BudgetState, WorkloadCost
from customhouse.core.decision import Point
from customhouse.core.evidence import EvidenceKind
from customhouse.core.resource import ResourceRef
from customhouse.policy.adapters.opa import OpaEngine
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import QUERY, builtin_bundle
from customhouse.policy.facts import (
    Alternative,
    BudgetImpact,
    PolicySettings,
    build_facts,
)
from customhouse.policy.gate import Gate
from customhouse.policy.testrun import run_tests
from customhouse.policy.tiers import TierJudgement, TierSpec
from policy_cases import NOW, context, created, deleted, deployment, evidence, manifests, revision, service

pytestmark = pytest.mark.part("opa")
BUNDLE = builtin_bundle()

_AMOUNTS = st.integers(-(10**15), 9 * 10**15).map(lambda micro: Money(micro * 10**6))
_PRICES = st.integers(0, 9 * 10**12).map(lambda micro: Money(micro * 10**6 + 1))
_EVIDENCE = st.lists(
    st.builds(
        evidence,
        st.sampled_from(list(EvidenceKind)),
        st.sampled_from(
            [
                {"verdict": "clean"},
                {
                    "verdict": "malicious",
                    "files": [{"path": "a.pkl", "verdict": "malicious", "findings": [{"rule": "x"}]}],
                },
                {"verdict": "unscannable"},
                {"passed": False},
                {},
            ]
        ),
        verified=st.booleans(),
        problem=st.sampled_from(["", "the key is not trusted"]),
        issued_at=st.sampled_from([None, NOW, NOW.replace(year=2024)]),
    ),
    max_size=5,
)
_TIERS = st.builds(
    TierJudgement,
    name=st.sampled_from(["standard", "critical"]),
    requested=st.sampled_from([None, "critical"]),
    granted=st.booleans(),
    spec=st.builds(
        TierSpec,
        gpu_classes=st.sampled_from([None, (), ("L4", "H100")]),
        spot=st.sampled_from(["required", "allowed", "forbidden"]),
        max_replicas=st.sampled_from([None, 1, 5]),
        max_accelerators=st.sampled_from([None, 0, 2]),
        replica_ceiling=st.none() | _PRICES,
        required_evidence=st.sampled_from(
            [(), ("scan",), ("signature", "scan", "bom", "provenance", "evaluation", "forecast")]
        ),
        evidence_max_age_days=st.sampled_from([None, 30]),
    ),
)
_SETTINGS = st.builds(
    PolicySettings,
    trusted_registries=st.sampled_from([(), ("apexlogic.com/",), ("", "docker.io/library/nginx")]),
    required_labels=st.sampled_from([(), ("owner", "example.com/unit")]),
    require_signed_commits=st.booleans(),
    require_revision=st.booleans(),
)


@st.composite
def facts(draw):
    manifest = draw(manifests() | st.just(service()) | st.just(deployment()))
    state = draw(st.sampled_from(list(SignatureState)))
    make = draw(st.sampled_from([created, created, created, deleted]))
    change = make(manifest, revision(state, descends=draw(st.booleans())))
    if draw(st.booleans()):
        change = replace(change, revision=None)
    ref = ResourceRef.of(manifest)
    low, high = sorted(draw(st.tuples(_PRICES, _PRICES)), key=lambda money: money.pico)
    unpriced = draw(st.sampled_from([(), ("accelerator GB300", "region mars-1")]))
    values = {
        "tier": draw(_TIERS),
        "settings": draw(_SETTINGS),
        "cost_before": draw(st.none() | st.just(WorkloadCost(ref, low, low, low))),
        "cost_after": WorkloadCost(ref, draw(st.sampled_from([low, high])), low, high, unpriced=unpriced),
        "alternatives": tuple(Alternative(f"choice {n}", draw(_PRICES)) for n in range(draw(st.integers(0, 2)))),
        "budgets": tuple(
            BudgetImpact(BudgetState(f"b{n}", *draw(st.tuples(_AMOUNTS, _AMOUNTS, _AMOUNTS, _AMOUNTS))), draw(_AMOUNTS))
            for n in range(draw(st.integers(0, 2)))
        ),
    }
    return build_facts(change, context(manifest, draw(_EVIDENCE), **values)).document


@pytest.fixture(scope="module")
def opa(find_part):
    return OpaEngine(str(find_part("opa")))


def test_every_test_of_the_bundle_passes_on_opa(opa):
    assert [item.name for item in run_tests(BUNDLE, opa) if not item.passed] == []


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents=st.lists(facts(), min_size=15, max_size=30))
def test_both_engines_find_the_same_on_generated_facts(opa, documents):
    exact = opa.evaluate_all(BUNDLE.modules, BUNDLE.data, documents, QUERY)
    embedded = RegorusEngine()
    for document, expected in zip(documents, exact, strict=True):
        found = embedded.evaluate(BUNDLE.modules, BUNDLE.data, document, QUERY)
        assert sorted(map(canonical_json, found)) == sorted(map(canonical_json, expected))


def test_a_decision_is_byte_identical_whichever_engine_makes_it(opa):
    for manifest in (service(), service(resources={}), deployment(image="evil.io/x:latest")):
        change = created(manifest)
        known = build_facts(change, context(manifest))
        bodies = {
            canonical_json(Gate(engine, BUNDLE).judge(change, known, point=Point.GATE, decided_at=NOW).body())
            for engine in (opa, RegorusEngine())
        }
        assert len(bodies) == 1
