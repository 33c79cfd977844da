"""The ledger: durable, proved, idempotent; every change of its past is found and placed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.core.errors import ConfigError, StateError, TamperError, UsageError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.store import Store, open_store
from customhouse.trust.keys import Algorithm, PrivateKey, generate
from customhouse.trust.ledger import MAX_ENTRY_BYTES, Ledger, parse_entry
from customhouse.trust.merkle import leaf_hash, verify_consistency, verify_inclusion
from customhouse.trust.note import open_checkpoint, sign_checkpoint

ORIGIN = "example.com/customhouse"
AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
KEY = generate()


def entries(start: int, end: int) -> list[Entry]:
    return [Entry(f"key-{n}", "usage", AT, "ada", ("model:x",), {"n": n}) for n in range(start, end)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "state.db") as opened:
        yield opened


def ledger(store: Store, key: PrivateKey = KEY) -> Ledger:
    return Ledger(store.ledger, key, ORIGIN, FixedClock(AT))


class PlainStore:
    """A LedgerStore with the port's five methods and no more."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self.keys: dict[str, int] = {}
        self.saved: list[Checkpoint] = []

    def append(self, entries: Sequence[Entry]) -> Sequence[int]:
        for item in entries:
            if item.key not in self.keys:
                self.keys[item.key] = len(self.rows)
                self.rows.append(item.to_bytes())
        return [self.keys[item.key] for item in entries]

    def size(self) -> int:
        return len(self.rows)

    def read(self, start: int, end: int) -> Sequence[bytes]:
        return self.rows[start:end]

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        if self.saved and checkpoint.size < self.saved[-1].size:
            raise StateError("smaller")
        self.saved.append(checkpoint)

    def latest_checkpoint(self) -> Checkpoint | None:
        return self.saved[-1] if self.saved else None


def test_a_receipt_proves_its_entry_under_a_signed_checkpoint(store: Store) -> None:
    book = ledger(store)
    book.append(entries(0, 5))
    receipts = book.append(entries(5, 300))
    assert [receipt.index for receipt in receipts] == list(range(5, 300))
    for receipt, item in zip(receipts, entries(5, 300), strict=True):
        signed = open_checkpoint(receipt.checkpoint.note, ORIGIN, KEY.public)
        assert receipt.leaf_hash == leaf_hash(item.to_bytes())
        verify_inclusion(receipt.index, signed.size, receipt.leaf_hash, receipt.proof, signed.root)


def test_the_same_key_is_written_once_and_keeps_its_receipt(store: Store) -> None:
    book = ledger(store)
    first = book.append(entries(0, 3))
    again = book.append([replace(entries(1, 2)[0], actor="somebody else"), *entries(3, 4)])
    assert [receipt.index for receipt in again] == [1, 3]
    assert again[0].leaf_hash == first[1].leaf_hash
    assert [item.actor for _, item in book.entries()] == ["ada"] * 4


def test_entries_come_back_as_they_were_written(store: Store) -> None:
    book = ledger(store)
    book.append(entries(0, 10))
    assert list(book.entries(3, 6)) == list(enumerate(entries(3, 6), 3))
    receipt, item = book.proved(4)
    assert (receipt.index, item) == (4, entries(4, 5)[0])


def test_each_checkpoint_is_a_beginning_of_the_next(store: Store) -> None:
    book = ledger(store)
    for end in (1, 2, 7, 64, 65):
        book.append(entries(0, end))
    saved = store.ledger.checkpoints()
    assert [checkpoint.size for checkpoint in saved] == [1, 2, 7, 64, 65]
    for old, new in pairwise(saved):
        verify_consistency(old.size, new.size, book.consistency(old.size, new.size), old.root, new.root)


def test_a_restart_goes_on_where_it_was(store: Store) -> None:
    ledger(store).append(entries(0, 10))
    (receipt,) = ledger(store).append(entries(10, 11))
    assert receipt.index == 10
    report = ledger(store).verify()
    assert (report.ok, report.size, report.sealed, report.checkpoints) == (True, 11, 11, 2)
    assert report.to_json()["problems"] == []


def test_a_crash_between_entries_and_checkpoint_leaves_a_ledger_that_verifies(store: Store) -> None:
    ledger(store).append(entries(0, 4))
    store.ledger.append(entries(4, 6))  # the process died before it signed
    report = ledger(store).verify()
    assert (report.ok, report.size, report.sealed) == (True, 6, 4)
    assert ledger(store).checkpoint().size == 6


def test_two_writers_share_one_store(store: Store) -> None:
    one, two = ledger(store), ledger(store)
    for n in range(0, 20, 2):
        one.append(entries(n, n + 1))
        two.append(entries(n + 1, n + 2))
    assert [item.key for _, item in one.entries()] == [f"key-{n}" for n in range(20)]
    assert two.verify().ok


