"""The engines behind the port: failures are errors, limits hold, and a panic does not pass for an answer."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.opa import OpaEngine
from customhouse.policy.adapters.regorus import RegorusEngine

QUERY = "data.customhouse.findings"
SMALL = {"m.rego": 'package customhouse\n\nfindings contains input.x if input.x != "quiet"\n'}


@pytest.fixture(params=["embedded", pytest.param("opa", marks=pytest.mark.part("opa"))])
def engine(request, find_part):
    return RegorusEngine() if request.param == "embedded" else OpaEngine(str(find_part("opa")))


def test_the_answer_is_the_rules_value(engine):
    assert engine.evaluate(SMALL, {}, {"x": "loud"}, QUERY) == ["loud"]
    assert engine.evaluate(SMALL, {}, {"x": "quiet"}, QUERY) == []
    assert engine.evaluate({"m.rego": "package customhouse\n\nfindings contains data.y\n"}, {"y": 1}, {}, QUERY) == [1]


def test_nothing_is_kept_between_calls(engine):
    engine.evaluate(SMALL, {"y": 1}, {"x": "loud"}, QUERY)
    assert engine.evaluate(SMALL, {}, {}, QUERY) == []


@pytest.mark.parametrize(
    "source",
    [
        "package customhouse\n\nfindings contains x if {",
        "package customhouse\n\nother := 1\n",
        "package customhouse\n\nfindings contains x if { x := http.send({}) }\n",
        'package customhouse\n\nfindings contains x if { x := to_number("a") }\n',
        "package customhouse\n\nfindings := 1\n\nfindings := 2\n",
        "package customhouse\n\nfindings contains x if { x := data.customhouse.findings }\n",
    ],
    ids=["syntax", "undefined", "refused built-in", "built-in error", "conflict", "recursion"],
)
def test_what_fails_is_an_error_and_never_an_empty_answer(engine, source):
    with pytest.raises(PolicyError):
        engine.evaluate({"m.rego": source}, {}, {}, QUERY)


def test_an_error_names_the_module_and_its_line(engine):
    with pytest.raises(PolicyError, match=r"bad\.rego:3"):
        engine.evaluate({"bad.rego": "package customhouse\n\nfindings contains x if {"}, {}, {}, QUERY)


def test_an_input_beyond_the_limit_is_refused_before_the_engine_sees_it(engine):
    with pytest.raises(PolicyError, match="the limit is"):
        engine.evaluate(SMALL, {}, {"x": ["y" * 1000] * 1100}, QUERY)
    with pytest.raises(PolicyError, match="canonical"):
        engine.evaluate(SMALL, {}, {"x": float("nan")}, QUERY)


def test_a_module_whose_name_is_a_path_reaches_no_file(engine, tmp_path):
    name = str(tmp_path / "out.rego")
    assert engine.evaluate({name: SMALL["m.rego"]}, {}, {"x": "a"}, QUERY) == ["a"]
    assert list(tmp_path.iterdir()) == []


class Panic(BaseException):
    """What pyo3 raises for a Rust panic is no Exception."""


def test_a_panic_of_the_embedded_engine_is_an_error_and_the_engine_is_thrown_away(monkeypatch):
    import regorus

    class Breaking:
        broken = True

        def __init__(self):
            self.real = regorus_engine()

        def __getattr__(self, name):
            return getattr(self.real, name)

        def eval_rule_as_json(self, query):
            if Breaking.broken:
                raise Panic("index out of bounds")
            return self.real.eval_rule_as_json(query)

    regorus_engine = regorus.Engine
    monkeypatch.setattr(regorus, "Engine", Breaking)
    engine = RegorusEngine()
    with pytest.raises(PolicyError, match="index out of bounds"):
        engine.evaluate(SMALL, {}, {"x": "a"}, QUERY)
    Breaking.broken = False
    assert engine.evaluate(SMALL, {}, {"x": "a"}, QUERY) == ["a"]


def test_the_embedded_engine_serves_several_threads():
    engine, answers = RegorusEngine(), []

    def ask(text):
        answers.extend(engine.evaluate(SMALL, {}, {"x": text}, QUERY)[0] for _ in range(20))

    threads = [threading.Thread(target=ask, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted(f"t{n}" for n in range(4) for _ in range(20))


def test_a_missing_opa_says_what_to_do():
    with pytest.raises(PolicyError, match="make parts"):
        OpaEngine("opa-that-is-not-there").evaluate(SMALL, {}, {}, QUERY)


@pytest.mark.part("opa")
def test_opa_that_runs_past_its_time_is_killed(find_part):
    source = (
        "package customhouse\n\nfindings contains x if {\n"
        "\tsome a in numbers.range(1, 3000)\n\tsome b in numbers.range(1, 3000)\n\ta * b < 0\n\tx := a\n}\n"
    )
    engine = OpaEngine(str(find_part("opa")), timeout_s=1.0)
    engine.version()
    started = time.monotonic()
    with pytest.raises(PolicyError, match="time limit"):
        engine.evaluate({"m.rego": source}, {}, {}, QUERY)
    assert time.monotonic() - started < 5


def test_only_an_opa_that_speaks_rego_v1_is_taken_by_itself(tmp_path: Path) -> None:
    for said, wanted in {"Version: 1.22.2": True, "Version: 0.70.0": False, "something else": False}.items():
        program = tmp_path / f"opa-{wanted}-{len(said)}"
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
        assert OpaEngine(str(program)).speaks_v1() is wanted
