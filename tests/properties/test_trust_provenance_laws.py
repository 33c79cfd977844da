"""Laws of expectations: whatever part of provenance changes, the expectation about that part names it."""

from __future__ import annotations

import copy
import re
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

import provenance_documents as documents
from customhouse.core.errors import EvidenceError
from customhouse.trust.provenance_expectations import Expectation, Expected, MaterialRule, Statement, verify_statement
from customhouse.trust.provenance_forms import as_v1, read_provenance
from customhouse.trust.provenance_level import Builder
from customhouse.trust.provenance_patterns import matches

DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def parameter(place: str) -> str:
    return f"parameter:{place}"


def expected(document: dict[str, Any]) -> Expected:
    """Exactly what a document says: its builder, each of its parameters, and each of its materials by digest."""
    said = read_provenance(document)
    rules = tuple(MaterialRule(name=item.name, digests=(item.digest,)) for item in said.materials if item.digest)
    return Expected(
        (Builder(said.builder, 3, ("ci",)),),
        {},
        (
            Expectation(
                "exactly",
                ("**",),
                builders=(said.builder,),
                min_level=3,
                build_types=(said.build_type,),
                allowed_parameters=(),
                parameters=dict(said.parameters),
                materials=rules,
                other_materials=False,
            ),
        ),
    )


def document(digests: list[str], values: dict[str, str]) -> dict[str, Any]:
    made = documents.github()
    definition = made["buildDefinition"]
    definition["externalParameters"] = values
    definition["resolvedDependencies"] = [
        {"name": f"m{number}", "uri": "u", "digest": {"sha256": digest}} for number, digest in enumerate(digests)
    ]
    return made


def unmet(changed: dict[str, Any], wanted: Expected) -> set[str]:
    found = verify_statement(Statement(changed, "ci", True), wanted, wanted.expectations[0])
    return {check.check for check in found.unmet}


@settings(max_examples=60, deadline=None)
@given(
    digests=st.lists(DIGEST, min_size=1, max_size=4),
    values=st.dictionaries(st.sampled_from("abcd"), st.text("xyz", max_size=3), min_size=1, max_size=4),
    other=DIGEST,
    text=st.text("xyz*/", max_size=4),
    data=st.data(),
)
def test_a_change_of_any_part_is_named(
    digests: list[str], values: dict[str, str], other: str, text: str, data: st.DataObject
) -> None:
    before = document(digests, values)
    wanted = expected(before)
    assert unmet(before, wanted) == set()

    number = data.draw(st.integers(0, len(digests) - 1))
    changed = copy.deepcopy(before)
    changed["buildDefinition"]["resolvedDependencies"][number]["digest"]["sha256"] = other
    assert unmet(changed, wanted) == (set() if other == digests[number] else {f"material:m{number}"})

    name = data.draw(st.sampled_from(sorted(values)))
    changed = copy.deepcopy(before)
    changed["buildDefinition"]["externalParameters"][name] = text
    assert unmet(changed, wanted) == (set() if text == values[name] else {parameter(name)})

    changed = copy.deepcopy(before)
    changed["buildDefinition"]["externalParameters"]["extra"] = text
    assert unmet(changed, wanted) == {"parameters"}

    changed = copy.deepcopy(before)
    changed["runDetails"]["builder"]["id"] += text or "x"
    assert {"builder", "level"} <= unmet(changed, wanted)

    changed = copy.deepcopy(before)
    changed["buildDefinition"]["resolvedDependencies"].append({"name": "more", "digest": {"sha256": other}})
    assert unmet(changed, wanted) == {"other-materials"}


@settings(max_examples=150, deadline=None)
@given(JSON, JSON)
def test_no_document_is_read_as_something_else_than_an_error_or_provenance(one: Any, other: Any) -> None:
    for predicate in (
        {"buildDefinition": one, "runDetails": other},
        {**documents.github(), "buildDefinition": {"buildType": "t", "externalParameters": {"a": one}, "x": other}},
        as_v1({"builder": one, "invocation": {"parameters": other, "configSource": one}, "materials": other}),
    ):
        found = verify_statement(Statement(predicate, "ci", True), Expected(), None)
        try:
            read_provenance(predicate)
        except EvidenceError:
            assert found.level.number == 0
        else:
            assert found.level.number == 1


@settings(max_examples=200, deadline=None)
@given(st.text("ab/*", max_size=6), st.text("ab/", max_size=8))
@example("**a*b/**", "aab/")
def test_patterns_mean_what_the_regular_expression_means(pattern: str, text: str) -> None:
    parts = re.split(r"(\*\*|\*)", pattern)
    plain = "".join({"**": "(?s:.*)", "*": "[^/]*"}.get(part) or re.escape(part) for part in parts)
    assert matches(pattern, text) is (re.fullmatch(plain, text) is not None)
