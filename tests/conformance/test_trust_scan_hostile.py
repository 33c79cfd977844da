"""The scanner on hostile files of the pickle family that benchmarks/hostile_models.py makes: none is clean."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from customhouse.trust.scan import Verdict, scan_bytes

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

NO_CODE = {
    # Nothing of these can be loaded, so no name is met: they are refused as what cannot be read.
    "name-latin1", "bytes-name", "readonly-buffer", "npy-trailing", "npy-header-eval", "legacy-short",
    "compressed-then-tail-gz", "compressed-then-tail-bz2", "compressed-then-tail-xz", "compressed-then-tail-zlib",
}  # fmt: skip


@pytest.fixture(scope="module")
def hostile(monkeypatch_module: pytest.MonkeyPatch) -> list[tuple[str, str, bytes]]:
    monkeypatch_module.syspath_prepend(str(BENCHMARKS))
    hostile_models = importlib.import_module("hostile_models")

    try:
        return list(hostile_models.everything())
    finally:
        for name in ("hostile_models", "hostile_archives", "hostile_pickles"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    patch = pytest.MonkeyPatch()
    yield patch
    patch.undo()


def test_no_hostile_file_is_clean(hostile: list[tuple[str, str, bytes]]) -> None:
    verdicts = {technique: scan_bytes(data, name).verdict for technique, name, data in hostile}
    assert [technique for technique, verdict in verdicts.items() if verdict is Verdict.CLEAN] == []
    assert {t for t, verdict in verdicts.items() if verdict is Verdict.UNSCANNABLE} == NO_CODE
    assert Counter(verdicts.values())[Verdict.MALICIOUS] > 500
