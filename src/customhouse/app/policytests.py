"""`customhouse policy test`: the tests of the rules, the built-in ones and those of a folder of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from customhouse.app import wiring
from customhouse.app.settings import Settings
from customhouse.core.errors import PolicyError, UsageError
from customhouse.policy.bundle import Bundle, builtin_bundle, load_bundle
from customhouse.policy.testrun import RuleTest, run_tests

MAX_FILE = 1024 * 1024
MAX_FILES = 2000


@dataclass(frozen=True, slots=True)
class TestRun:
    """The outcome of a bundle's tests; `digest` is the bundle's."""

    digest: str
    tests: tuple[RuleTest, ...]

    @property
    def failed(self) -> tuple[RuleTest, ...]:
        """The tests that are not true."""
        return tuple(test for test in self.tests if not test.passed)


def run_bundle_tests(settings: Settings, folder: str | None) -> TestRun:
    """Run the tests of the bundle that the gate would use: the built-in one, with `folder` beside it.

    Raises PolicyError (with file and line) for Rego that does not compile, UsageError when there is no such folder.
    """
    bundle = _bundle(folder)
    return TestRun(bundle.digest, run_tests(bundle, wiring.engine(settings)))


def _bundle(folder: str | None) -> Bundle:
    if folder is None:
        return builtin_bundle()
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"there is no folder {folder}")
    files = dict(_files(root))
    if not any(name.endswith("_test.rego") for name in files):
        raise PolicyError("the folder has no tests", where=folder, hint="write rules named test_… in *_test.rego")
    return load_bundle(files, base=builtin_bundle())


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    count = 0
    for item in sorted(root.rglob("*")):
        if item.is_symlink() or not item.is_file():
            continue
        if item.suffix not in (".rego", ".json", ".yaml", ".yml"):
            continue
        count += 1
        if count > MAX_FILES or item.stat().st_size > MAX_FILE:
            raise PolicyError("more than 2,000 files, or one over 1 MiB", where=str(item))
        yield item.as_posix(), item.read_bytes()
