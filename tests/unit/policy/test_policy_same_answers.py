"""What the embedded engine is given says the same to it as to OPA: negations, numbers in texts, leading zeros."""

from __future__ import annotations

import re

import pytest

from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.foreign import normalised

BUILT_IN = builtin_bundle()


@pytest.mark.parametrize("name", sorted(BUILT_IN.modules))
def test_a_built_in_rule_negates_nothing_that_may_have_no_value(name: str) -> None:
    """The packaged rules are given to the engine as they are: nothing in them may need to be set right first."""
    source = BUILT_IN.modules[name]
    assert normalised(source, name, v0=False) == source


def test_a_built_in_rule_writes_no_number_with_a_verb_for_numbers() -> None:
    # `%d` of -3 is "--3" in the embedded engine; `%v` is "-3" in both.
    found = {
        name
        for name, source in BUILT_IN.modules.items()
        if re.search(r"%[-+#0-9.]*[bcdeEfFgGoOUxX]", source.replace("%%", ""))
    }
    assert found == set()
