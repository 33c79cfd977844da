"""Files of every technique that advisories tell of, made by `hostile_formats`: none is clean, nearly all are named."""

from __future__ import annotations

from collections import Counter

import pytest

from customhouse.trust.scan import FileScan, Verdict, scan_bytes
from hostile_formats import Hostile, hostile_models


@pytest.fixture(scope="module")
def judged() -> list[tuple[Hostile, FileScan]]:
    return [(case, scan_bytes(case.data, case.name)) for case in hostile_models()]


def test_there_are_many_and_of_many_techniques(judged: list[tuple[Hostile, FileScan]]) -> None:
    assert len(judged) >= 700
    assert len({case.technique.partition(":")[0] for case, _ in judged}) >= 150


def test_none_is_clean(judged: list[tuple[Hostile, FileScan]]) -> None:
    assert [case.technique for case, scan in judged if scan.verdict is Verdict.CLEAN] == []


def test_every_one_that_can_be_looked_into_is_flagged(judged: list[tuple[Hostile, FileScan]]) -> None:
    unsure = [case.technique for case, scan in judged if not case.blind and scan.verdict is Verdict.UNSCANNABLE]
    assert unsure == [], "measured: 0 of them"


def test_most_are_called_malicious(judged: list[tuple[Hostile, FileScan]]) -> None:
    counts = Counter(scan.verdict for _, scan in judged)
    assert counts[Verdict.MALICIOUS] >= 0.8 * len(judged), counts


def test_what_cannot_be_looked_into_says_why(judged: list[tuple[Hostile, FileScan]]) -> None:
    for case, scan in judged:
        if scan.verdict is Verdict.UNSCANNABLE:
            assert any(finding.message for finding in scan.findings), case.technique


def test_the_name_does_not_decide(judged: list[tuple[Hostile, FileScan]]) -> None:
    """Without a name nothing becomes clean but a shell script that says nowhere that it is one."""
    spared = [
        case.technique
        for case, _ in judged
        if not case.technique.startswith("bomb") and scan_bytes(case.data).verdict is Verdict.CLEAN
    ]
    assert set(spared) <= {"shell"}
