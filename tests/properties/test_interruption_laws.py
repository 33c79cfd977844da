"""Laws of leaving a node, whatever runs there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from customhouse.execution.interruption import gravest, notices_of
from customhouse.execution.interruption_drain import MARGIN_S, Around, Occupant, Owner, drain

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
GROUPS = ("a", "b", "c")


@st.composite
def occupants(draw: Any) -> list[Occupant]:
    found = []
    for number in range(draw(st.integers(0, 8))):
        group = draw(st.sampled_from(GROUPS))
        kind = "Job" if group == "c" else "ReplicaSet"
        found.append(
            Occupant(
                "ns",
                f"p{number}",
                f"u{number}",
                "n",
                Owner("v1", kind, group, group),
                grace_s=draw(st.integers(0, 600)),
                ended=draw(st.booleans()),
                leaving=draw(st.booleans()),
                ready=draw(st.booleans()),
                of_node=draw(st.booleans()),
                checkpoint=draw(st.sampled_from(["", "/state"])),
            )
        )
    return found


@given(occupants(), st.none() | st.floats(-600, 600), st.sets(st.sampled_from([f"u{n}" for n in range(8)])))
def test_nobody_is_asked_twice_nor_given_longer_than_there_is(
    pods: list[Occupant], left: float | None, asked: set[str]
) -> None:
    end = None if left is None else NOW + timedelta(seconds=left)
    ready = {group: sum(pod.ready for pod in pods if pod.group == group) for group in GROUPS}
    found = drain(pods, Around(ready, ready, frozenset(asked)), NOW, NOW, end)
    for step in found:
        if not step.evict:
            assert step.why
            continue
        assert step.pod.uid not in asked
        assert not any((step.pod.leaving, step.pod.ended, step.pod.of_node))
        if left is not None and left - MARGIN_S > 0:
            given_s = step.pod.grace_s if step.grace_s is None else step.grace_s
            assert given_s <= max(1.0, left - MARGIN_S)
    calm = left is None or left > 2 * 600 + MARGIN_S
    if calm:
        served = [step.pod.group for step in found if step.evict and not step.pod.batch]
        assert len(served) == len(set(served))


@given(JSON, JSON, JSON)
def test_no_node_is_too_strange_to_be_read(metadata: Any, spec: Any, status: Any) -> None:
    found = notices_of({"metadata": metadata, "spec": spec, "status": status})
    assert gravest(found, NOW) in (None, *found)
