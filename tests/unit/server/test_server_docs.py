"""docs/reference/api.md says what the server answers, path by path and field by field."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from server_boards import StillBoard
from starlette.routing import Mount, Route

from customhouse.app.overview import (
    BudgetRow,
    Costs,
    DecisionRow,
    EventRow,
    FindingRow,
    Overview,
    ProposalRow,
    ReleaseRow,
)
from customhouse.server.application import application
from customhouse.server.streams import BEAT_S, MOST


@pytest.fixture(scope="module")
def page(repository_root: Path) -> str:
    return (repository_root / "docs" / "reference" / "api.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    found = re.search(rf"^##+ {title}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def names(text: str) -> set[str]:
    """The names in the first column of a section's table."""
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_path_is_documented(page: str) -> None:
    routes = application(StillBoard()).routes
    paths = {route.path for route in routes if isinstance(route, Route | Mount)}
    listed = re.findall(r"^\| `(/[^`]*)` \|", page, re.MULTILINE)
    assert paths == set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("title", "row"),
    [
        ("Overview", Overview),
        ("Releases", ReleaseRow),
        ("Decisions", DecisionRow),
        ("Costs", Costs),
        ("Events", EventRow),
        ("Proposals", ProposalRow),
    ],
)
def test_every_field_is_documented_and_no_other(page: str, title: str, row: Any) -> None:
    assert is_dataclass(row)
    assert names(section(page, title)) == {field.name for field in fields(row)}


def test_the_rows_within_rows_are_documented(page: str) -> None:
    for title, row in (("Decisions", FindingRow), ("Costs", BudgetRow)):
        assert {field.name for field in fields(row)} <= set(re.findall(r"`([a-z_]+)`", section(page, title)))


def test_the_bounds_of_the_event_stream_are_those_of_the_code(page: str) -> None:
    text = section(page, "Event stream")
    assert f"At most {MOST} streams" in text
    assert BEAT_S == 5.0
    assert "every five seconds" in text
