"""The tree that is stored beside the entries: made by the migration, kept while appending, read in O(log n)."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event

from customhouse._kit.clock import FixedClock
from customhouse._kit.hashtree import leaf_hash
from customhouse.core.errors import StateError, TamperError, UsageError
from customhouse.core.ledger import Entry
from customhouse.store import Store, open_store
from customhouse.store.migrations import config
from customhouse.trust.keys import generate
from customhouse.trust.ledger import Ledger, Verified
from customhouse.trust.merkle import MerkleTree
from customhouse.trust.note import sign_checkpoint

AT = datetime(2026, 3, 1, tzinfo=UTC)
KEY = generate()
ORIGIN = "o.example"


def entries(start: int, end: int) -> list[Entry]:
    return [Entry(f"key-{n}", "usage", AT, "ada", (), {}) for n in range(start, end)]


def book(store: Store) -> Ledger:
    return Ledger(store.ledger, KEY, ORIGIN, FixedClock(AT))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "state.db") as opened:
        yield opened


def plain_tree(start: int, end: int) -> MerkleTree:
    return MerkleTree(leaf_hash(item.to_bytes()) for item in entries(start, end))


def change(store: Store, statement: str, *values: object) -> None:
    store.close()
    with sqlite3.connect(store.place) as connection:
        assert connection.execute(statement, values).rowcount
    connection.close()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 70_000])
def test_a_state_of_the_first_schema_is_migrated_with_its_tree(tmp_path: Path, size: int) -> None:
    from alembic import command

    place = tmp_path / "state.db"
    engine = create_engine(f"sqlite:///{place}")
    with engine.begin() as connection:
        command.upgrade(config(connection), "0001")
    engine.dispose()
    # Many real entries would take seconds to write out, and the tree asks only for bytes.
    data = [b"%d" % n for n in range(size)] if size > 1000 else [item.to_bytes() for item in entries(0, size)]
    tree = MerkleTree(map(leaf_hash, data))
    rows = [(n, f"key-{n}", leaf_hash(item), item) for n, item in enumerate(data)]
    signed = sign_checkpoint(ORIGIN, size, tree.root(), KEY)
    with sqlite3.connect(place) as raw:
        raw.executemany("INSERT INTO ledger_entries VALUES (?, ?, ?, ?)", rows)
        values = (size, ORIGIN, signed.root, signed.note)
        raw.execute("INSERT INTO ledger_checkpoints (size, origin, root, note) VALUES (?, ?, ?, ?)", values)
    raw.close()
    with open_store(place) as store:
        ledger = book(store)
        assert ledger.checkpoint() == signed
        (receipt,) = ledger.append(entries(size, size + 1))
        assert receipt.index == size
        tree.append(leaf_hash(entries(size, size + 1)[0].to_bytes()))
        assert receipt.checkpoint.root == tree.root()
        assert receipt.proof == tree.inclusion_proof(size)
        assert size > 1000 or ledger.verify().ok


def test_the_stored_tree_is_that_of_the_entries_at_every_size(store: Store) -> None:
    ledger, tree, size = book(store), MerkleTree(), 0
    for step in (1, 254, 1, 1, 300, 7000, 2, 1000):
        grown = entries(size, size + step)
        receipts = ledger.append(grown)
        tree.extend(leaf_hash(item.to_bytes()) for item in grown)
        size += step
        assert receipts[0].checkpoint.root == tree.root()
        for index in {0, size // 2, size - 1}:
            assert ledger.prove(index).proof == tree.inclusion_proof(index)
        for old in {1, size // 3 + 1, size}:
            assert ledger.consistency(old, size) == tree.consistency_proof(old, size)
        assert book(store).root(size) == tree.root()  # as a process that opens it now sees it
    assert ledger.verify().ok


def test_opening_proving_and_appending_read_a_few_rows_however_many_there_are(store: Store) -> None:
    book(store).append(entries(0, 20_000))
    statements: list[str] = []
    engine = store.ledger._database.engine
    event.listen(engine, "before_cursor_execute", lambda _c, _cur, text, *_: statements.append(text))
    rows: list[int] = []
    original = store.ledger._column

    def counted(*args: object) -> Iterator[bytes]:
        for item in original(*args):  # type: ignore[arg-type]
            rows.append(1)
            yield item

    store.ledger._column = counted  # type: ignore[method-assign, assignment]
    ledger = book(store)
    ledger.checkpoint()
    ledger.prove(12_345)
    ledger.append(entries(20_000, 20_001))[0]
    assert len(rows) < 256 * 8
    assert len(statements) < 60


def test_another_process_may_have_grown_it_in_between(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as one, open_store(tmp_path / "s.db") as two:
        for start in range(0, 2000, 200):
            book(one if start % 400 else two).append(entries(start, start + 200))
        assert book(one).checkpoint().root == plain_tree(0, 2000).root()
        assert book(two).verify().ok


def test_threads_that_wait_are_written_together_and_each_gets_its_own_receipts(store: Store) -> None:
    ledger, found, failed = book(store), {}, []
    ledger.append(entries(0, 1))
    ready = threading.Barrier(9)

    def work(worker: int) -> None:
        try:
            ready.wait(60)
            for n in range(5):
                name = f"{worker}-{n}"
                (receipt,) = ledger.append([Entry(name, "usage", AT, "ada", (), {})])
                found[name] = receipt
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            failed.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    with ledger._lock:  # as a slow writer would: everybody waits, and the first to go on takes all of them along
        ready.wait(60)
        waiting = threading.Event()
        while len(ledger._queue) < 8 and not waiting.wait(0.01):
            pass
    for thread in threads:
        thread.join(300)
    assert failed == []
    assert sorted(receipt.index for receipt in found.values()) == list(range(1, 41))
    assert all(dict(ledger.entries())[receipt.index].key == name for name, receipt in found.items())
    assert any(checkpoint.size == 9 for checkpoint in store.ledger.checkpoints())  # eight in one transaction
    assert ledger.verify().ok


def test_what_cannot_be_signed_is_not_stored(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = book(store)
    ledger.append(entries(0, 3))

    def fails(*_: object) -> object:
        raise StateError("no key")

    monkeypatch.setattr("customhouse.trust.ledger.sign_checkpoint", fails)
    with pytest.raises(StateError, match="no key"):
        ledger.append(entries(3, 6))
    monkeypatch.undo()
    assert store.ledger.size() == 3
    assert [receipt.index for receipt in ledger.append(entries(3, 6))] == [3, 4, 5]
    assert ledger.verify().ok


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE ledger_tiles SET hashes = CAST(zeroblob(32) || substr(hashes, 33) AS BLOB) WHERE level = 1",
            "tile/1/0: hash 0",
        ),
        ("UPDATE ledger_tiles SET hashes = substr(hashes, 1, 64) WHERE level = 1", "tile/1/0: hash 2"),
        ("DELETE FROM ledger_tiles WHERE level = 1", "tile/1/0: hash 0"),
        ("UPDATE ledger_entries SET key = 'other' WHERE position = 7", "entry 7: the key of its row is 'other'"),
    ],
)
def test_a_stored_tree_that_was_changed_is_found_and_proves_nothing(store: Store, statement: str, said: str) -> None:
    book(store).append(entries(0, 1000))
    change(store, statement)
    report = book(store).verify()
    assert any(str(problem).startswith(said) for problem in report.problems), report.problems
    if "tiles" in statement:
        with pytest.raises((TamperError, StateError)):
            book(store).prove(900)
        with pytest.raises((TamperError, StateError)):
            book(store).append(entries(1000, 1001))
        assert store.ledger.size() == 1000


COLUMNS = {
    "ledger_entries": ("key", "leaf_hash", "data", "position"),
    "ledger_checkpoints": ("size", "origin", "root", "note"),
    "ledger_tiles": ("level", "number", "hashes"),
}


@pytest.mark.parametrize("value", ["'abc'", "X'00ff'", "7", "-1", "1.5", "9223372036854775807"])
def test_a_value_of_another_type_is_damage_and_no_bug(tmp_path: Path, value: str) -> None:
    """SQLite keeps what it is given, whatever the column: a 7 read as bytes is seven zero bytes."""
    genuine, place = tmp_path / "genuine.db", tmp_path / "damaged.db"
    with open_store(genuine) as made:
        book(made).append(entries(0, 300))
        book(made).append(entries(300, 301))
    for table, columns in COLUMNS.items():
        for column in columns:
            shutil.copy(genuine, place)
            with sqlite3.connect(place) as raw:
                try:
                    raw.execute(f"UPDATE {table} SET {column} = {value} WHERE rowid = (SELECT max(rowid) FROM {table})")
                except sqlite3.Error:
                    continue  # what SQLite itself refuses
                finally:
                    raw.commit()
            raw.close()
            with open_store(place) as damaged:
                with suppress(StateError):
                    assert not book(damaged).verify().ok, (table, column)
                with suppress(TamperError, StateError, UsageError):
                    book(damaged).prove(299)
                with suppress(TamperError, StateError):
                    book(damaged).append(entries(1000, 1001))


def test_a_check_goes_on_where_the_last_one_ended(store: Store) -> None:
    ledger = book(store)
    ledger.append(entries(0, 700))
    before = ledger.verify()
    ledger.append(entries(700, 900))
    report = ledger.verify(since=Verified(before.size, before.root))
    assert (report.ok, report.looked_from, report.size, report.root) == (True, 700, 900, ledger.root(900))
    assert "0 to 699 were verified before" in report.notes[0]
    assert report.to_json()["looked_from"] == 700
    change(store, "UPDATE ledger_entries SET data = X'00' WHERE position = 800")
    report = book(store).verify(since=Verified(before.size, before.root))
    assert report.problems[0].index == 800


def test_a_history_that_was_changed_since_the_last_check_is_told(store: Store) -> None:
    ledger = book(store)
    ledger.append(entries(0, 700))
    report = ledger.verify(since=Verified(600, b"\1" * 32))
    assert "history was changed" in str(report.problems[0])
    assert report.looked_from == 0
    report = ledger.verify(since=Verified(701, ledger.root(700)))
    assert "701 entries were verified before and 700 are there" in str(report.problems[0])
