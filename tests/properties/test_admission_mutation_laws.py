"""Mutating twice changes nothing, and what a pod says itself stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from customhouse._kit.canonical import canonical_json
from customhouse.app.admission_mutation import apply, mutation
from customhouse.app.admission_rules import Scheduling
from customhouse.app.governance import Governance, governance
from customhouse.core.resource import Declaration, Location, ResourceRef

SCHEDULING = Scheduling.parse(
    {
        "nodeSelector": {"pool": "batch"},
        "tolerations": [{"key": "pool", "value": "batch", "effect": "NoSchedule"}],
        "spot": {"nodeSelector": {"a/spot~": "true"}, "tolerations": [{"key": "spot", "operator": "Exists"}]},
        "gpu": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
        "priorityClassName": "low",
        "deviceClass": "gpu.example.com",
    }
)
KEYS = st.sampled_from(["pool", "a/spot~", "nvidia.com/gpu.product", "other"])
TOLERATION = st.fixed_dictionaries(
    {"key": st.sampled_from(["pool", "spot"])},
    optional={
        "operator": st.sampled_from(["Exists", "Equal"]),
        "value": st.just("batch"),
        "effect": st.just("NoSchedule"),
    },
)
TERM = st.fixed_dictionaries(
    {"matchExpressions": st.lists(st.fixed_dictionaries({"key": KEYS, "operator": st.just("Exists")}))}
)
AFFINITY = st.fixed_dictionaries(
    {},
    optional={
        "podAffinity": st.just({}),
        "nodeAffinity": st.fixed_dictionaries(
            {},
            optional={
                "requiredDuringSchedulingIgnoredDuringExecution": st.fixed_dictionaries(
                    {"nodeSelectorTerms": st.lists(TERM, max_size=2)}
                ),
                "preferredDuringSchedulingIgnoredDuringExecution": st.lists(
                    st.fixed_dictionaries({"weight": st.just(1), "preference": TERM}), max_size=2
                ),
            },
        ),
    },
)
POD = st.fixed_dictionaries(
    {"containers": st.just([{"name": "c", "image": "x"}])},
    optional={
        "nodeSelector": st.dictionaries(KEYS, st.sampled_from(["batch", "true", "own"])),
        "tolerations": st.lists(TOLERATION, max_size=3),
        "affinity": AFFINITY,
        "priorityClassName": st.sampled_from(["", "high"]),
        "priority": st.just(0),
        "preemptionPolicy": st.just("PreemptLowerPriority"),
        "resourceClaims": st.just([]),
    },
)


def _governing(tier: str) -> Governance:
    found = governance(None, None)
    configuration = replace(
        found.configuration, scheduling={tier: SCHEDULING}, tier_namespaces={"*": (tier,)}, default_tier=tier
    )
    return replace(found, configuration=configuration)


GOVERNING = {tier: _governing(tier) for tier in ("batch", "standard", "critical-inference")}


@given(spec=POD, tier=st.sampled_from(sorted(GOVERNING)), gpus=st.booleans())
def test_mutating_twice_changes_nothing_and_what_is_set_stays(spec: dict[str, Any], tier: str, gpus: bool) -> None:
    if gpus:
        spec = {**spec, "containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": 1}}}]}
    ref = ResourceRef("v1", "Pod", "n", "p")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}
    first = mutation(Declaration(ref, pod, Location("x")), GOVERNING[tier])
    after = apply(pod, first)
    assert mutation(Declaration(ref, after, Location("x")), GOVERNING[tier]) == ()
    changed = after["spec"]
    assert (spec.get("nodeSelector") or {}).items() <= (changed.get("nodeSelector") or {}).items()
    kept = [canonical_json(item) for item in spec.get("tolerations") or ()]
    assert kept == [canonical_json(item) for item in changed.get("tolerations") or ()][: len(kept)]
    if spec.get("priorityClassName"):
        assert (changed["priorityClassName"], changed.get("priority")) == ("high", spec.get("priority"))
    else:
        assert changed["priorityClassName"] == "low"
        assert "priority" not in changed
    assert changed["nodeSelector"]["pool"] in ("batch", (spec.get("nodeSelector") or {}).get("pool"))
    if tier == "critical-inference":  # forbids spot: nothing leads there
        assert "a/spot~" not in changed["nodeSelector"] or "a/spot~" in (spec.get("nodeSelector") or {})


@given(version=st.sampled_from(["v1", "v1beta1"]), named=st.booleans(), template=st.booleans())
def test_a_claim_gets_the_tiers_device_class_only_where_it_names_none(
    version: str, named: bool, template: bool
) -> None:
    kind = "ResourceClaimTemplate" if template else "ResourceClaim"
    ref = ResourceRef(f"resource.k8s.io/{version}", kind, "n", "c")
    inner: dict[str, Any] = {"deviceClassName": "own"} if named else {"count": 1}
    request = {"name": "r", **inner} if version == "v1beta1" else {"name": "r", "exactly": inner}
    spec: dict[str, Any] = {"devices": {"requests": [request, {"name": "f", "firstAvailable": [{"name": "x"}]}]}}
    claim = {
        "apiVersion": ref.api_version,
        "kind": kind,
        "metadata": {"name": "c"},
        "spec": {"spec": spec} if template else spec,
    }
    after = apply(claim, mutation(Declaration(ref, claim, Location("x")), GOVERNING["batch"]))
    found = (after["spec"]["spec"] if template else after["spec"])["devices"]["requests"][0]
    holder = found if version == "v1beta1" else found["exactly"]
    assert holder["deviceClassName"] == ("own" if named else "gpu.example.com")
    assert mutation(Declaration(ref, after, Location("x")), GOVERNING["batch"]) == ()
