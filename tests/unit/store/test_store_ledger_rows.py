"""The ledger's rows: no gap after a kill at any moment, none between threads."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from customhouse.core.errors import StateError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.store import Store, open_store
from customhouse.store.ledger_scattered import ScatteredReader
from killed_writer import acknowledged_before_the_kill

AT = datetime(2026, 3, 1, tzinfo=UTC)


def entries(start: int, end: int) -> list[Entry]:
    return [Entry(f"key-{n}", "usage", AT, "ada", (), {}) for n in range(start, end)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "state.db") as opened:
        yield opened


def write_until_killed(path: Path, told: int) -> None:
    """What the child process does: append batches of seven and tell each size once it was acknowledged."""
    store = open_store(path)
    number = store.ledger.size()
    while True:
        number = store.ledger.append(entries(number, number + 7))[-1] + 1
        os.write(told, f"{number}\n".encode())


def test_a_kill_at_any_moment_leaves_no_gap_and_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    open_store(path).close()
    seed = random.Random(20260301)
    for _ in range(12):
        known = acknowledged_before_the_kill(lambda told: write_until_killed(path, told), seed)
        with open_store(path) as store:
            size = store.ledger.size()
            assert size >= known
            assert size % 7 == 0  # each batch is there as a whole or not at all
            assert list(store.ledger.read(0, size)) == [item.to_bytes() for item in entries(0, size)]


def test_threads_get_positions_of_their_own(store: Store) -> None:
    positions: list[int] = []

    def work(start: int) -> None:
        for number in range(start, start + 20):
            positions.extend(store.ledger.append(entries(number, number + 1)))

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(positions) == list(range(80))


def test_a_large_batch_with_known_keys_in_it_is_stored_in_one_go(store: Store) -> None:
    store.ledger.append(entries(0, 600))
    assert list(store.ledger.append(entries(0, 1500))) == list(range(1500))
    assert store.ledger.size() == 1500


def test_a_missing_row_is_named_and_not_skipped(store: Store) -> None:
    store.ledger.append(entries(0, 5))
    with pytest.raises(StateError, match="entry 5 is missing"):
        store.ledger.read(3, 7)


def test_checkpoints_are_kept_in_order_and_cannot_contradict(store: Store) -> None:
    store.ledger.append(entries(0, 5))
    one, two = (Checkpoint("o", size, bytes([size]) * 32, f"note {size}") for size in (2, 5))
    store.ledger.save_checkpoint(one)
    store.ledger.save_checkpoint(two)
    store.ledger.save_checkpoint(two)
    assert list(store.ledger.checkpoints()) == [one, two]
    with pytest.raises(StateError, match="two roots for 5"):
        store.ledger.save_checkpoint(Checkpoint("o", 5, b"\0" * 32, "other"))
    with pytest.raises(StateError, match="not there"):
        store.ledger.save_checkpoint(Checkpoint("o", 6, b"\0" * 32, "other"))


def test_hashes_never_seem_to_be_missing_beside_a_writer(store: Store) -> None:
    reader, ended = ScatteredReader(store.database, store.ledger), threading.Event()

    def write() -> None:
        with open_store(Path(store.place)) as other:
            for number in range(40):
                other.ledger.append(entries(number, number + 1))
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not ended.is_set():
        assert len(reader.hashes(0, 0, 256)) % 32 == 0
    thread.join()
    assert len(reader.hashes(0, 0, 256)) == 32 * 40
