"""What the embedded engine is given says the same to it as to OPA: negations, numbers in texts, leading zeros."""

from __future__ import annotations

import re

import pytest

from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import QUERY, builtin_bundle
from customhouse.policy.foreign_negation import negations_defined
from customhouse.policy.foreign_tokens import tokens_of

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
