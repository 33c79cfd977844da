"""What the webhook puts on pods of a tier keeps them from every node that the tier forbids, and from no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse.app.admission_mutation import apply, mutation
from customhouse.app.admission_rules import Scheduling
from customhouse.app.governance import Governance, governance
from customhouse.app.schedule_spec import ScheduleSpec
from customhouse.core.devices import SPOT_LABELS, is_spot
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.execution.extender import TierPlacing, forbidden
from customhouse.execution.extender_nodes import facts_of
from customhouse.policy.tiers import BUILTIN_TIERS, TierSpec

TIERS: Mapping[str, TierSpec] = {
    **BUILTIN_TIERS,
    "gold": replace(BUILTIN_TIERS["standard"], gpu_classes=("H100",), dedicated_nodes=("pool", "gold")),
    "none": replace(BUILTIN_TIERS["standard"], gpu_classes=()),
}
RESERVED = (("pool", "gold"),)


def _governing(tier: str) -> Governance:
    found = governance(None, None)
    configuration = replace(
        found.configuration,
        tiers=TIERS,
        tier_namespaces={"*": (tier,)},
        default_tier=tier,
        schedule=ScheduleSpec(node_affinity=True),
    )
    return replace(found, configuration=configuration)


GOVERNING = {name: _governing(name) for name in TIERS}
PRODUCTS = ("Tesla-T4", "NVIDIA-H100-80GB-HBM3", "NVIDIA-L4", "NVIDIA-L4-SHARED", "nobody-knows", "h100", "nvidia-l4")
SPOT = st.sampled_from([*((key, value) for key, value in SPOT_LABELS.items()), ("karpenter.sh/capacity-type", "Spot")])
NODE = st.builds(
    lambda spot, products, own: {**dict(spot), **products, **own},
    st.lists(st.one_of(SPOT, st.just(("karpenter.sh/capacity-type", "on-demand"))), max_size=2),
    st.dictionaries(
        st.sampled_from(
            ["nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "karpenter.k8s.aws/instance-gpu-name"]
        ),
        st.sampled_from(PRODUCTS),
        max_size=2,
    ),
    st.sampled_from([{}, {"pool": "gold"}, {"pool": "own"}, {"customhouse.dev/accelerator": "T4"}]),
)
EXPRESSION = st.sampled_from(
    [
        {"key": "zone", "operator": "Exists"},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot", "on-demand"]},
    ]
)
TERMS = st.lists(st.fixed_dictionaries({"matchExpressions": st.lists(EXPRESSION, max_size=2)}), min_size=1, max_size=3)


def fits(spec: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Node selection as the scheduler does it (pkg/scheduler/framework/plugins/nodeaffinity), for labels alone."""
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    node = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(
        bool(term.get("matchExpressions")) and all(_holds(item, labels) for item in term["matchExpressions"])
        for term in required["nodeSelectorTerms"]
    )


def _holds(item: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    has = item["key"] in labels
    match item["operator"]:
        case "Exists":
            return has
        case "DoesNotExist":
            return not has
        case "In":
            return has and labels[item["key"]] in item["values"]
        case "NotIn":
            return not has or labels[item["key"]] not in item["values"]
    raise AssertionError(item)


@given(tier=st.sampled_from(sorted(TIERS)), labels=NODE, gpus=st.booleans(), terms=st.one_of(st.none(), TERMS))
def test_no_pod_fits_a_node_that_its_tier_forbids(
    tier: str, labels: dict[str, str], gpus: bool, terms: list[Any] | None
) -> None:
    limits = {"cpu": "1", **({"nvidia.com/gpu": "1"} if gpus else {})}
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "x", "resources": {"limits": limits}}]}
    if terms is not None:
        spec["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        }
    ref = ResourceRef("v1", "Pod", "n", "p")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}
    after = apply(pod, mutation(Declaration(ref, pod, Location("x")), GOVERNING[tier]))
    assert mutation(Declaration(ref, after, Location("x")), GOVERNING[tier]) == (), "twice is as once"
    made = after["spec"]
    node = {"metadata": {"name": "n", "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}}
    rules = TIERS[tier]
    placing = TierPlacing(
        tier, rules.gpu_classes, rules.spot, rules.dedicated_nodes, () if rules.dedicated_nodes else RESERVED
    )
    if fits(made, labels):
        assert forbidden(facts_of(node), ("nvidia.com/gpu",) if gpus else (), placing) == ""
        assert fits(spec, labels), "what the pod says itself stays"
    if rules.spot == "required" and (terms is None or any(term["matchExpressions"] for term in terms)):
        assert is_spot(made), "every alternative is spot, and so the rules see it"


def test_a_node_of_the_tier_s_own_is_not_lost_by_it() -> None:
    """What the law above would also hold for if no node fitted at all."""
    ref = ResourceRef("v1", "Pod", "n", "p")
    for tier, labels in (
        ("batch", {"eks.amazonaws.com/capacityType": "SPOT", "nvidia.com/gpu.product": "Tesla-T4"}),
        ("batch", {"cloud.google.com/gke-spot": "true", "cloud.google.com/gke-accelerator": "nvidia-l4"}),
        ("standard", {"nvidia.com/gpu.product": "NVIDIA-L4-SHARED"}),
        ("critical-inference", {"karpenter.sh/capacity-type": "on-demand", "nvidia.com/gpu.product": "NVIDIA-L4"}),
        ("gold", {"pool": "gold", "karpenter.k8s.aws/instance-gpu-name": "h100"}),
        ("standard", {"customhouse.dev/accelerator": "T4"}),
    ):
        limits = {"nvidia.com/gpu": "1"}
        spec = {"containers": [{"name": "c", "image": "x", "resources": {"limits": limits}}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}
        after = apply(pod, mutation(Declaration(ref, pod, Location("x")), GOVERNING[tier]))
        assert fits(after["spec"], labels), (tier, labels)


def test_alternatives_that_would_grow_without_end_are_refused() -> None:
    terms = [{"matchExpressions": [{"key": f"k{number}", "operator": "Exists"}]} for number in range(200)]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    spec = {"containers": [{"name": "c", "image": "x"}], "affinity": {"nodeAffinity": required}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}
    with pytest.raises(DeclarationError, match="more than 500 alternatives"):
        mutation(Declaration(ResourceRef("v1", "Pod", "n", "p"), pod, Location("x")), GOVERNING["batch"])


def test_a_tier_s_scheduler_is_put_where_none_is_named() -> None:
    found = _governing("standard")
    scheduling = {"standard": Scheduling.parse({"schedulerName": "customhouse"})}
    governing = replace(
        found, configuration=replace(found.configuration, scheduling=scheduling, schedule=ScheduleSpec())
    )
    ref = ResourceRef("v1", "Pod", "n", "p")
    for named, made in ((None, "customhouse"), ("default-scheduler", "customhouse"), ("own", "own")):
        spec = {"containers": [{"name": "c", "image": "x"}], **({"schedulerName": named} if named else {})}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}
        after = apply(pod, mutation(Declaration(ref, pod, Location("x")), governing))
        assert after["spec"].get("schedulerName") == made
        assert mutation(Declaration(ref, after, Location("x")), governing) == ()
