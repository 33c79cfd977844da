"""What a reference may be beyond the names of the graph, decided without a ledger."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from customhouse.app.custody_names import Meant, meant
from customhouse.core.errors import UsageError
from customhouse.core.ledger import Entry
from customhouse.trust.custody import Node, entry, graph
from customhouse.trust.custody_trace import GraphNames

AT = datetime(2026, 3, 1, tzinfo=UTC)
COMMIT = "12345678" * 5
ENTRIES = [
    entry("decision", "a", AT, "ada", nodes=[Node("commit", COMMIT)]),
    entry("deployment", "b", AT, "ada", nodes=[Node("deployment", "team/7@x", aliases=("7",))]),
    entry("note", "c", AT, "ada"),
]


class Touched:
    """A repository in which one file was changed by the one commit."""

    def touching(self, path: str) -> list[str]:
        return [COMMIT] if path == "models/a.yaml" else []


def asked(reference: str) -> Meant:
    def at(index: int) -> Entry | None:
        return ENTRIES[index] if 0 <= index < len(ENTRIES) else None

    return meant(reference, GraphNames(graph(enumerate(ENTRIES))), at, lambda: [Touched()])


@pytest.mark.parametrize(
    ("reference", "node"),
    [
        ("0", f"commit:{COMMIT}"),
        ("#0", f"commit:{COMMIT}"),
        ("entry:1", "deployment:team/7@x"),
        # A number that something is called, and one that begins a commit and is no entry.
        ("7", "deployment:team/7@x"),
        ("12345678", f"commit:{COMMIT}"),
        ("models/a.yaml", f"commit:{COMMIT}"),
    ],
)
def test_numbers_and_files_mean_what_there_is(reference: str, node: str) -> None:
    assert asked(reference) == Meant((node,))


@pytest.mark.parametrize("reference", ["3", "#3", "entry:99999999999999", "2", "models/b.yaml", "x#rows=1", "#rows=1"])
def test_what_there_is_not_is_said(reference: str) -> None:
    with pytest.raises(UsageError):
        asked(reference)
