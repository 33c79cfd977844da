"""Policies of others under a time limit: what loops is ended and decides nothing, and the next question is answered."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.evaluator import PROGRAMS
from customhouse.policy.adapters.guarded_foreign import GuardedForeign
from customhouse.policy.adapters.regorus_foreign import EmbeddedForeign
from customhouse.policy.foreign import UNDEFINED, EndedError, Program
from customhouse.policy.foreign_engine import RightEngine

_TEXT = """\
package t

violation[{"msg": m}] { m := input.say }

size := count(data.inventory)
"""
PLAIN = Program({"t.rego": _TEXT}, v0=True)
LOOP = "a := numbers.range(1, 99999)[_]; b := numbers.range(1, 99999)[_]; a + b < 0"
ENDLESS = Program({"e.rego": f'package e\nviolation[{{"msg": "never"}}] {{ input.loop; {LOOP} }}\n'}, v0=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[GuardedForeign]:
    made = GuardedForeign(timeout_s=20)
    yield made
    made.close()


@pytest.mark.parametrize("data", [{}, {"inventory": {"a": 1, "b": [2, None]}}])
def test_it_answers_as_the_engine_in_this_process_does(engine: GuardedForeign, data: dict[str, Any]) -> None:
    documents = [{"say": f"{number} é\u2028"} for number in range(45)] + [{"say": None}, {}]
    queries = ["data.t.violation", "data.t.size"]
    found = engine.ask(PLAIN, data, documents, queries)
    assert found == EmbeddedForeign().ask(PLAIN, data, documents, queries)
    assert found[46] == [[], len(data.get("inventory", ())) or UNDEFINED]


def test_a_template_without_end_is_ended_and_the_next_question_is_answered() -> None:
    hurried = GuardedForeign(timeout_s=1)
    assert hurried.ask(ENDLESS, {}, [{}], ["data.e.violation"]) == [[[]]]
    with pytest.raises(EndedError, match="no answer within 1 s; it was ended") as caught:
        hurried.ask(ENDLESS, {}, [{"loop": True}], ["data.e.violation"])
    assert "loops" in caught.value.hint
    assert hurried._companion._child is None
    hurried._timeout_s = 20
    assert hurried.ask(PLAIN, {"inventory": {"a": 1}}, [{}], ["data.t.size"]) == [[1]]
    hurried.close()


def test_a_process_that_dies_takes_nobody_with_it(engine: GuardedForeign) -> None:
    engine.ask(PLAIN, {}, [{}], ["data.t.violation"])
    child = engine._companion._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert engine.ask(PLAIN, {"inventory": {"x": 1}}, [{"say": "so"}], ["data.t.violation"]) == [[[{"msg": "so"}]]]


def test_no_other_engine_is_asked_what_ended_one(engine: GuardedForeign) -> None:
    hurried = GuardedForeign(timeout_s=1)
    with pytest.raises(EndedError):
        RightEngine(hurried, engine).ask(ENDLESS, {}, [{"loop": True}], ["data.e.violation"])
    hurried.close()


def test_what_the_process_forgot_is_sent_again(engine: GuardedForeign) -> None:
    one, other, third = ({"inventory": {str(key): 1 for key in range(size)}} for size in (1, 2, 3))
    for data in (one, other, third, one):
        assert engine.ask(PLAIN, data, [{}], ["data.t.size"]) == [[len(data["inventory"])]]
    for number in range(PROGRAMS + 1):
        program = Program({"n.rego": f"package n\nx := {number}\n"}, v0=True)
        assert engine.ask(program, {}, [{}], ["data.n.x"]) == [[number]]
    assert engine.ask(PLAIN, one, [{}], ["data.t.size"]) == [[1]]


def test_errors_come_through_with_their_place_and_hint(engine: GuardedForeign) -> None:
    broken = Program({"b.rego": "package b\nx := [[" + "[" * 500 + "]" * 502 + "\n"}, v0=True)
    with pytest.raises(PolicyError, match="brackets nested more than") as caught:
        engine.ask(broken, {}, [{}], ["data.b.x"])
    assert caught.value.where == "b.rego:2"
    assert not isinstance(caught.value, EndedError)
