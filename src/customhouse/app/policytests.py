"""`customhouse policy test`: the tests of the rules, the built-in ones or those of a folder of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse.app import wiring
from customhouse.app.policybundles import read_folder
from customhouse.app.policycases import SUFFIXES, CaseResult, case_files, run_cases
from customhouse.app.settings import Settings
from customhouse.core.errors import PolicyError, UsageError
from customhouse.core.ports import Progress
from customhouse.policy.bundle import Bundle, builtin_bundle, load_bundle
from customhouse.policy.testrun import Coverage, RuleTest, run_tests
from customhouse.policy.testrun import coverage as tests_cover


@dataclass(frozen=True, slots=True)
class TestRun:
    """The outcome of a bundle's tests and cases; `digest` is the bundle's. `coverage` is None when not asked for."""

    digest: str
    tests: tuple[RuleTest, ...]
    cases: tuple[CaseResult, ...] = ()
    coverage: Coverage | None = None

    @property
    def failed(self) -> tuple[RuleTest, ...]:
        """The tests that are not true."""
        return tuple(test for test in self.tests if not test.passed)

    @property
    def failed_cases(self) -> tuple[CaseResult, ...]:
        """The cases that came out otherwise than expected."""
        return tuple(case for case in self.cases if case.problems)

    def to_json(self) -> dict[str, Any]:
        """The JSON of `policy test`."""
        told: dict[str, Any] = {
            "bundle_digest": self.digest,
            "tests": len(self.tests),
            "passed": len(self.tests) - len(self.failed),
            "failed": [{"name": item.name, "file": item.file, "line": item.line} for item in self.failed],
            "cases": len(self.cases),
            "cases_passed": len(self.cases) - len(self.failed_cases),
            "cases_failed": [item.to_json() for item in self.failed_cases],
        }
        if self.coverage is not None:
            told["coverage"] = {
                "percent": self.coverage.percent,
                "files": dict(self.coverage.files()),
                "missed": [
                    {
                        "file": rule.file,
                        "rule": f"{rule.package}.{rule.rule}",
                        "line": rule.line,
                        "lines": list(rule.missed),
                    }
                    for rule in self.coverage.rules
                    if rule.missed
                ],
            }
        return told


def _silent(_what: str, _done: int, _total: int) -> None:
    pass


_PATIENCE_S = 60.0
"""All tests of a bundle are one question: the packaged ones take 2 s of processor time, more on a busy machine."""


def run_bundle_tests(
    settings: Settings,
    folder: str | None,
    *,
    coverage: bool = False,
    cases: Sequence[str] = (),
    progress: Progress = _silent,
) -> TestRun:
    """Run the tests of the built-in rules; with `folder`, its own, on the bundle that the gate would use.

    Coverage is told of the rules that are tested. Raises PolicyError (with
    file and line) for Rego that does not compile, ConfigError for a table of cases that cannot be read, UsageError.
    """
    tables = [Path(name) for name in cases]
    bundle, own = builtin_bundle(), None
    if folder is not None:
        root = Path(folder)
        if not root.is_dir():
            raise UsageError(f"there is no folder {folder}")
        tables += case_files(root)
        bundle, own = _own_bundle(root, folder, cases=bool(tables))
    engine = wiring.engine(settings, timeout_s=_PATIENCE_S)
    judged = run_cases(tables, bundle, engine, progress)
    # The built-in tests are not run beside one's own rules: those may find something in their fixtures.
    wanted = own is None or any(name in bundle.tests for name in own)
    tests = run_tests(bundle, engine, own) if wanted else ()
    measured = None
    if coverage:
        documents = [facts.document for case in judged for facts in case.facts]
        measured = tests_cover(bundle, wiring.covering_engine(), own, documents)
    return TestRun(bundle.digest, tests, judged, measured)


def _own_bundle(root: Path, folder: str, *, cases: bool) -> tuple[Bundle, frozenset[str]]:
    files = {
        name: content
        for name, content in read_folder(root).items()
        # Cases, and the manifests beside them, are no data of the bundle.
        if name.endswith(".rego") or (name.rpartition("/")[2].startswith("data.") and not name.endswith(SUFFIXES))
    }
    if not any(name.endswith("_test.rego") for name in files) and not cases:
        raise PolicyError(
            "the folder has no tests", where=folder, hint="write rules named test_… in *_test.rego, or *_cases.yaml"
        )
    own = frozenset(name for name in files if name.endswith(".rego"))
    return load_bundle(files, base=builtin_bundle()), own
