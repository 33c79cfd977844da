"""OPA as a server of our own: what a bundle does to it decides nothing, and nothing is left behind."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.opa_server import OpaServer
from customhouse.policy.bundle import QUERY

pytestmark = pytest.mark.part("opa")
_HEAD = "package customhouse\nimport rego.v1\n"
GOOD = {"good.rego": _HEAD + 'findings contains "seen" if input.x == 1\n'}
_NESTED = "\tsome a in numbers.range(1, 99999)\n\tsome b in numbers.range(1, 99999)\n\tz := a + b\n"
ENDLESS = {"endless.rego": _HEAD + f"findings contains z if {{\n{_NESTED}}}\n"}


@pytest.fixture
def engine(find_part: Callable[[str], Path]) -> Iterator[OpaServer]:
    made = OpaServer(str(find_part("opa")))
    yield made
    made.close()


def test_a_rule_without_end_is_ended_and_the_next_question_is_answered(engine: OpaServer) -> None:
    engine._timeout_s = 1
    with pytest.raises(PolicyError, match="no answer within 1 s"):
        engine.evaluate(ENDLESS, {}, {}, QUERY)
    engine._timeout_s = 10
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]


def test_a_server_that_was_killed_is_replaced(engine: OpaServer) -> None:
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]
    assert engine._child is not None
    engine._child._process.end()
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]


def test_a_bundle_that_reaches_out_is_refused_before_it_is_loaded(engine: OpaServer) -> None:
    reaching = {"out.rego": _HEAD + 'findings contains http.send({"method": "get", "url": "http://x"})\n'}
    with pytest.raises(PolicyError, match=r"out\.rego:3: undefined function http\.send"):
        engine.evaluate(reaching, {}, {}, QUERY)


def test_a_broken_bundle_and_an_error_while_judging_are_told(engine: OpaServer) -> None:
    with pytest.raises(PolicyError, match=r"bad\.rego"):
        engine.evaluate({"bad.rego": _HEAD + "findings contains if if\n"}, {}, {}, QUERY)
    with pytest.raises(PolicyError, match="divide by zero"):
        engine.evaluate({"zero.rego": _HEAD + "findings contains x if x := 1 / input.zero\n"}, {}, {"zero": 0}, QUERY)
    with pytest.raises(PolicyError, match="undefined"):
        engine.evaluate({"none.rego": "package other\nx := 1\n"}, {}, {}, QUERY)
    with pytest.raises(PolicyError, match="no path"):
        engine.evaluate(GOOD, {}, {}, "data.customhouse; http.send")


def test_another_bundle_and_other_data_are_taken_at_once(engine: OpaServer) -> None:
    with_data = {"data.rego": _HEAD + "findings contains data.word\n"}
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]
    assert engine.evaluate(with_data, {"word": "a"}, {}, QUERY) == ["a"]
    assert engine.evaluate(with_data, {"word": "b"}, {}, QUERY) == ["b"]


def test_nothing_is_left_of_a_server_that_nobody_closed(find_part: Callable[[str], Path]) -> None:
    forgotten = OpaServer(str(find_part("opa")))
    forgotten.evaluate(GOOD, {}, {"x": 1}, QUERY)
    assert forgotten._child is not None
    process, folder = forgotten._child._process, forgotten._child._folder
    assert folder.stat().st_mode & 0o077 == 0
    del forgotten
    gc.collect()
    assert not process.alive
    assert not folder.exists()