def test_threads_append_without_gaps(store: Store) -> None:
    book, other = ledger(store), ledger(store)
    workers = [
        threading.Thread(target=lambda b=b, s=s: [b.append(entries(n, n + 1)) for n in range(s, s + 15)])
        for b, s in ((book, 0), (book, 100), (other, 200), (other, 300))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    report = ledger(store).verify()
    assert (report.ok, report.size, report.sealed) == (True, 60, 60)


def test_a_reader_proves_and_cannot_write(store: Store) -> None:
    reader = Ledger(store.ledger, KEY.public, ORIGIN, FixedClock(AT))
    with pytest.raises(StateError, match="no checkpoint yet"):
        reader.checkpoint()
    ledger(store).append(entries(0, 3))
    assert reader.prove(2).checkpoint.size == 3
    with pytest.raises(UsageError, match="for reading"):
        reader.append(entries(3, 4))
    with pytest.raises(UsageError, match="no entry 3"):
        reader.prove(3)
    for old, new in ((0, 3), (2, 1), (1, 4)):
        with pytest.raises(UsageError, match="no proof from size"):
            reader.consistency(old, new)


def test_an_entry_that_no_tile_can_hold_is_refused_and_nothing_is_stored(store: Store) -> None:
    big = Entry("big", "usage", AT, "ada", (), {"x": "x" * MAX_ENTRY_BYTES})
    with pytest.raises(UsageError, match="more than 65535"):
        ledger(store).append([*entries(0, 1), big])
    assert store.ledger.size() == 0


def test_an_empty_ledger_verifies_and_signs_its_emptiness(store: Store) -> None:
    book = ledger(store)
    assert book.append([]) == ()
    assert book.checkpoint().size == 0
    assert book.verify().ok


def test_a_ledger_needs_ed25519_and_a_plain_origin(store: Store) -> None:
    with pytest.raises(UsageError, match="Ed25519"):
        ledger(store, generate(Algorithm.ECDSA_P256))
    with pytest.raises(ConfigError, match="cannot name a key"):
        Ledger(store.ledger, KEY, "two words", FixedClock(AT))


def test_it_runs_over_a_store_with_the_ports_methods_only() -> None:
    plain = PlainStore()
    book = Ledger(plain, KEY, ORIGIN, FixedClock(AT))
    for end in (3, 9):
        book.append(entries(0, end))
    assert book.verify().ok
    plain.rows[5] = entries(50, 51)[0].to_bytes()
    report = Ledger(plain, KEY, ORIGIN, FixedClock(AT)).verify()
    assert [str(problem) for problem in report.problems] == [
        "checkpoint 9: the entries lead to another root: something in entries 0 to 8 was changed"
    ]


def change(store: Store, statement: str, *values: object) -> None:
    store.close()
    with sqlite3.connect(store.place) as connection:
        connection.execute(statement, values)
    connection.close()


def test_one_changed_byte_of_any_entry_is_found_and_placed(store: Store) -> None:
    ledger(store).append(entries(0, 40))
    for index in (0, 17, 39):
        (data,) = store.ledger.read(index, index + 1)
        for position in range(0, len(data), 11):
            changed = bytearray(data)
            changed[position] ^= 1
            change(store, "UPDATE ledger_entries SET data = ? WHERE position = ?", bytes(changed), index)
            report = ledger(store).verify()
            assert report.problems[0].index == index
            assert not report.ok
        change(store, "UPDATE ledger_entries SET data = ? WHERE position = ?", data, index)
    assert ledger(store).verify().ok


def test_an_entry_rewritten_with_its_recorded_hash_is_found_by_the_checkpoint(store: Store) -> None:
    book = ledger(store)
    book.append(entries(0, 5))
    book.append(entries(5, 20))
    data = replace(entries(7, 8)[0], actor="mallory").to_bytes()
    change(store, "UPDATE ledger_entries SET data = ?, leaf_hash = ? WHERE position = 7", data, leaf_hash(data))
    report = ledger(store).verify()
    assert [str(problem) for problem in report.problems] == [
        "checkpoint 20: the entries lead to another root: something in entries 5 to 19 was changed"
    ]
    with pytest.raises(TamperError, match="do not lead to the last signed checkpoint"):
        ledger(store).append(entries(20, 21))
    assert store.ledger.size() == 20


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM ledger_entries WHERE position = 6", "entry 6 is missing"),
        ("DELETE FROM ledger_entries WHERE position >= 8", "entries that it covers are missing"),
        ("UPDATE ledger_checkpoints SET note = replace(note, 'a', 'b') WHERE size = 10", "checkpoint 10"),
        ("UPDATE ledger_checkpoints SET root = zeroblob(32) WHERE size = 4", "not what its note says"),
        ("UPDATE ledger_entries SET leaf_hash = zeroblob(32) WHERE position = 3", "not those that were appended"),
    ],
)
def test_other_damage_is_found_too(store: Store, statement: str, said: str) -> None:
    book = ledger(store)
    book.append(entries(0, 4))
    book.append(entries(4, 10))
    change(store, statement)
    report = ledger(store).verify()
    assert any(said in str(problem) for problem in report.problems), report.problems


