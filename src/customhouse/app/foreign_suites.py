"""`customhouse policy verify`: Gatekeeper's suites, found below paths and run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from customhouse._kit.forks import ForkEndedError, ForkError, in_order, workers
from customhouse.app import wiring
from customhouse.app.foreign_files import LIMIT_S, documents_of, engine, files_below, read_file
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError, PolicyError, SourceError, UsageError
from customhouse.policy.gatekeeper_suite import GROUP, Failure, SuiteRun, is_suite, run_suite
from customhouse.policy.gatekeeper_template import Document

_LOOPS = "a rule that takes so long loops: make it end"
_HELD = 64 * 1024 * 1024
"""Bytes of files that are kept from looking for suites until a suite names them."""
_SUITES_EACH = 8
"""A process for fewer suites costs more than it brings."""
_ENDED = 3
"""Suites that may be ended; each has taken LIMIT_S."""


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


def verify(settings: Settings, paths: Sequence[str], *, processes: int | None = None) -> Verification:
    """Run every suite at or below the paths; many by several processes (None: as many as are of use).

    A suite that takes too long has no verdict. Raises UsageError when there is none, SourceError for a file that a
    suite names and that cannot be read, PolicyError when several take too long.
    """
    asked, cel = engine(settings), wiring.cel_engine()
    named = {Path(path) for path in paths}
    held: dict[str, bytes] = {}
    beside = _Files(held)
    suites: list[tuple[str, Path, Document]] = []
    for shown, path, data in _holding_suites(paths, named, held):
        found = [document for document in documents_of(data, shown) if is_suite(document)]
        if not found and path in named:
            raise UsageError(f"{shown} is no Suite of {GROUP}/v1alpha1")
        suites += [(shown, path, document) for document in found]
    if not suites:
        raise UsageError(
            f"there is no suite at or below {', '.join(paths)}", hint=f"a suite is YAML of kind Suite, {GROUP}/v1alpha1"
        )

    def run(part: tuple[str, Path, Document]) -> list[Any]:
        shown, path, suite = part
        try:
            done = run_suite(suite, shown, beside.of(path.parent, shown), asked, cel)
        except SourceError:
            raise
        except CustomhouseError as error:
            done = SuiteRun(failed=[Failure(shown, "", "", str(error), undecided=True)])
        return [done.tests, done.cases, done.passed, done.skipped, list(done.failed)]

    outcome = Verification(suites=len(suites))
    count = min(workers() if processes is None else processes, max(1, len(suites) // _SUITES_EACH))
    start, ended = 0, 0
    while start < len(suites):
        try:
            for tests, cases, passed, skipped, failed in in_order(run, suites[start:], count, limit_s=LIMIT_S):
                outcome.tests += tests
                outcome.cases += cases
                outcome.passed += passed
                outcome.skipped += skipped
                outcome.failed += (Failure(*item) for item in failed)
                start += 1
        except ForkEndedError as error:
            shown, ended = suites[start][0], ended + 1
            if ended > _ENDED:
                raise PolicyError(f"the suites could not be run: {error}", where=shown, hint=_LOOPS) from error
            outcome.failed.append(Failure(shown, "", "", f"{error} ({_LOOPS})", undecided=True))
            start += 1
        except ForkError as error:
            raise PolicyError(f"the suites could not be run: {error}") from error
    return outcome


def _holding_suites(paths: Sequence[str], named: Set[Path], held: dict[str, bytes]) -> list[tuple[str, Path, bytes]]:
    """The files that may hold a suite. What else is read is `held`, up to some size: suites will name it."""
    found, size = [], 0
    for shown, path in files_below(paths):
        data = read_file(path, shown)
        if GROUP.encode() in data or path in named:
            found.append((shown, path, data))
        elif size + len(data) <= _HELD:
            held[shown] = data
            size += len(data)
    return found


class _Files:
    """Reads files that a suite names, relative to it; each file once a run."""

    def __init__(self, held: Mapping[str, bytes]) -> None:
        self._held = held
        self._read: dict[str, tuple[Document, ...]] = {}

    def of(self, folder: Path, shown: str) -> Callable[[str], tuple[Document, ...]]:
        """What reads for one suite in a folder; `shown` is how the suite is called."""
        prefix = shown[: shown.rfind("/") + 1]
        return lambda name: self._documents(folder, name, prefix + name)

    def _documents(self, folder: Path, name: str, shown: str) -> tuple[Document, ...]:
        if shown not in self._read:
            data = None if name.startswith("/") else self._held.get(shown)
            self._read[shown] = documents_of(read_file(folder / name, shown) if data is None else data, shown)
        return self._read[shown]
