"""The embedded engine against Open Policy Agent itself: hostile Facts, and each allowed built-in, hostilely asked."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from agreeing_engines import compare
from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.opa import OpaEngine
from customhouse.policy.adapters.opa_foreign import OpaForeign
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.foreign import UNDEFINED, Program
from customhouse.policy.foreign_builtins import ARITY
from customhouse.policy.lint import ALLOWED
from customhouse.policy.lint_patterns import pattern_problem

_PER_BUILT_IN = 80
_TEXTS = [
    "",
    "a",
    "abc",
    "ab ab",
    "ünï\U0001f600e\u0301",
    "İSTANBUL ß ΑΣ",
    "12",
    "012",
    " 12 ",
    "0x1F",
    "1e3",
    "+5",
    ".5",
]
_TEXTS += [
    "NaN",
    "-0",
    " \t\n x\u00a0\u2003",
    "\x00a",
    "[a-c]",
    "(?i)A",
    "a*",
    "*",
    "**",
    "a/b",
    "{a,b}",
    "%d",
    "%v %s",
    "%",
]
_TEXTS += [
    "%5.2f|%x|%q",
    "%s%%",
    "1.0.0",
    "v1.0.0",
    "10.0.0.0/8",
    "10.0.0.1",
    "10.0.0.1/33",
    "::1/64",
    "YQ==",
    "YQ",
    "/w==",
    "٣",
]
_TEXTS += [
    "2026-11-22T10:00:00Z",
    "2026-11-22T10:00:00.123456789+02:00",
    "2026-13-01T00:00:00Z",
    "1500-01-01T00:00:00Z",
]
_NUMBERS = [0, 1, -1, 2, 3, 5, 10, 16, 100, 255, -37, 2**31, 2**53 - 1, -(2**53) + 1]
_LISTS: list[Any] = [
    [],
    [1, 2, 3],
    ["a", "b"],
    ["b", "a", "a"],
    [[1], [2]],
    [None, True],
    [{"a": 1}, {"b": 2}],
    [1, "a", None, {}, []],
]
_LISTS += [["a", "/b"], ["."], ["/"], ["", "a"], [-1, 7]]
_OBJECTS: list[Any] = [{}, {"a": 1, "b": 2}, {"a": {"b": 1, "c": 2}}, {"1": 2}, {"a": None}]
_SETS: list[Any] = [{"set": []}, {"set": [1, 2]}, {"set": ["a", "b"]}, {"set": ["a", 1, None]}]
_ANY: list[Any] = [*_TEXTS, *_NUMBERS, *_LISTS, *_OBJECTS, *_SETS, None, True, False]
_KINDS: list[list[Any]] = [_TEXTS, _NUMBERS, _LISTS, _OBJECTS, _SETS]
_REFUSING = {"base64.decode", "replace", "glob.match", "numbers.range"}
"""Where the embedded engine says that it cannot decide, and OPA decides."""
_VALUES = """
value(x) := x if not is_object(x)

value(x) := x if {
	is_object(x)
	not x.set
}

value(x) := {item | some item in x.set} if {
	is_object(x)
	x.set
}
"""


@pytest.fixture
def opa(find_part: Callable[[str], Path]) -> str:
    return str(find_part("opa"))


@pytest.mark.part("opa")
@pytest.mark.parametrize(("own", "typed"), [(False, True), (True, True), (True, False)])
def test_no_hostile_facts_get_another_decision_from_one_of_the_engines(opa: str, own: bool, typed: bool) -> None:
    told, problems = compare(OpaEngine(opa), range(60), own=own, typed=typed)
    assert problems == []
    assert told["deny"] > 25
    assert told["allow"] + told["warn"] > 0


def _calls(name: str) -> list[list[Any]]:
    source = random.Random(name)
    found = [[item] for item in _ANY] if ARITY[name] == 1 else []
    while len(found) < _PER_BUILT_IN:
        kind = source.choice(_KINDS)
        found.append([source.choice(source.choice((_ANY, kind, source.choice(_KINDS)))) for _ in range(ARITY[name])])
    if name == "numbers.range":
        found = [pair for pair in found if not all(type(item) is int and abs(item) > 300 for item in pair)]
        found = [pair for pair in found if not any(type(item) is int and abs(item) > 300 for item in pair)]
    if name == "regex.match":  # others are refused by the lint
        found = [pair for pair in found if isinstance(pair[0], str) and pattern_problem(pair[0]) == ""]
    if name == "to_number":  # OPA takes `012` and `+5` as they are, and cannot write its own answer then
        found = [[text] for [text] in found if not (isinstance(text, str) and _odd_number(text))]
    if name == "glob.match":  # OPA refuses the rule itself
        found = [call for call in found if not (isinstance(call[1], list) and "" in call[1])]
    return found


def _odd_number(text: str) -> bool:
    try:
        float(text.replace("0x", "0"))
        return not text.isdecimal() or text != str(int(text))
    except ValueError:
        return False


@pytest.mark.part("opa")
def test_an_allowed_built_in_has_one_value_in_both_engines_or_none_in_ours(opa: str) -> None:
    calls = [(name, arguments) for name in sorted(ALLOWED) for arguments in _calls(name)]
    modules = {}
    for name in sorted(ALLOWED):
        given = ", ".join(f"value(input.arguments[{index}])" for index in range(ARITY[name]))
        rule = name.replace(".", "_")
        modules[f"{rule}.rego"] = f"package calls.x_{rule}\n\nimport rego.v1\n{_VALUES}\nanswer := {name}({given})\n"
    documents = [{"name": f"x_{name.replace('.', '_')}", "arguments": arguments} for name, arguments in calls]
    rows = OpaForeign(opa).ask(Program(modules, v0=False), {}, documents, ["data.calls[input.name].answer"])
    # The lint takes no computed pattern: that one module is given to an engine that does not look. A module at a time:
    # the engine looks at all that it has for each question.
    engines = {name: RegorusEngine(lint=name != "regex.match") for name in ALLOWED}
    alone = {
        name: MappingProxyType({file: modules[file]}) for name in ALLOWED for file in [f"{name.replace('.', '_')}.rego"]
    }
    data: Mapping[str, Any] = MappingProxyType({})
    wrong, refused = [], set()
    for (name, arguments), [expected], document in zip(calls, rows, documents, strict=True):
        try:
            answer = engines[name].evaluate(alone[name], data, document, f"data.calls.{document['name']}.answer")
        except PolicyError:
            answer = UNDEFINED
        if answer is UNDEFINED and expected is not UNDEFINED:
            refused.add(name)
        elif json.dumps(answer if answer is not UNDEFINED else None) != json.dumps(
            expected if expected is not UNDEFINED else None
        ):
            wrong.append((name, arguments, answer, expected))
    assert wrong == []
    assert refused <= _REFUSING
    assert len(calls) > 3500
