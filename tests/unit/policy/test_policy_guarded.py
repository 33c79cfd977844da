"""The engine that can be killed: what a bundle does to it is "could not decide", and the next question is answered."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.guarded import GuardedEngine
from customhouse.policy.bundle import QUERY

_HEAD = "package customhouse\nimport rego.v1\n"
GOOD = {"good.rego": _HEAD + 'findings contains "seen" if input.x == 1\n'}
_NESTED = "\tsome a in numbers.range(1, 99999)\n\tsome b in numbers.range(1, 99999)\n\tz := a + b\n"
ENDLESS = {"endless.rego": _HEAD + f"findings contains z if {{\n{_NESTED}}}\n"}


@pytest.fixture
def engine() -> Iterator[GuardedEngine]:
    made = GuardedEngine(timeout_s=20)
    yield made
    made.close()


def test_a_rule_without_end_is_ended_and_the_next_question_is_answered(engine: GuardedEngine) -> None:
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]
    hurried = GuardedEngine(timeout_s=1)
    with pytest.raises(PolicyError, match="no answer within 1 s; it was ended"):
        hurried.evaluate(ENDLESS, {}, {}, QUERY)
    assert hurried._companion._child is None
    hurried._timeout_s = 20
    assert hurried.evaluate(GOOD, {}, {"x": 2}, QUERY) == []
    hurried.close()


def test_a_process_that_died_between_two_questions_is_replaced(engine: GuardedEngine) -> None:
    engine.evaluate(GOOD, {}, {"x": 1}, QUERY)
    child = engine._companion._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]


def test_a_process_that_dies_while_it_judges_decides_nothing(engine: GuardedEngine) -> None:
    engine.start()
    child = engine._companion._child
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    engine._timeout_s = 0.3
    with pytest.raises(PolicyError, match="it was ended"):
        engine.evaluate(GOOD, {}, {"x": 1}, QUERY)
    engine._timeout_s = 20
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]


def test_errors_of_the_engine_come_through(engine: GuardedEngine) -> None:
    with pytest.raises(PolicyError, match=r"broken\.rego"):
        engine.evaluate({"broken.rego": _HEAD + "findings contains if if\n"}, {}, {}, QUERY)
    with pytest.raises(PolicyError, match="not a valid rule path"):
        engine.evaluate({"none.rego": "package other\nx := 1\n"}, {}, {}, QUERY)
    with pytest.raises(PolicyError, match="limit"):
        engine.evaluate(GOOD, {}, {"x": "y" * 2_000_000}, QUERY)


def test_two_bundles_are_not_mixed_up(engine: GuardedEngine) -> None:
    other = {"good.rego": _HEAD + 'findings contains "other" if input.x == 1\n'}
    with_data = {"data.rego": _HEAD + "findings contains data.word\n"}
    for _ in range(2):
        assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]
        assert engine.evaluate(other, {}, {"x": 1}, QUERY) == ["other"]
        assert engine.evaluate(with_data, {"word": "a"}, {}, QUERY) == ["a"]
        assert engine.evaluate(with_data, {"word": "b"}, {}, QUERY) == ["b"]


def test_many_inputs_are_one_question_with_the_answers_of_many(engine: GuardedEngine) -> None:
    documents = [{"x": number % 3, "wide": "y" * (number * 1000)} for number in range(120)]
    alone = [engine.evaluate(GOOD, {}, document, QUERY) for document in documents]
    assert engine.evaluate_all(GOOD, {}, documents, QUERY) == alone
    assert engine.evaluate_all(GOOD, {}, [], QUERY) == []


def test_one_of_many_without_an_answer_leaves_all_without(engine: GuardedEngine) -> None:
    undefined = {"odd.rego": _HEAD + "findings := [1] if input.x == 1\n"}
    with pytest.raises(PolicyError, match="undefined"):
        engine.evaluate_all(undefined, {}, [{"x": 1}, {"x": 2}, {"x": 1}], QUERY)
    with pytest.raises(PolicyError, match="the limit is"):
        engine.evaluate_all(GOOD, {}, [{"x": 1}, {"x": "y" * (1 << 20)}], QUERY)
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]
