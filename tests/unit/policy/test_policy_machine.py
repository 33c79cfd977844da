"""The packaged rules on the embedded engine's virtual machine: as it is fastest, and the same rules."""

from __future__ import annotations

import regorus

from customhouse.policy.adapters.regorus import called_by_path
from customhouse.policy.bundle import QUERY, builtin_bundle

MODULES = builtin_bundle().modules


def listing(modules: list[tuple[str, str]]) -> str:
    return regorus.Program.compile_from_modules("{}", modules, [QUERY]).generate_listing()


def test_no_packaged_rule_is_looked_up_in_all_of_data():
    assert "VirtualDataDocumentLookup" in listing(sorted(MODULES.items()))
    assert "VirtualDataDocumentLookup" not in listing(called_by_path(MODULES))


def test_calls_texts_and_longer_names_stay():
    source = 'x := lib.called(y)\ny := "lib.error("\nz := other.lib.pods\nw := lib.pods[0].name\n'
    ((_, changed),) = called_by_path({"a.rego": source})
    assert changed == source.replace("w := lib.pods", "w := data.customhouse.lib.pods")
