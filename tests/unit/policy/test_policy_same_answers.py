"""What the embedded engine is given says the same to it as to OPA: negations, numbers in texts, leading zeros."""

from __future__ import annotations

import re

import pytest

from customhouse.core.errors import DeclarationError
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import QUERY, builtin_bundle
from customhouse.policy.facts import build_facts
from customhouse.policy.foreign_negation import negations_defined
from customhouse.policy.foreign_tokens import tokens_of
from hostile_cases import hostile
from policy_cases import context, created, deployment

BUILT_IN = builtin_bundle()


@pytest.mark.parametrize("name", sorted(BUILT_IN.modules))
def test_a_built_in_rule_negates_nothing_that_may_have_no_value(name: str) -> None:
    """The packaged rules are given to the engine as they are: nothing in them may need to be set right first."""
    source = BUILT_IN.modules[name]
    assert negations_defined(source, tokens_of(source, name)) == source


def test_a_built_in_rule_writes_no_number_with_a_verb_for_numbers() -> None:
    # `%d` of -3 is "--3" in the embedded engine; `%v` is "-3" in both.
    found = {
        name
        for name, source in BUILT_IN.modules.items()
        if re.search(r"%[-+#0-9.]*[bcdeEfFgGoOUxX]", source.replace("%%", ""))
    }
    assert found == set()


def test_a_head_without_a_value_takes_no_finding_of_others_with_it() -> None:
    # The embedded engine ends a set at the first head that has none: findings would be lost, and the change allowed.
    source = """package customhouse

import rego.v1

partly(x) := x * 10 if x != 2

findings contains partly(x) if some x in [1, 2, 3]

findings contains {"at": input.places[x]} if {
	some x in [5, 0, 1] # a remark
}

findings contains sprintf("%v", [
	partly(x),
]) if {
	some x in [2, 3]
	not input.places[x]
}
"""
    answer = RegorusEngine().evaluate({"own.rego": source}, {}, {"places": ["a"]}, QUERY)
    assert answer == [10, 30, "30", {"at": "a"}]


@pytest.mark.parametrize("size", ["9e9999999999Gi", "1E+9999999999", "1e-9999999999", "99999999999999Ei", "9" * 20_000])
def test_a_quantity_that_would_stall_the_engine_never_reaches_it(size: str) -> None:
    """All three points fold what they judge into Facts: `build_facts` reads quantities, and rules get integers."""
    manifest = deployment(resources={"limits": {"memory": size}})
    with pytest.raises(DeclarationError, match="memory"):
        build_facts(created(manifest), context(manifest))


@pytest.mark.parametrize("first", [0, 40])
def test_facts_hold_whole_numbers_of_53_bits_alone(first: int) -> None:
    def look(value: object) -> None:
        assert not isinstance(value, float)
        if isinstance(value, int):
            assert abs(value) < 2**53
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(item)

    for seed in range(first, first + 40):
        look(hostile(seed)[0].document)
