"""The ledger as a static folder: laid out as C2SP tlog-tiles says, and no byte of it can change unseen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.core.errors import StateError, TamperError
from customhouse.core.ledger import Entry
from customhouse.store import Store, open_store
from customhouse.trust.adapters.tiles import encode_number, publish, tiles_of, verify
from customhouse.trust.keys import generate
from customhouse.trust.ledger import Ledger, LedgerReport
from customhouse.trust.merkle import leaf_hash, node_hash

ORIGIN = "example.com/customhouse"
AT = datetime(2026, 3, 1, tzinfo=UTC)
KEY = generate()


def entries(end: int) -> list[Entry]:
    return [Entry(f"key-{n}", "usage", AT, "ada", (), {"n": n}) for n in range(end)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "state.db") as opened:
        yield opened


def written(store: Store, folder: Path, count: int) -> Path:
    Ledger(store.ledger, KEY, ORIGIN, FixedClock(AT)).append(entries(count))
    publish(store.ledger, folder, ORIGIN, KEY.public)
    return folder


def report(folder: Path) -> LedgerReport:
    return verify(folder, ORIGIN, KEY.public, FixedClock(AT))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("number", "path"), [(0, "000"), (67, "067"), (1234067, "x001/x234/067"), (1000, "x001/000")])
def test_numbers_are_written_in_groups_of_three(number: int, path: str) -> None:
    assert encode_number(number) == path


def test_the_tiles_of_70000_leaves_are_those_of_the_specification() -> None:
    # 70,000 = 273 × 256 + 112; 273 = 256 + 17; 1.
    tiles = [tile for tile in tiles_of(70_000) if tile.level is not None]
    partial = [tile.path for tile in tiles if tile.width < 256]
    assert partial == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert len(tiles) == 274 + 2 + 1


def test_a_folder_holds_tiles_entries_and_the_checkpoint(store: Store, tmp_path: Path) -> None:
    folder = written(store, tmp_path / "tiles", 300)
    assert files(folder) == [
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
    ]
    first = entries(1)[0].to_bytes()
    assert (folder / "tile/entries/000").read_bytes().startswith(len(first).to_bytes(2, "big") + first)
    level0 = (folder / "tile/0/000").read_bytes()
    assert level0[:32] == leaf_hash(first)
    hashes = [level0[i : i + 32] for i in range(0, len(level0), 32)]
    while len(hashes) > 1:
        hashes = [node_hash(a, b) for a, b in zip(hashes[::2], hashes[1::2], strict=True)]
    assert (folder / "tile/1/000.p/1").read_bytes() == hashes[0]


def test_a_folder_grows_and_verifies_at_every_size(store: Store, tmp_path: Path) -> None:
    for count in (0, 1, 255, 256, 257, 600):
        folder = written(store, tmp_path / "tiles", count)
        made = report(folder)
        assert (made.problems, made.size) == ((), count)
    assert not [name for name in files(folder) if ".p/1" in name and "tile/0" in name]


def test_one_flipped_byte_anywhere_is_found_in_its_file(store: Store, tmp_path: Path) -> None:
    folder = written(store, tmp_path / "tiles", 260)
    for name in files(folder):
        path = folder / name
        genuine = path.read_bytes()
        step = max(1, len(genuine) // 25)
        for position in [*range(0, len(genuine), step), len(genuine) - 1]:
            changed = bytearray(genuine)
            changed[position] ^= 0x20
            path.write_bytes(bytes(changed))
            made = report(folder)
            assert not made.ok, (name, position)
            assert any(name in str(problem) for problem in made.problems), (name, position, made.problems)
        path.write_bytes(genuine)
    assert report(folder).ok


def test_a_flipped_byte_in_an_entry_names_the_entry(store: Store, tmp_path: Path) -> None:
    folder = written(store, tmp_path / "tiles", 20)
    path = folder / "tile/entries/000.p/20"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"n":13', b'"n":19'))
    made = report(folder)
    assert (made.problems[0].index, made.problems[0].where) == (13, "tile/entries/000.p/20")


def test_a_flipped_byte_in_a_tile_blames_the_tile(store: Store, tmp_path: Path) -> None:
    folder = written(store, tmp_path / "tiles", 20)
    path = folder / "tile/0/000.p/20"
    data = bytearray(path.read_bytes())
    data[3 * 32 + 5] ^= 1
    path.write_bytes(bytes(data))
    (problem,) = report(folder).problems
    assert (problem.where, problem.index) == ("tile/0/000.p/20", 3)


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/000", "tile/1/000.p/1", "tile/entries/001.p/44"])
def test_a_missing_a_cut_and_a_longer_file_are_found(store: Store, tmp_path: Path, name: str) -> None:
    folder = written(store, tmp_path / "tiles", 300)
    path = folder / name
    genuine = path.read_bytes()
    for content in (genuine[:-1], genuine + b"\0", b""):
        path.write_bytes(content)
        assert any(name in str(problem) for problem in report(folder).problems)
    path.unlink()
    assert any(name in str(problem) for problem in report(folder).problems)


def test_extra_files_and_links_are_found(store: Store, tmp_path: Path) -> None:
    folder = written(store, tmp_path / "tiles", 3)
    (folder / "tile/0/note.txt").write_text("x")
    assert [problem.where for problem in report(folder).problems] == ["tile/0/note.txt"]
    (folder / "tile/0/note.txt").unlink()
    outside = tmp_path / "outside"
    (folder / "checkpoint").rename(outside)
    os.symlink(outside, folder / "checkpoint")
    assert not report(folder).ok


def test_a_folder_of_another_ledger_or_key_is_refused(store: Store, tmp_path: Path) -> None:
    folder = written(store, tmp_path / "tiles", 3)
    assert not verify(folder, "other.example", KEY.public, FixedClock(AT)).ok
    assert not verify(folder, ORIGIN, generate().public, FixedClock(AT)).ok


def test_an_old_checkpoint_put_back_does_not_pass(store: Store, tmp_path: Path) -> None:
    folder = written(store, tmp_path / "tiles", 3)
    old = (folder / "checkpoint").read_bytes()
    written(store, folder, 8)
    (folder / "checkpoint").write_bytes(old)
    assert not report(folder).ok


def test_nothing_is_published_without_or_against_a_checkpoint(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no checkpoint yet"):
        publish(store.ledger, tmp_path / "tiles", ORIGIN, KEY.public)
    written(store, tmp_path / "tiles", 3)
    store.close()
    import sqlite3

    connection = sqlite3.connect(store.place)
    connection.execute("UPDATE ledger_entries SET data = x'00' WHERE position = 1")
    connection.commit()
    connection.close()
    with pytest.raises(TamperError, match="do not lead"):
        publish(store.ledger, tmp_path / "other", ORIGIN, KEY.public)
    assert not (tmp_path / "other").exists()


def test_a_folder_that_cannot_be_written_says_so(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match="cannot write the tiles"):
        written(store, tmp_path / "file", 3)
