"""The embedded engine against Open Policy Agent itself: the same bundle, the same Facts, the same findings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

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
    UsageEvidence,
    build_facts,
)
from customhouse.policy.gate import Gate
from customhouse.policy.testrun import run_tests
from customhouse.policy.tiers import EnvironmentJudgement, Relaxation, TierJudgement, TierSpec
from policy_cases import DIGEST, NOW, context, created, deleted, deployment, evidence, manifests, revision, service

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
_RULES = st.sampled_from(
    ["container-root", "network-default-deny", "commit-signature", "image-latest-tag", "secret-in-git"]
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
        required_image_evidence=st.sampled_from([(), ("scan", "bom")]),
        prescanned_images=st.sampled_from([(), ("apexlogic.com",), (DIGEST,)]),
        per_thousand_predictions_ceiling=st.none() | _PRICES,
        dedicated_nodes=st.sampled_from([None, ("customhouse.dev/capacity", "spot")]),
        monitoring=st.sampled_from([(), ("readiness", "liveness", "metrics", "tracing")]),
        latency_target_ms=st.sampled_from([None, 100]),
        scale_to_zero=st.sampled_from(["allowed", "forbidden"]),
        ttl_required=st.booleans(),
        max_ttl_days=st.sampled_from([None, 5]),
        checks=st.dictionaries(_RULES, st.sampled_from(["error", "warning", "note"]), max_size=3),
        relaxations=st.lists(
            st.builds(
                Relaxation,
                _RULES,
                st.sampled_from(["warning", "note", "muted"]),
                st.just("ada"),
                st.just("why"),
                st.just("T-1"),
                st.sampled_from([NOW - timedelta(days=1), NOW + timedelta(days=9), NOW + timedelta(days=999)]),
            ),
            max_size=2,
        ).map(tuple),
    ),
    reserved_nodes=st.sampled_from([(), (("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),)]),
)
_AROUND = st.none() | st.fixed_dictionaries(
    {
        "default_deny": st.fixed_dictionaries({"ingress": st.booleans(), "egress": st.booleans()}),
        "workloads": st.integers(0, 2),
        "role": st.sampled_from([None, {"found": True, "writes": False}, {"found": False, "writes": None}]),
        "target_found": st.sampled_from([None, True, False]),
        "rivals": st.sampled_from([[], ["VerticalPodAutoscaler v"]]),
        "metrics": st.booleans(),
        "tracing": st.booleans(),
        "node_pools": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.just("p"),
                    "accelerators_per_node": st.sampled_from([None, 0, 8]),
                    "accelerators_total": st.sampled_from([None, 1]),
                    "accelerator_classes": st.sampled_from([None, ["L4"], ["H100"]]),
                }
            ),
            max_size=2,
        ),
    }
)
_USAGE = st.none() | st.builds(
    UsageEvidence,
    st.just(14),
    st.sampled_from([None, 1, 10**6]),
    st.sampled_from([None, 1]),
    st.sampled_from([None, 2, 80]),
    st.sampled_from([None, 0, 7]),
)


@st.composite
def others(draw):
    """Objects that run nothing, good and bad."""
    kind, version, body = draw(
        st.sampled_from(
            [
                ("Service", "v1", {"spec": {"type": "NodePort", "externalIPs": ["192.0.2.1"]}}),
                ("Service", "v1", {"spec": {"type": "LoadBalancer"}}),
                ("Ingress", "networking.k8s.io/v1", {"spec": {"rules": [{"host": "*.a.io"}, {"host": "b.io"}]}}),
                ("NetworkPolicy", "networking.k8s.io/v1", {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
                ("Role", "rbac.authorization.k8s.io/v1", {"rules": [{"verbs": ["*", "bind"], "resources": ["*/x"]}]}),
                ("ConfigMap", "v1", {"data": {"TOKEN": "hunter2!", "iban": "DE89370400440532013000"}}),
                ("Secret", "v1", {"data": {"a": "Yg=="}}),
                ("NodePool", "karpenter.sh/v1", {"spec": {"limits": draw(st.sampled_from([{}, {"cpu": "9"}]))}}),
                (
                    draw(st.sampled_from(["ScaledObject", "ScaledJob"])),
                    "keda.sh/v1alpha1",
                    {"spec": {"scaleTargetRef": {"name": "w"}, "minReplicaCount": 3, "maxReplicaCount": 2}},
                ),
                ("HorizontalPodAutoscaler", "autoscaling/v2", {"spec": {"scaleTargetRef": {"name": "w"}}}),
                (
                    "VerticalPodAutoscaler",
                    "autoscaling.k8s.io/v1",
                    {"spec": {"targetRef": {"name": "w"}, "updatePolicy": {"updateMode": "Off"}}},
                ),
                (
                    "RoleBinding",
                    "rbac.authorization.k8s.io/v1",
                    {
                        "roleRef": {
                            "kind": "ClusterRole",
                            "name": draw(st.sampled_from(["cluster-admin", "view", "x"])),
                        },
                        "subjects": [{"kind": "User", "name": "ada"}, {"kind": "Group", "name": "system:masters"}],
                    },
                ),
                (
                    "MutatingWebhookConfiguration",
                    "admissionregistration.k8s.io/v1",
                    {"webhooks": [{"name": "w", "failurePolicy": "Ignore"}]},
                ),
                (
                    "RepositoryFiles",
                    "customhouse.dev/v1",
                    {"spec": {"files": [{"path": "a", "problem": "data", "detail": "d", "digest": "x"}]}},
                ),
            ]
        )
    )
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, **body}


_SETTINGS = st.builds(
    PolicySettings,
    trusted_registries=st.sampled_from([(), ("apexlogic.com/",), ("", "docker.io/library/nginx")]),
    required_labels=st.sampled_from([(), ("owner", "example.com/unit")]),
    require_signed_commits=st.booleans(),
    require_revision=st.booleans(),
)


@st.composite
def facts(draw):
    manifest = draw(manifests() | st.just(service()) | st.just(deployment()) | others())
    said = {"customhouse.dev/ttl": "2026-02-03", "customhouse.dev/latency-target-ms": "120"}
    manifest["metadata"].setdefault("annotations", {}).update(draw(st.sampled_from([{}, said])))
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
        "surroundings": draw(_AROUND),
        "usage": draw(_USAGE),
        "environment": draw(st.sampled_from([None, EnvironmentJudgement(), EnvironmentJudgement("live", True)])),
        "settings": draw(_SETTINGS),
        "derived": draw(st.booleans()),
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
    engines = RegorusEngine(), RegorusEngine(compile_packaged=True)
    for document, expected in zip(documents, exact, strict=True):
        for embedded in engines:
            found = embedded.evaluate(BUNDLE.modules, BUNDLE.data, document, QUERY)
            assert sorted(map(canonical_json, found)) == sorted(map(canonical_json, expected))


@pytest.mark.parametrize("derived", [False, True])
def test_a_decision_is_byte_identical_whichever_engine_makes_it(opa, derived):
    for manifest in (service(), service(resources={}), deployment(image="evil.io/x:latest")):
        change = created(manifest)
        known = build_facts(change, context(manifest, derived=derived))
        bodies = {
            canonical_json(Gate(engine, BUNDLE).judge(change, known, point=Point.GATE, decided_at=NOW).body())
            for engine in (opa, RegorusEngine())
        }
        assert len(bodies) == 1
