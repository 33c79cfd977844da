"""Rego of others on the embedded engine: what OPA says, or an error; never another answer.

The expected values are OPA's (1.22); tests/integration/test_policy_foreign_engines.py asks it about the same programs.
"""

from __future__ import annotations

import pytest

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.go_format import format_text
from customhouse.policy.adapters.regorus_foreign import EmbeddedForeign
from customhouse.policy.foreign import UNDEFINED, Program, normalised, tolerant
from customhouse.policy.foreign_engine import RightEngine
from foreign_programs import PROGRAMS, REFUSED_EVERYWHERE, UNDECIDED


def answer(source, document=None, *, v0=True, engine=None):
    found = (engine or EmbeddedForeign()).ask(Program({"m": source}, v0), {}, [document or {}], ["data.t.r"])[0][0]
    return None if found is UNDEFINED else found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda item: item.name)
def test_the_embedded_engine_says_what_opa_says(program):
    assert answer(program.source, program.document, v0=program.v0) == program.answer


@pytest.mark.parametrize("source", UNDECIDED)
def test_what_it_is_not_trusted_with_is_an_error(source):
    with pytest.raises(PolicyError, match=r"the embedded engine is not asked|cannot import"):
        answer(source, v0=False)


@pytest.mark.parametrize("source", REFUSED_EVERYWHERE)
def test_what_reaches_out_is_refused_whatever_the_engine(source):
    class Eager:
        name = "eager"

        def ask(self, program, data, documents, queries):
            return [[True]]

    with pytest.raises(PolicyError, match="is refused"):
        RightEngine(None, Eager()).ask(Program({"m": source}, False), {}, [{}], ["data.t.r"])


def test_the_reason_tells_what_would_help():
    with pytest.raises(PolicyError) as error:
        RightEngine(EmbeddedForeign(), None).ask(Program({"m": UNDECIDED[0]}, False), {}, [{}], ["data.t.r"])
    assert "opa" in error.value.hint


def test_a_text_that_never_ends_names_its_line():
    with pytest.raises(PolicyError) as error:
        normalised('package t\nr = "abc\n', "m", v0=True)
    assert error.value.where == "m:2"


def test_a_result_bound_by_an_argument_is_not_rewritten():
    with pytest.raises(PolicyError, match="startswith has 3 arguments"):
        tolerant("package t\nr = x { startswith(input.a, input.b, x) }", "m")


@pytest.mark.parametrize(
    ("text", "values", "written"),
    [
        ("%v %s %d", ["a", "b", 3], "a b 3"),
        ("%v", [{"b": [1, "x", None], "a": True}], '{"a": true, "b": [1, "x", null]}'),
        ("%v %v", [{1, 2}, set()], "{1, 2} set()"),
        ("%d%%", [5], "5%"),
        ("%s", [5], "%!s(int64=5)"),
        ("%d", ["x"], "%!d(string=x)"),
        ("%v", [], "%!v(MISSING)"),
        ("x", ["a", 1], "x%!(EXTRA string=a, int64=1)"),
        ("%q", ['a"b\n'], '"a\\"b\\n"'),
        ("%5d|%-5d|%05d|%x", [42, 42, -42, 255], "   42|42   |-0042|ff"),
        ("%.2f %v %v", [1.239, 1.5, 1e21], "1.24 1.5 1e+21"),
        ("%5s|%-5s|%.2s", ["ab", "ab", "abc"], "   ab|ab   |ab"),
        ("%t", [True], "%!t(string=true)"),
        ("100%", [], "100%!(NOVERB)"),
    ],
)
def test_sprintf_is_that_of_go(text, values, written):
    assert format_text(text, values) == written


@pytest.mark.parametrize(
    "source",
    [
        "package t\nf(x) = y { y := f(x) }\nr = f(1)",
        "package t\nf(x) { p }\np { f(1) }\nr { p }",
        "package t\np { q }\nq { p }\nr { p }",
        f"package t\nr = {'(' * 100_000}1",
        f"package t\nr {{ {'not ' * 20_000}true }}",
        f"package t\nr = input{'.a' * 50_000}",
    ],
)
def test_a_program_that_would_end_the_process_is_an_error(source):
    with pytest.raises(PolicyError):
        answer(source)
