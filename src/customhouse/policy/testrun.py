"""Running a bundle's own tests (`*_test.rego`, rules named `test_…`) on any engine, in one evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from customhouse.core.errors import PolicyError
from customhouse.core.ports import PolicyEngine
from customhouse.policy.bundle import Bundle
from customhouse.policy.lint import package_of

_TEST = re.compile(r"^(test_[A-Za-z0-9_]+)", re.MULTILINE)
_RUN = "customhouse_testrun"


@dataclass(frozen=True, slots=True)
class RuleTest:
    """One test: its name (`data.customhouse.tests.images.test_x`), where it is written, whether it passed."""

    name: str
    file: str
    line: int
    passed: bool


def run_tests(bundle: Bundle, engine: PolicyEngine) -> tuple[RuleTest, ...]:
    """Every test with its result, sorted by name. Raises PolicyError when the bundle does not compile or has none.

    A test passes when its value is true; undefined and everything else is a failure, as for `opa test`.
    """
    found = _tests(bundle.tests)
    if not found:
        raise PolicyError("the bundle has no tests", hint="write rules named test_… in files named *_test.rego")
    lines = [f"package {_RUN}", ""]
    lines += [f'passed contains "{name}" if {name} == true' for name in found]
    modules = {**bundle.modules, **bundle.tests, "customhouse_testrun_test.rego": "\n".join(lines) + "\n"}
    passed = set(engine.evaluate(modules, bundle.data, {}, f"data.{_RUN}.passed"))
    return tuple(RuleTest(name, file, line, name in passed) for name, (file, line) in sorted(found.items()))


def _tests(sources: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for file, source in sources.items():
        package = package_of(source, file)
        for match in _TEST.finditer(source):
            name = f"data.{package}.{match[1]}"
            line = source.count("\n", 0, match.start()) + 1
            if name in found:
                # Two bodies are "or": the one that fails would hide behind the other.
                raise PolicyError(f"the test {name} is there twice", where=f"{file}:{line}")
            found[name] = (file, line)
    return found
