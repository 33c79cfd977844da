"""Laws of ranges: whatever autoscalers say, low ≤ declared ≤ high, and a report is the exact sum of its workloads."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse._kit.money import total
from customhouse.core.beside import beside
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.observability.estimate import PriceSettings, report
from customhouse.observability.prices import PriceBook

BOOK = PriceBook.load()
PLACES = [PriceSettings("gcp", "us-central1"), PriceSettings("aws", "us-east-1"), PriceSettings("azure", "eastus")]
SELECTORS: list[dict[str, str]] = [
    {},
    {"nvidia.com/gpu.product": "NVIDIA-L4"},
    {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
    {"cloud.google.com/gke-spot": "true"},
    {"karpenter.sh/capacity-type": "spot", "nvidia.com/gpu.product": "Tesla-T4"},
    {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"},
]
cpu = st.integers(0, 512_000).map(lambda milli: f"{milli}m")
memory = st.integers(0, 2_000_000).map(lambda mib: f"{mib}Mi")
sizes = st.fixed_dictionaries({}, optional={"cpu": cpu, "memory": memory})


def thing(kind: str, api_version: str, name: str, spec: Any) -> Declaration:
    manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "ml"}, "spec": spec}
    return Declaration(ResourceRef.of(manifest), manifest, Location(f"{name}.yaml"))


@st.composite
def worlds(draw: st.DrawFn) -> list[Declaration]:
    found = []
    for number in range(draw(st.integers(1, 3))):
        devices = draw(st.sampled_from([{}, {"nvidia.com/gpu": "1"}, {"nvidia.com/gpu": "8"}]))
        resources = {"requests": draw(sizes), "limits": devices}
        name, kind = f"w{number}", draw(st.sampled_from(["Deployment", "StatefulSet"]))
        pod = {"containers": [{"name": "c", "resources": resources}], "nodeSelector": draw(st.sampled_from(SELECTORS))}
        replicas = draw(st.integers(0, 20))
        found.append(thing(kind, "apps/v1", name, {"replicas": replicas, "template": {"spec": pod}}))
        target = {"kind": kind, "name": name}
        if draw(st.booleans()):
            policies = draw(st.lists(st.fixed_dictionaries({"minAllowed": sizes, "maxAllowed": sizes}), max_size=1))
            spec = {"targetRef": target, "resourcePolicy": {"containerPolicies": policies}}
            found.append(thing("VerticalPodAutoscaler", "autoscaling.k8s.io/v1", name, spec))
        scaling = draw(st.sampled_from(["", "hpa", "keda"]))
        low, high = draw(st.integers(0, 30)), draw(st.integers(0, 30))
        if scaling == "hpa":
            spec = {"scaleTargetRef": target, "minReplicas": low, "maxReplicas": high}
            found.append(thing("HorizontalPodAutoscaler", "autoscaling/v2", name, spec))
        elif scaling == "keda":
            spec = {"scaleTargetRef": target, "minReplicaCount": low, "maxReplicaCount": high}
            found.append(thing("ScaledObject", "keda.sh/v1alpha1", name, spec))
    return found


@given(worlds(), st.sampled_from(PLACES))
@settings(deadline=None, max_examples=150)
def test_the_declared_cost_lies_in_its_range_and_sums_are_exact(world: list[Declaration], place: PriceSettings) -> None:
    actor = Actor(ActorKind.PERSON, "Ada")
    made = [Change(Operation.CREATE, item.ref, None, item, None, actor) for item in world]
    found = report(made, BOOK, place, around=beside(world))
    for work in found.workloads:
        assert 0 <= work.low.pico <= work.monthly.pico <= work.high.pico
    assert found.low <= found.after <= found.high
    assert found.high == total((work.high for work in found.workloads), place.currency)
    assert found.low == total((work.low for work in found.workloads), place.currency)
    assert found.after == total((work.monthly for work in found.workloads), place.currency)
