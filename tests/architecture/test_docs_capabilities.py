"""docs/capabilities.md has a row for every capability, and says nothing that is not so."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

IDS = {f"{plane}{number}" for plane, count in zip("GPXOTAU", (14, 13, 8, 10, 14, 9, 8), strict=True)
       for number in range(1, count + 1)}  # fmt: skip
STATES = {"works", "first cut", "not yet"}
_TEST = re.compile(r"`(tests/[^`:]+\.py)(?:::([A-Za-z_0-9]+))?`")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    id: str
    capability: str
    command: str
    test: str
    state: str


@pytest.fixture(scope="module")
def rows(repository_root: Path) -> list[Row]:
    text = (repository_root / "docs" / "capabilities.md").read_text()
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [Row(*cells) for cells in found if re.fullmatch(r"[A-Z]\d+", cells[0])]


def test_every_capability_has_one_row(rows: list[Row]) -> None:
    assert Counter(row.id for row in rows) == Counter(IDS)
    assert all(row.capability for row in rows)


def test_a_state_is_one_of_three_words(rows: list[Row]) -> None:
    assert {row.id: row.state for row in rows if row.state not in STATES} == {}


def test_what_is_said_to_work_names_its_command_and_its_test(rows: list[Row]) -> None:
    shown = [row for row in rows if row.state != "not yet"]
    assert [row.id for row in shown if not (row.command.startswith("`") and _TEST.search(row.test))] == []


def test_every_test_that_is_named_exists(rows: list[Row], repository_root: Path) -> None:
    missing = []
    for row in rows:
        for path, name in _TEST.findall(row.test):
            file = repository_root / path
            if not file.is_file() or (name and f"def {name}(" not in file.read_text()):
                missing.append(f"{row.id}: {path}::{name}")
        if row.test and not _TEST.search(row.test):
            missing.append(f"{row.id}: {row.test} (write `tests/….py` or `tests/….py::test_name`)")
    assert missing == []
