"""Rego programs with what OPA 1.22 answers; `r` of package `t` is asked. Used by unit and integration tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ForeignProgram:
    name: str
    source: str
    answer: Any
    document: dict[str, Any] = field(default_factory=dict)
    v0: bool = True


def _body(name: str, body: str, answer: Any, v0: bool = True, **document: Any) -> ForeignProgram:
    head = "r = x" if v0 else "r := x if"
    return ForeignProgram(name, f"package t\n\n{head} {{\n  {body}\n}}\n", answer, document, v0)


PROGRAMS = [
    _body("a line that begins with a parenthesis", "y := input.a\n  (y + 1) > 2\n  x := y", 5, a=5),
    _body("a line that begins with a bracket", "y := input.a\n  [1, y][0] == 1\n  x := y", 5, a=5),
    ForeignProgram("chained bodies", "package t\nr[x] { x := 1 } { x := 2 }", [1, 2]),
    ForeignProgram(
        "chained bodies of a function", "package t\nf(a) = b { b := 1; a == 2 } { b := 3; a == 4 }\nr = f(4)", 3
    ),
    _body("an error of a built-in is undefined", 'not to_number("abc")\n  x := 1', 1),
    _body("an error in one of several", 'x := [n | n := to_number(["1", "a", "2"][_])]', [1, 2]),
    _body("a wrong type is undefined", "not startswith(input.n, input.a)\n  x := 1", 1, a="a", n=5),
    _body("not of an operand without a value", 'not startswith(input.none, "a")\n  x := 1', None),
    _body("not of a comparison without a value", "not input.none > 3\n  x := 1", None),
    _body("not of an equality without a value", "not input.none == 3\n  x := 1", 1),
    _body("not of an equality of no part", "not input.a[input.none.b] == 3\n  x := 1", None, a={"b": 1}),
    _body("not of an inequality without a value", "not input.none != 3\n  x := 1", None),
    _body("not of a count without a value", "not count(input.none) == 3\n  x := 1", None),
    _body("not of a part without a value", "not input.a[input.none.b]\n  x := 1", None, a={"b": 1}),
    _body("not of a reference without a value", "not input.none\n  x := 1", 1),
    _body("not of a reference that is false", "not input.a\n  x := 1", 1, a=False),
    _body("not in", 'not "z" in input.a\n  x := 1', 1, v0=False, a=["y"]),
    _body("re_match", 're_match("^a+$", input.a)\n  x := 1', 1, a="aaa"),
    _body("too few values for sprintf", 'x := sprintf("%v %v", ["a"])', "a %!v(MISSING)"),
    _body("a set of texts in sprintf", 'x := sprintf("%v", [{"b", "a"}])', '{"a", "b"}'),
    _body("spaces around a number", 'not to_number(" 12 ")\n  x := 1', 1),
    _body("indexof of nothing", 'not indexof("abc", "")\n  x := 1', 1),
    _body("substring to the end", 'x := substring("abcdef", 2, -1)', "cdef"),
    _body("substring before the start", 'not substring("abc", -1, 2)\n  x := 1', 1),
    _body("units.parse", 'x := [units.parse("250m"), units.parse("1.5Ki"), units.parse("2K")]', [0.25, 1536, 2000]),
    _body("units.parse_bytes", 'x := [units.parse_bytes("1KiB"), units.parse_bytes("0.5")]', [1024, 0]),
    _body("object.subset", 'x := object.subset({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}})', True),
    _body("array.slice beyond", "x := array.slice([1, 2, 3], 1, 9)", [2, 3]),
    _body("numbers.range down", "x := numbers.range(3, 1)", [3, 2, 1]),
    _body("crypto.sha256", 'x := substring(crypto.sha256("a"), 0, 8)', "ca978112"),
    _body("net.cidr_intersects", 'x := net.cidr_intersects("10.0.0.0/8", "10.1.0.0/16")', True),
    _body("a pattern that Go's syntax allows", 'not regex.match("{x", "y")\n  x := 1', 1),
    ForeignProgram(
        "sets of objects beside an error",
        'package t\nc[o] { o := input.l[_] }\nr = n { n := count(c); not to_number("x") }',
        1,
        {"l": [{"a": 1}, {"a": 1}]},
    ),
]
UNDECIDED = [
    "package t\nr := x if { x := input.a with input as {} }",
    "package t\nr := walk(input)",
    "package t\nr if { not { input.a } }",
    "package t\ndefault f(_) := 1\nr := f(2)",
    "package t\nimport future.keywords.not\nr := 1",
]
REFUSED_EVERYWHERE = [
    'package t\nr := http.send({"method": "get", "url": "http://127.0.0.1"})',
    'package t\nr := http["send"]({})',
    "package t\nr := opa.runtime()",
    'package t\nr := net.lookup_ip_addr("localhost")',
    'package t\nr := rand.intn("a", 5)',
]
