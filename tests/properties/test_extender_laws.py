"""Laws of the extender: whatever a scheduler or an API says, it answers or refuses; and what is taken adds up."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse._kit.clock import FixedClock
from customhouse.app.extender_wire import read_arguments
from customhouse.core.cluster import ClusterEvent, EventKind
from customhouse.core.errors import DeclarationError, UsageError
from customhouse.execution.extender import HIGHEST, Placer, PodNeeds, TierPlacing
from customhouse.execution.extender_nodes import NODES, PODS, Occupancy, requests_of

KEYS = (
    "containers initContainers resources requests limits cpu nvidia.com/gpu labels name uid nodeName phase conditions"
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["1", "500m", "1Gi", "-1", "1e9999", "many", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), VALUES)
NAMES = st.lists(st.sampled_from("abcd"), unique=True)
TIERS = (TierPlacing("free"), TierPlacing("firm", ("T4",), "forbidden"), TierPlacing("cheap", ("T4",), "required"))


def made(occupancy: Occupancy, spots: dict[str, bool]) -> None:
    for name, spot in spots.items():
        labels = {"nvidia.com/gpu.product": "Tesla-T4", "karpenter.sh/capacity-type": "spot" if spot else "on-demand"}
        allocatable = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "4"}
        node = {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}}
        occupancy.nodes_sink([ClusterEvent(EventKind.ADDED, NODES, node)])


@settings(max_examples=60, deadline=None)
@given(VALUES, VALUES, st.booleans())
def test_nonsense_is_refused_and_never_ends_the_extender(pod: Any, names: Any, eviction: bool) -> None:
    body = json.dumps({"Pod": pod, "NodeNames": names, "NodeNameToMetaVictims": names}).encode()
    try:
        requests_of(read_arguments(body, eviction=eviction).pod["spec"])
    except (UsageError, DeclarationError):
        return


@settings(max_examples=60, deadline=None)
@given(OBJECTS, NAMES)
def test_what_an_api_says_is_taken_as_far_as_it_can_be_read(manifest: Any, names: list[str]) -> None:
    occupancy = Occupancy(FixedClock(datetime(2026, 1, 1, tzinfo=UTC)))
    made(occupancy, {"a": True})
    occupancy.nodes_sink([ClusterEvent(EventKind.ADDED, NODES, manifest)])
    occupancy.pods_sink([ClusterEvent(EventKind.ADDED, PODS, manifest)])
    scores = Placer(occupancy, lambda _: None).prioritise(PodNeeds("u", {"cpu": 1}, TIERS[0]), names)
    assert [name for name, _ in scores] == names


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.booleans()), NAMES, st.sampled_from(TIERS))
def test_every_node_is_left_or_has_its_reason(spots: dict[str, bool], names: list[str], tier: TierPlacing) -> None:
    occupancy = Occupancy(FixedClock(datetime(2026, 1, 1, tzinfo=UTC)))
    made(occupancy, spots)
    placer, needs = Placer(occupancy, lambda _: 1.0), PodNeeds("u", {"cpu": 1, "nvidia.com/gpu": 1}, tier)
    found = placer.filter(needs, names)
    assert Counter([*found.left, *found.forbidden, *found.unknown]) == Counter(names)
    assert set(found.unknown) == set(names) - set(spots)
    allowed = {"free": {True, False}, "firm": {False}, "cheap": {True}}[tier.name]
    assert set(found.left) == {name for name in names if name in spots and spots[name] in allowed}
    scores = placer.prioritise(needs, found.left)
    assert all(0 <= score <= HIGHEST for _, score in scores)
    assert not scores or max(score for _, score in scores) == HIGHEST


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from(["a", "b", "gone"]), st.booleans(), st.booleans())))
def test_what_is_taken_of_a_node_is_what_its_pods_ask_for(events: list[tuple[str, str, bool, bool]]) -> None:
    occupancy = Occupancy(FixedClock(datetime(2026, 1, 1, tzinfo=UTC)))
    made(occupancy, {"a": True, "b": False})
    for uid, node, ended, assumed in events:
        if assumed:
            occupancy.assume(uid, node, {"cpu": 1000})
            continue
        spec = {"nodeName": node, "containers": [{"resources": {"requests": {"cpu": "2"}}}]}
        pod = {"metadata": {"uid": uid}, "spec": spec, "status": {}}
        kind = EventKind.DELETED if ended else EventKind.ADDED
        occupancy.pods_sink([ClusterEvent(kind, PODS, pod)])
    seen = [uid for state in occupancy.nodes.values() for uid in state.pods]
    assert len(seen) == len(set(seen))
    for state in occupancy.nodes.values():
        assert state.used.get("cpu", 0) == sum(amounts.get("cpu", 0) for amounts in state.pods.values())
