"""The ledger in words: what is alike is one line, nothing that happened is lost under charges."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from customhouse._kit.clock import FixedClock
from customhouse._kit.money import Money
from customhouse.app import journal
from customhouse.app.happenings import SHOWN, Happenings
from customhouse.core.cost import Charge
from customhouse.core.ledger import Entry
from customhouse.core.resource import ResourceRef
from customhouse.testing.memory import MemoryLedgerStore
from customhouse.trust.keys import generate
from customhouse.trust.ledger import Ledger

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
REF = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "shop", "score")


class Reads(Ledger):
    """A ledger that says how many entries were read."""

    read = 0

    def entries(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, Entry]]:
        for found in super().entries(start, end):
            self.read += 1
            yield found


@pytest.fixture
def ledger() -> Reads:
    return Reads(MemoryLedgerStore(), generate(), "customhouse.dev/test", FixedClock(AT))


def charge(second: int, pico: int = 2_500_000) -> Entry:
    start = AT + timedelta(seconds=second)
    row = Charge(REF, "sha256:" + "ab" * 32, "", start, start + timedelta(seconds=1), "compute", Money(pico, "USD"))
    (only,) = journal.charged([row], start, start + timedelta(seconds=1))
    return only


def evidence(kind: str, model: str = "0123456789ab", state: str = "verified") -> Entry:
    return Entry(f"e:{kind}:{model}", "evidence", AT, "customhouse", (), {"text": f"{kind} of {model}, {state}"})


def note(number: int) -> Entry:
    return Entry(f"n:{number}", "decision", AT, "Ada <ada@example.com>", (), {"text": f"allow {number}"})


def test_charges_in_a_row_are_one_line_with_their_sum(ledger: Reads) -> None:
    ledger.append([note(1), *(charge(second) for second in range(4)), note(2), charge(9)])
    rows = Happenings(ledger).newest(7)
    assert [(row.kind, row.first, row.index, row.count) for row in rows] == [
        ("charge", 6, 6, 1),
        ("decision", 5, 5, 1),
        ("charge", 1, 4, 4),
        ("decision", 0, 0, 1),
    ]
    assert rows[2].text == "0.00001 USD for 4 intervals"
    assert rows[1].actor == "Ada"


def test_the_evidence_of_one_model_is_one_line_unless_it_differs(ledger: Reads) -> None:
    ledger.append(
        [
            evidence("scan"),
            evidence("bom"),
            evidence("signature", state="not verified: no key"),
            evidence("scan", "f" * 12),
        ]
    )
    assert [row.text for row in reversed(Happenings(ledger).newest(4))] == [
        "scan, bom of 0123456789ab, verified",
        "signature of 0123456789ab, not verified: no key",
        "scan of ffffffffffff, verified",
    ]


def test_each_entry_is_read_once_and_a_run_goes_on_where_it_was(ledger: Reads) -> None:
    happenings = Happenings(ledger)
    for second in range(50):
        ledger.append([charge(second)])
        rows = happenings.newest(second + 1)
    assert ledger.read == 50
    assert [(row.first, row.index, row.count) for row in rows] == [(0, 49, 50)]
    assert happenings.newest(50) == rows
    assert ledger.read == 50


def test_the_newest_lines_stay(ledger: Reads) -> None:
    ledger.append([note(number) for number in range(SHOWN + 5)])
    rows = Happenings(ledger).newest(SHOWN + 5)
    assert [row.index for row in rows] == list(range(SHOWN + 4, 4, -1))


def test_the_earliest_interval_that_was_charged_is_told_once(ledger: Reads) -> None:
    happenings = Happenings(ledger)
    ledger.append([charge(5), charge(1), charge(6)])
    happenings.newest(3)
    assert happenings.charged() == AT + timedelta(seconds=1)
    assert happenings.charged() is None


def test_a_ledger_of_nothing_shows_nothing(ledger: Reads) -> None:
    assert Happenings(ledger).newest(0) == ()


def test_what_was_used_does_not_part_the_charges_that_stand_in_a_row(ledger: Reads) -> None:
    used = [Entry(f"u:{second}", "usage", AT, "customhouse", (), {"text": "used"}) for second in range(3)]
    ledger.append([entry for second in range(3) for entry in (used[second], charge(second))])
    (row,) = Happenings(ledger).newest(6)
    assert (row.kind, row.first, row.index, row.count) == ("charge", 1, 5, 3)
