"""Running a bundle's tests (`*_test.rego`, rules named `test_…`) in one evaluation, and what they cover."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from customhouse.core.errors import PolicyError
from customhouse.core.ports import PolicyEngine
from customhouse.policy.bundle import QUERY, Bundle
from customhouse.policy.lint import package_of
from customhouse.policy.lint_rules import Rule, rules_of

_TEST = re.compile(r"^(test_[A-Za-z0-9_]+)", re.MULTILINE)
_RUN = "customhouse_testrun"
_PASSED = f"data.{_RUN}.passed"


@dataclass(frozen=True, slots=True)
class RuleTest:
    """One test: its name (`data.customhouse.tests.images.test_x`), where it is written, whether it passed."""

    name: str
    file: str
    line: int
    passed: bool


@dataclass(frozen=True, slots=True)
class RuleCoverage:
    """How much of one rule its tests evaluate; `missed` are lines. Lines with nothing to evaluate do not count."""

    file: str
    package: str
    rule: str
    line: int
    covered: int
    missed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Every rule (a definition each) of a bundle's modules, tests left out."""

    rules: tuple[RuleCoverage, ...]

    @property
    def percent(self) -> float:
        """Of the lines that can be evaluated; 100 where there are none. Cut, not rounded: 100 means all of them."""
        return _percent(self.rules)

    def files(self) -> Mapping[str, float]:
        """File → percent, by name."""
        names = dict.fromkeys(rule.file for rule in self.rules)
        return {name: _percent([rule for rule in self.rules if rule.file == name]) for name in sorted(names)}


class CoveringEngine(Protocol):
    """An engine that can tell which lines it evaluated."""

    def cover(
        self, modules: Mapping[str, str], data: Mapping[str, Any], asked: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> tuple[list[Any], Mapping[str, tuple[frozenset[int], frozenset[int]]]]:
        """The value of each query with its input, and file → (lines evaluated by any, by none). Raises PolicyError."""


def _percent(rules: Sequence[RuleCoverage]) -> float:
    covered = sum(rule.covered for rule in rules)
    total = covered + sum(len(rule.missed) for rule in rules)
    return 100.0 if total == 0 else covered * 10_000 // total / 100


def run_tests(bundle: Bundle, engine: PolicyEngine, only: Collection[str] | None = None) -> tuple[RuleTest, ...]:
    """Every test (of the files named in `only`) with its result, sorted by name.

    Raises PolicyError when the bundle does not compile or has none. A test passes when its value is true; undefined
    and everything else is a failure, as for `opa test`.
    """
    found, modules = _prepared(bundle, only)
    return _results(found, engine.evaluate(modules, bundle.data, {}, _PASSED))


def coverage(
    bundle: Bundle,
    engine: CoveringEngine,
    only: Collection[str] | None = None,
    documents: Sequence[Mapping[str, Any]] = (),
) -> Coverage:
    """What the tests and `documents` (Facts of table cases) evaluate of the modules, or of those named in `only`.

    Raises PolicyError.
    """
    asked: list[tuple[str, Mapping[str, Any]]] = [(QUERY, document) for document in documents]
    modules: Mapping[str, str] = bundle.modules
    if any(_TEST.search(source) for name, source in bundle.tests.items() if only is None or name in only):
        _, modules = _prepared(bundle, only)
        asked.append((_PASSED, {}))
    _, lines = engine.cover(modules, bundle.data, asked)
    packages = frozenset(package_of(source, name) for name, source in bundle.modules.items())
    rules: list[RuleCoverage] = []
    for name, source in bundle.modules.items():
        if only is None or name in only:
            covered, missed = lines.get(name, (frozenset[int](), frozenset[int]()))
            rules += _rule_coverage(rules_of(name, source, packages), covered, missed)
    return Coverage(tuple(rules))


def _rule_coverage(rules: Sequence[Rule], covered: Collection[int], missed: Collection[int]) -> Iterator[RuleCoverage]:
    ends = [*(rule.line for rule in rules[1:]), sys.maxsize]
    for rule, end in zip(rules, ends, strict=False):  # a package may have no rules
        within = range(rule.line, end)
        left = tuple(sorted(line for line in missed if line in within))
        count = sum(line in within for line in covered)
        yield RuleCoverage(rule.file, rule.package, rule.name, rule.line, count, left)


def _prepared(bundle: Bundle, only: Collection[str] | None) -> tuple[dict[str, tuple[str, int]], dict[str, str]]:
    # All test modules take part, since fixtures are shared; those of `only` are asked.
    found = _tests({name: source for name, source in bundle.tests.items() if only is None or name in only})
    if not found:
        raise PolicyError("the bundle has no tests", hint="write rules named test_… in files named *_test.rego")
    lines = [f"package {_RUN}", ""]
    lines += [f'passed contains "{name}" if {name} == true' for name in found]
    return found, {**bundle.modules, **bundle.tests, "customhouse_testrun_test.rego": "\n".join(lines) + "\n"}


def _results(found: Mapping[str, tuple[str, int]], answer: Any) -> tuple[RuleTest, ...]:
    passed = set(answer)
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
