"""Node pools for pods that wait: which pods count, which machine is chosen, and what is said when there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock, to_rfc3339
from customhouse.app.extender import Extending, Generation
from customhouse.app.nodepools import Pool, pools, waiting_pods
from customhouse.app.settings import Settings

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
RULES = """
apiVersion: customhouse.dev/v1
policy: {requireSignedCommits: false}
prices: {provider: aws, region: us-east-1}
tiers:
  namespaces: {"*": [batch, critical-inference, gold]}
  definitions: {gold: {gpuClasses: [T4], spot: forbidden, dedicatedNodes: {key: pool, value: gold}}}
"""


@pytest.fixture
def generation(tmp_path: Path) -> Generation:
    (tmp_path / "customhouse.yaml").write_text(RULES)
    settings = Settings(state=tmp_path / "state", config=tmp_path / "customhouse.yaml")
    return Extending(settings, None, FixedClock(NOW), lambda *_: None).generation


def pod(name: str, tier: str, minutes: int = 10, gpus: str | None = "1", **more: Any) -> dict[str, Any]:
    requests = {"cpu": "2", "memory": "8Gi", **({"nvidia.com/gpu": gpus} if gpus else {})}
    since = to_rfc3339(NOW - timedelta(minutes=minutes))
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    return {
        "metadata": {"name": name, "namespace": "x", "labels": {"customhouse.dev/tier": tier}},
        "spec": {"containers": [{"name": "main", "resources": {"requests": requests}}], **more},
        "status": {"phase": "Pending", "conditions": [{**condition, "lastTransitionTime": since}]},
    }


def found(generation: Generation, *pods: dict[str, Any]) -> tuple[Pool, ...]:
    return pools(waiting_pods(pods, generation, NOW, timedelta(minutes=5)), generation)


def test_alike_pods_are_proposed_the_machines_with_the_lowest_bill(generation: Generation) -> None:
    (made,) = found(generation, *(pod(f"p{number}", "critical-inference", 10 + number) for number in range(5)))
    shown = made.to_json()
    assert shown["pods"] == [f"x/p{number}" for number in range(5)]
    assert shown["since"] == to_rfc3339(NOW - timedelta(minutes=14))
    assert shown["capacity"] == "on-demand"  # the tier forbids spot
    assert made.machine is not None
    assert Decimal(shown["monthly"]) == 730 * Decimal(shown["hourly"])
    assert Decimal(shown["hourly"]) == shown["machines"] * Decimal(str(made.machine.rate.per_hour))
    # No other machine of the book that the tier may use holds them for less.
    book = generation.governing.book
    for name in made.waiting.tier.gpu_classes or ():
        for other in book.machines("aws", "us-east-1", accelerator=name):
            each = min(other.devices, int(other.vcpu * 0.9) // 2, int(other.memory_mib * 0.9) // 8192)
            if each and other.share == "1":
                assert -(-5 // each) * other.rate.per_hour.pico >= made.count * made.machine.rate.per_hour.pico


def test_a_class_that_the_pods_name_is_kept_and_a_tier_s_own_nodes_too(generation: Generation) -> None:
    named = pod("a", "critical-inference", nodeSelector={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"})
    gold = pod("b", "gold")
    forbidden = pod("c", "gold", nodeSelector={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"})
    by_pod = {item.waiting.pods[0]: item for item in found(generation, named, gold, forbidden)}
    assert by_pod["x/a"].to_json()["accelerator"] == "H100"
    template = (by_pod["x/b"].manifest or {})["spec"]["template"]
    assert template["metadata"]["labels"] == {"pool": "gold"}
    assert template["spec"]["taints"] == [{"key": "pool", "value": "gold", "effect": "NoSchedule"}]
    assert by_pod["x/c"].machine is None
    assert "not what their tier may use" in by_pod["x/c"].problem


def test_who_has_not_waited_or_needs_no_accelerator_leads_to_nothing(generation: Generation) -> None:
    broken = pod("broken", "standard")
    broken["spec"]["containers"] = ["nonsense"]
    bound = pod("bound", "standard", nodeName="a")
    assert found(generation, pod("new", "standard", 1), pod("cpu", "standard", gpus=None), broken, bound) == ()


def test_what_cannot_be_proposed_is_said(generation: Generation) -> None:
    sliced = pod("mig", "standard", gpus=None)
    sliced["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/mig-1g.10gb"] = "1"
    for item in found(generation, sliced, pod("huge", "standard", gpus="500")):
        assert item.machine is None
        assert "mig-1g.10gb" in item.problem or "no machine of aws us-east-1 holds" in item.problem
