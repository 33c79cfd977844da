"""Same Facts and Bundle → byte-identical Decision body, from a file and from a live object, at every point."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse._kit.canonical import canonical_json
from customhouse.core.decision import Point
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.gate import Gate
from decision_cases import case
from policy_cases import NOW

GATE = Gate(RegorusEngine(), builtin_bundle())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_a_file_and_its_live_object_have_the_same_facts_and_the_same_decision(seed: int) -> None:
    change, file, live = case(seed)
    assert canonical_json(file.document) == canonical_json(live.document)
    bodies = {
        canonical_json(GATE.judge(change, facts, point=point, decided_at=NOW).body())
        for facts, point in ((file, Point.GATE), (live, Point.ADMISSION), (live, Point.AUDIT))
    }
    assert len(bodies) == 1
