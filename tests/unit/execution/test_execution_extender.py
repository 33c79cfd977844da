"""What a tier forbids, what a node is worth, and what is known of nodes and pods while both change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.core.cluster import ClusterEvent, EventKind
from customhouse.core.errors import DeclarationError
from customhouse.execution.extender import Placer, PodNeeds, TierPlacing
from customhouse.execution.extender_fragments import stranded, usual
from customhouse.execution.extender_nodes import ASSUMED_S, NODES, PODS, Occupancy, facts_of, requests_of

BATCH = TierPlacing("batch", ("T4", "A10G"), "required")
STANDARD = TierPlacing("standard", ("T4", "A10G"), "allowed")
CRITICAL = TierPlacing("critical-inference", ("T4", "A10G", "H100"), "forbidden")
T4, H100 = {"nvidia.com/gpu.product": "Tesla-T4"}, {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
ONE_GPU = {"cpu": 2000, "memory": 4 * 2**30, "nvidia.com/gpu": 1}
PRICES = {"t4": 0.5, "t4-spot": 0.2, "h100": 50.0, "cpu": 0.3}


def node(name: str, labels: dict[str, str] | None = None, gpus: int = 0, machine: str = "", **more: str) -> Any:
    allocatable = {"cpu": "16", "memory": "64Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {}), **more}
    named = {"node.kubernetes.io/instance-type": machine} if machine else {}
    return {"metadata": {"name": name, "labels": {**named, **(labels or {})}}, "status": {"allocatable": allocatable}}


def pod(uid: str, where: str = "", gpus: int = 1, **status: Any) -> Any:
    requests = {"cpu": "2", "memory": "4Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    spec = {"nodeName": where, "containers": [{"name": "main", "resources": {"requests": requests}}]}
    return {"metadata": {"name": uid, "uid": uid}, "spec": spec, "status": status}


def added(kind: Any, *manifests: Any) -> list[ClusterEvent]:
    return [ClusterEvent(EventKind.ADDED, kind, manifest) for manifest in manifests]


def gone(kind: Any, manifest: Any) -> list[ClusterEvent]:
    return [ClusterEvent(EventKind.DELETED, kind, manifest)]


def told(kind: Any, event: EventKind) -> list[ClusterEvent]:
    return [ClusterEvent(event, kind)]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 11, 23, tzinfo=UTC))


@pytest.fixture
def occupancy(clock: FixedClock) -> Occupancy:
    return Occupancy(clock)


@pytest.fixture
def placer(occupancy: Occupancy) -> Placer:
    return Placer(occupancy, lambda facts: PRICES.get(facts.machine))


def left(placer: Placer, needs: PodNeeds, *names: str) -> tuple[str, ...]:
    return placer.filter(needs, names).left


@pytest.mark.parametrize(
    "labels",
    [
        {"karpenter.sh/capacity-type": "spot"},
        {"eks.amazonaws.com/capacityType": "SPOT"},
        {"cloud.google.com/gke-spot": "true"},
        {"cloud.google.com/gke-preemptible": "true"},
        {"kubernetes.azure.com/scalesetpriority": "spot"},
    ],
)
def test_spot_nodes_of_three_clouds_are_for_tiers_that_may_use_them(
    occupancy: Occupancy, placer: Placer, labels: dict[str, str]
) -> None:
    occupancy.nodes_sink(added(NODES, node("spot", {**labels, **T4}, 1), node("own", T4, 1)))
    found = placer.filter(PodNeeds("1", ONE_GPU, CRITICAL), ["spot", "own"])
    assert found.left == ("own",)
    assert found.forbidden == {"spot": "tier critical-inference forbids spot capacity"}
    assert left(placer, PodNeeds("2", ONE_GPU, BATCH), "spot", "own") == ("spot",)
    assert left(placer, PodNeeds("3", ONE_GPU, STANDARD), "spot", "own") == ("spot", "own")


def test_a_class_that_a_tier_may_not_use_is_kept_from_it(occupancy: Occupancy, placer: Placer) -> None:
    occupancy.nodes_sink(added(NODES, node("h100", H100, 8), node("t4", T4, 1), node("unnamed", {}, 1), node("none")))
    found = placer.filter(PodNeeds("1", ONE_GPU, STANDARD), ["h100", "t4", "unnamed"])
    assert found.left == ("t4",)
    assert found.forbidden["h100"] == "tier standard may not use H100 (allowed: T4, A10G)"
    assert "does not say" in found.forbidden["unnamed"]
    # Who asks for no accelerator is not asked for its class.
    assert left(placer, PodNeeds("2", {"cpu": 1000}, STANDARD), "h100", "none") == ("h100", "none")


def test_devices_asked_for_by_claims_are_kept_to_the_classes_of_the_tier(occupancy: Occupancy, placer: Placer) -> None:
    gaudi = node("gaudi", {}, **{"habana.ai/gaudi": "8"})
    # A node of which a DRA driver has the devices has no count of them among what pods may have.
    occupancy.nodes_sink(added(NODES, node("h100", H100, 8), node("t4", T4), node("no-class"), gaudi))
    names = ("h100", "t4", "no-class", "gaudi")
    assert left(placer, PodNeeds("1", {"cpu": 1000}, STANDARD), *names) == names
    found = placer.filter(PodNeeds("2", {"cpu": 1000}, STANDARD, claims=True), names)
    assert found.left == ("t4",)
    assert found.forbidden["h100"] == "tier standard may not use H100 (allowed: T4, A10G)"
    assert "does not say of which class its devices are" in found.forbidden["no-class"]
    # Another device beside the claim is no way around, and a tier without a list may use any.
    assert left(placer, PodNeeds("3", ONE_GPU, STANDARD, claims=True), *names) == ("t4",)
    assert left(placer, PodNeeds("4", {}, TierPlacing("any"), claims=True), *names) == names
    assert left(placer, PodNeeds("5", {}, TierPlacing("g", ("habana.ai/gaudi",)), claims=True), *names) == ("gaudi",)
    assert placer.spared(PodNeeds("6", {}, STANDARD, claims=True), names) == {"h100", "no-class", "gaudi"}


def test_a_pod_with_claims_is_not_kept_away_from_accelerators(occupancy: Occupancy, placer: Placer) -> None:
    occupancy.nodes_sink(added(NODES, node("gpu", T4, 4, "cpu"), node("dear", machine="h100")))
    amounts = {"cpu": 1000, "memory": 2**30}
    scores = dict(placer.prioritise(PodNeeds("1", amounts, STANDARD), ["gpu", "dear"]))
    assert scores["dear"] > scores["gpu"]
    scores = dict(placer.prioritise(PodNeeds("2", amounts, STANDARD, claims=True), ["gpu", "dear"]))
    assert scores["gpu"] > scores["dear"]


def test_dedicated_nodes_are_for_their_tier_and_for_no_other(occupancy: Occupancy, placer: Placer) -> None:
    occupancy.nodes_sink(added(NODES, node("kept", {"pool": "gold"}), node("common")))
    gold = TierPlacing("gold", dedicated=("pool", "gold"))
    other = TierPlacing("other", reserved=(("pool", "gold"),))
    assert left(placer, PodNeeds("1", {"cpu": 1}, gold), "kept", "common") == ("kept",)
    assert left(placer, PodNeeds("2", {"cpu": 1}, other), "kept", "common") == ("common",)


def test_a_node_that_nobody_saw_is_not_used_and_may_be_seen_later(occupancy: Occupancy, placer: Placer) -> None:
    found = placer.filter(PodNeeds("1", ONE_GPU, BATCH), ["ghost"])
    assert not found.left
    assert not found.forbidden
    assert set(found.unknown) == {"ghost"}


def test_labels_that_change_in_the_middle_change_the_answer(occupancy: Occupancy, placer: Placer) -> None:
    needs = PodNeeds("1", ONE_GPU, CRITICAL)
    occupancy.nodes_sink(added(NODES, node("a", T4, 1)))
    assert left(placer, needs, "a") == ("a",)
    occupancy.nodes_sink(added(NODES, node("a", {**T4, "karpenter.sh/capacity-type": "spot"}, 1)))
    assert left(placer, needs, "a") == ()
    occupancy.nodes_sink(gone(NODES, node("a", T4, 1)))
    assert placer.filter(needs, ["a"]).unknown


def test_the_cheaper_node_is_worth_more_and_no_price_is_never_free(occupancy: Occupancy, placer: Placer) -> None:
    spot = {**T4, "karpenter.sh/capacity-type": "spot"}
    nodes = [node("own", T4, 1, "t4"), node("spot", spot, 1, "t4-spot"), node("odd", T4, 1, "nobody-knows")]
    occupancy.nodes_sink(added(NODES, *nodes))
    scores = dict(placer.prioritise(PodNeeds("1", ONE_GPU, STANDARD), ["own", "spot", "odd"]))
    assert scores == {"spot": 10, "own": 9, "odd": 8}


def test_what_needs_no_accelerator_stays_away_from_them(occupancy: Occupancy, placer: Placer) -> None:
    occupancy.nodes_sink(added(NODES, node("gpu", T4, 1, "t4-spot"), node("plain", machine="cpu")))
    scores = dict(placer.prioritise(PodNeeds("1", {"cpu": 1000, "memory": 2**30}, STANDARD), ["gpu", "plain"]))
    assert scores["plain"] > scores["gpu"]


def test_parts_are_packed_onto_what_is_begun(occupancy: Occupancy, placer: Placer) -> None:
    profile = "nvidia.com/mig-1g.10gb"
    mig = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"}
    occupancy.nodes_sink(added(NODES, *(node(name, mig, machine="t4", **{profile: "7"}) for name in "ab")))
    needs = {"cpu": 1000, profile: 1}
    tier = TierPlacing("any")
    assert placer.prioritise(PodNeeds("1", needs, tier), ["a", "b"]) == [("a", 10), ("b", 10)]
    # The first was kept a place on `a`, though nobody has seen it bound.
    assert placer.prioritise(PodNeeds("2", needs, tier), ["b", "a"]) == [("b", 9), ("a", 10)]


def test_what_usually_comes_says_what_is_left_in_pieces(occupancy: Occupancy, placer: Placer) -> None:
    pair = {"cpu": 2000, "nvidia.com/gpu": 2}
    common = usual([pair] * 9 + [{"cpu": 100}])
    occupancy.nodes_sink(added(NODES, *(node(name, T4, 8) for name in "ab")))
    for name, taken in (("a", 6), ("b", 5)):
        occupancy.assume(name, name, {"nvidia.com/gpu": taken})
    one = {"cpu": 2000, "nvidia.com/gpu": 1}
    breaks, keeps = stranded(one, [occupancy.nodes["a"], occupancy.nodes["b"]], common)
    assert breaks > 0.8  # of two that a pair could have had, one is left
    assert keeps < 0.4
    assert stranded(one, [occupancy.nodes["a"]], usual([{"cpu": 100}])) == [0.0]  # nobody comes for accelerators


def test_a_reservation_ends_when_the_pod_is_seen_or_forgotten(
    occupancy: Occupancy, placer: Placer, clock: FixedClock
) -> None:
    occupancy.nodes_sink(added(NODES, *(node(name, T4, 4, "t4") for name in "ab")))
    placer.prioritise(PodNeeds("1", ONE_GPU, STANDARD), ["a", "b"])
    assert occupancy.nodes["a"].used["nvidia.com/gpu"] == 1
    occupancy.pods_sink(added(PODS, pod("1", "b")))  # the scheduler chose otherwise
    assert [occupancy.nodes[name].used.get("nvidia.com/gpu", 0) for name in "ab"] == [0, 1]
    occupancy.assume("1", "a", ONE_GPU)  # what the API says goes before it
    assert occupancy.nodes["a"].used["nvidia.com/gpu"] == 0
    placer.prioritise(PodNeeds("2", ONE_GPU, STANDARD), ["a"])
    clock.advance(ASSUMED_S + 1)
    occupancy.expire()
    assert occupancy.nodes["a"].used["nvidia.com/gpu"] == 0


def test_pods_that_end_or_go_leave_room(occupancy: Occupancy) -> None:
    occupancy.pods_sink(added(PODS, pod("1", "a"), pod("2", "a")))  # before their node is known
    occupancy.nodes_sink(added(NODES, node("a", T4, 4)))
    assert occupancy.nodes["a"].used["nvidia.com/gpu"] == 2
    occupancy.pods_sink(added(PODS, pod("1", "a", phase="Succeeded")))
    occupancy.pods_sink(gone(PODS, pod("2", "a")))
    assert occupancy.nodes["a"].used["nvidia.com/gpu"] == 0


def test_what_went_while_nobody_looked_is_gone_after_the_next_telling(occupancy: Occupancy) -> None:
    for kind, sink in ((NODES, occupancy.nodes_sink), (PODS, occupancy.pods_sink)):
        sink(told(kind, EventKind.RESTARTED))
        sink(told(kind, EventKind.SYNCED))
    assert occupancy.synced
    occupancy.nodes_sink(added(NODES, node("a", T4, 4), node("b", T4, 4)))
    occupancy.pods_sink(added(PODS, pod("1", "a"), pod("2", "a")))
    occupancy.nodes_sink([*told(NODES, EventKind.RESTARTED), *added(NODES, node("a", T4, 4))])
    occupancy.pods_sink([*told(PODS, EventKind.RESTARTED), *added(PODS, pod("2", "a"))])
    assert set(occupancy.nodes) == {"a", "b"}  # until all has been told, the last known holds
    occupancy.nodes_sink(told(NODES, EventKind.SYNCED))
    occupancy.pods_sink(told(PODS, EventKind.SYNCED))
    assert set(occupancy.nodes) == {"a"}
    assert occupancy.nodes["a"].used["nvidia.com/gpu"] == 1


def test_a_watch_that_fails_is_told_with_its_age(occupancy: Occupancy, clock: FixedClock) -> None:
    occupancy.nodes_sink([ClusterEvent(EventKind.FAILED, NODES, problem="refused")])
    clock.advance(70)
    assert occupancy.failing() == (70, "nodes: refused")
    occupancy.nodes_sink(told(NODES, EventKind.SYNCED))
    assert occupancy.failing() == (0, "")


def test_nobody_is_evicted_where_the_pod_may_not_run(occupancy: Occupancy, placer: Placer) -> None:
    spot = {**T4, "karpenter.sh/capacity-type": "spot"}
    occupancy.nodes_sink(added(NODES, node("own", T4, 1), node("spot", spot, 1)))
    assert placer.spared(PodNeeds("1", ONE_GPU, CRITICAL), ["own", "spot", "ghost"]) == {"spot", "ghost"}


def test_a_pod_is_counted_as_the_scheduler_counts_it() -> None:
    def container(cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "initContainers": [
            container("1", restartPolicy="Always"),
            container("3"),
            container("500m", restartPolicy="Always"),
        ],
        "containers": [container("1"), container("1")],
        "overhead": {"cpu": "250m"},
    }
    # Running: 1 + 0.5 + 1 + 1; before: 1 (stays) + 3. The larger, and the overhead.
    assert requests_of(spec) == {"cpu": 4250}
    with pytest.raises(DeclarationError, match="/spec/containers/0"):
        requests_of({"containers": ["nonsense"]})


def test_a_node_that_lies_about_its_capacity_is_read_as_far_as_it_can_be() -> None:
    facts = facts_of(node("liar", T4, **{"nvidia.com/gpu": "many", "cpu": "-4"}))
    assert facts.amounts["cpu"] == 0
    assert "nvidia.com/gpu" not in facts.amounts
    assert "nvidia.com/gpu" in facts.problem
    assert facts_of({"metadata": None, "spec": [], "status": "x"}).name == ""
