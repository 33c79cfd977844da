"""The scanner on the labelled corpus: what it must find, what it must not blame, and that it never runs anything."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from customhouse.trust.scan import FileScan, Verdict, scan_file

MARKER = Path("/tmp/harmless-marker")
"""What the corpus' payloads would create if they ran."""


@pytest.fixture(scope="module")
def corpus(shared_data: Path) -> list[tuple[dict[str, str], FileScan, float]]:
    root = shared_data / "models"
    manifest = json.loads((root / "manifest.json").read_text())
    rows = manifest if isinstance(manifest, list) else manifest["files"]
    MARKER.unlink(missing_ok=True)
    scans = []
    for row in rows:
        started = time.perf_counter()
        scan = scan_file(root / row["file"])
        scans.append((row, scan, time.perf_counter() - started))
    return scans


def test_every_malicious_file_is_found(corpus: list[tuple[dict[str, str], FileScan, float]]) -> None:
    missed = [
        f"{row['family']} {row['file']}: {scan.verdict}"
        for row, scan, _ in corpus
        if row["label"] == "malicious" and scan.verdict not in (Verdict.MALICIOUS, Verdict.SUSPICIOUS)
    ]
    assert missed == [], "measured recall is 73 of 73"


def test_most_malicious_files_are_called_malicious(corpus: list[tuple[dict[str, str], FileScan, float]]) -> None:
    counts = Counter(scan.verdict for row, scan, _ in corpus if row["label"] == "malicious")
    assert counts[Verdict.MALICIOUS] >= 70, counts
    assert counts[Verdict.CLEAN] == 0


def test_no_benign_file_is_blamed_and_each_is_understood(corpus: list[tuple[dict[str, str], FileScan, float]]) -> None:
    blamed = [
        f"{row['family']} {row['file']}: {scan.verdict} {[finding.message for finding in scan.findings]}"
        for row, scan, _ in corpus
        if row["label"] == "benign" and scan.verdict is not Verdict.CLEAN
    ]
    assert blamed == [], "measured: 29 of 29 are clean"


def test_every_verdict_but_clean_says_why(corpus: list[tuple[dict[str, str], FileScan, float]]) -> None:
    for row, scan, _ in corpus:
        if scan.verdict is not Verdict.CLEAN:
            assert any(finding.severity.value == scan.verdict.value and finding.message for finding in scan.findings), (
                row
            )


def test_the_same_file_gets_the_same_verdict_twice(
    corpus: list[tuple[dict[str, str], FileScan, float]], shared_data: Path
) -> None:
    for row, scan, _ in corpus:
        assert scan_file(shared_data / "models" / row["file"]) == scan


def test_nothing_was_executed_and_no_file_took_long(
    corpus: list[tuple[dict[str, str], FileScan, float]],
) -> None:
    assert not MARKER.exists()
    assert max(seconds for _, _, seconds in corpus) < 5.0, "measured: 0.05 s; the bound allows for a busy machine"


def test_a_verdict_does_not_hang_on_the_file_name(
    corpus: list[tuple[dict[str, str], FileScan, float]], shared_data: Path, tmp_path: Path
) -> None:
    for row, _, _ in corpus:
        if row["label"] == "malicious":
            path = tmp_path / "model"
            path.write_bytes((shared_data / "models" / row["file"]).read_bytes())
            assert scan_file(path).verdict in (Verdict.MALICIOUS, Verdict.SUSPICIOUS), row["family"]


def test_a_lambda_layer_put_into_the_benign_hdf5_file_is_found(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "models" / "benign" / "ben040.h5").read_bytes()
    before, after = b'"Dense", "config": {"name": "d", "units": 4}', b'"Lambda", "config": {"name": "d", "unit": 4}'
    assert data.count(before) == 1
    path = tmp_path / "model.h5"
    path.write_bytes(data.replace(before, after))
    assert scan_file(path).verdict is Verdict.MALICIOUS