def test_two_entries_that_changed_places_are_found(store: Store) -> None:
    ledger(store).append(entries(0, 6))
    one, two = store.ledger.read(1, 3)
    change(store, "UPDATE ledger_entries SET data = ? WHERE position = 1", two)
    change(store, "UPDATE ledger_entries SET data = ? WHERE position = 2", one)
    assert {problem.index for problem in ledger(store).verify().problems} >= {1, 2}


def test_a_checkpoint_of_another_key_stops_everything(store: Store) -> None:
    ledger(store).append(entries(0, 3))
    with pytest.raises(TamperError, match="no signature of a known key"):
        ledger(store, generate()).append(entries(3, 4))
    assert not ledger(store, generate()).verify().ok


def test_a_changed_entry_is_not_proved(store: Store) -> None:
    book = ledger(store)
    book.append(entries(0, 3))
    change(store, "UPDATE ledger_entries SET data = ? WHERE position = 1", entries(9, 10)[0].to_bytes())
    with pytest.raises(TamperError, match="not what was appended"):
        book.prove(1)


def test_a_key_that_is_there_twice_is_found() -> None:
    plain = PlainStore()
    data = entries(0, 1)[0].to_bytes()
    plain.rows = [data, data]
    report = Ledger(plain, KEY, ORIGIN, FixedClock(AT)).verify()
    assert [problem.index for problem in report.problems] == [1]


def test_a_ledger_that_shrinks_under_a_running_process_stops_it() -> None:
    plain = PlainStore()
    book = Ledger(plain, KEY, ORIGIN, FixedClock(AT))
    book.append(entries(0, 5))
    del plain.rows[3:]
    with pytest.raises(TamperError, match="shrank from 5 to 3"):
        book.append([])


def test_a_lost_race_for_the_checkpoint_is_run_again() -> None:
    class Racing(PlainStore):
        raced = False

        def save_checkpoint(self, checkpoint: Checkpoint) -> None:
            if not self.raced:
                self.raced = True
                self.append(entries(50, 51))
                rows = [leaf_hash(row) for row in self.rows]
                from customhouse.trust.merkle import root

                super().save_checkpoint(sign_checkpoint(ORIGIN, len(rows), root(rows), KEY))
            super().save_checkpoint(checkpoint)

    plain = Racing()
    (receipt,) = Ledger(plain, KEY, ORIGIN, FixedClock(AT)).append(entries(0, 1))
    assert (receipt.index, receipt.checkpoint.size) == (0, 2)


def test_an_append_whose_checkpoint_failed_is_completed_by_trying_again() -> None:
    class Failing(PlainStore):
        full = True

        def save_checkpoint(self, checkpoint: Checkpoint) -> None:
            if self.full:
                raise StateError("the disk is full")
            super().save_checkpoint(checkpoint)

    plain = Failing()
    book = Ledger(plain, KEY, ORIGIN, FixedClock(AT))
    with pytest.raises(StateError, match="disk is full"):
        book.append(entries(0, 2))
    plain.full = False
    assert [receipt.index for receipt in book.append(entries(0, 3))] == [0, 1, 2]
    assert book.verify().ok


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"key":"k"}',
        b"\xff",
        b"[" * 100_000,
        entries(0, 1)[0].to_bytes().replace(b'"n":0', b'"n": 0'),
        entries(0, 1)[0].to_bytes().replace(b"12:00:00Z", b"12:00:00+00:00"),
        entries(0, 1)[0].to_bytes().replace(b'["model:x"]', b"7"),
    ],
)
def test_what_is_not_exactly_an_entry_is_refused(data: bytes) -> None:
    with pytest.raises(TamperError):
        parse_entry(data)


def test_progress_is_told(store: Store) -> None:
    book = ledger(store)
    book.append(entries(0, 3))
    told: list[tuple[str, int, int]] = []
    book.verify(lambda what, done, whole: told.append((what, done, whole)))
    assert told == [("entries", 0, 3), ("entries", 3, 3)]
