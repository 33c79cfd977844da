"""`customhouse policy verify`: Gatekeeper's suites, found below paths and run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from customhouse.app import wiring
from customhouse.app.foreign_files import documents_of, engine, files_below, read_file
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError, SourceError, UsageError
from customhouse.policy.gatekeeper_suite import GROUP, Failure, is_suite, run_suite
from customhouse.policy.gatekeeper_template import Document


@dataclass(slots=True)
class Verification:
    """What all suites together came to."""

    suites: int = 0
    tests: int = 0
    cases: int = 0
    passed: int = 0
    skipped: int = 0
    failed: list[Failure] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As DESIGN section 5 has it."""
        rows = [
            {"suite": item.suite, "test": item.test, "case": item.case, "reason": item.reason} for item in self.failed
        ]
        return {
            "suites": self.suites,
            "tests": self.tests,
            "cases": self.cases,
            "passed": self.passed,
            "skipped": self.skipped,
            "failed": rows,
        }

    @property
    def exit_status(self) -> int:
        """0 all passed, 1 another verdict than was wanted, 3 no verdict could be had somewhere."""
        if any(item.undecided for item in self.failed):
            return 3
        return 1 if self.failed else 0


def verify(settings: Settings, paths: Sequence[str]) -> Verification:
    """Run every suite at or below the paths. Raises UsageError when there is none, PolicyError for a malformed one."""
    asked, cel = engine(settings), wiring.cel_engine()
    outcome, named = Verification(), {Path(path) for path in paths}
    read: dict[Path, tuple[Document, ...]] = {}
    for shown, path in files_below(paths):
        data = read_file(path, shown)
        if GROUP.encode() not in data and path not in named:
            continue
        suites = [document for document in documents_of(data, shown) if is_suite(document)]
        if not suites and path in named:
            raise UsageError(f"{shown} is no Suite of {GROUP}/v1alpha1")
        for suite in suites:
            outcome.suites += 1
            try:
                run = run_suite(suite, shown, _Beside(path, shown, read), asked, cel)
            except SourceError:
                raise
            except CustomhouseError as error:
                outcome.failed.append(Failure(shown, "", "", str(error), undecided=True))
                continue
            outcome.tests += run.tests
            outcome.cases += run.cases
            outcome.passed += run.passed
            outcome.skipped += run.skipped
            outcome.failed += run.failed
    if not outcome.suites:
        raise UsageError(
            f"there is no suite at or below {', '.join(paths)}", hint=f"a suite is YAML of kind Suite, {GROUP}/v1alpha1"
        )
    return outcome


class _Beside:
    """Reads files that a suite names, relative to it; each file once a run."""

    def __init__(self, suite: Path, shown: str, read: dict[Path, tuple[Document, ...]]) -> None:
        self._folder = suite.parent
        self._shown = shown.rpartition("/")[0]
        self._read = read

    def __call__(self, name: str) -> tuple[Document, ...]:
        path = self._folder / name
        if path not in self._read:
            shown = f"{self._shown}/{name}" if self._shown else name
            self._read[path] = documents_of(read_file(path, shown), shown)
        return self._read[path]
