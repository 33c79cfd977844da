"""A backup is of one moment, proves itself, and never turns a ledger back unseen."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.app import wiring
from customhouse.app.exclusive import Exclusive
from customhouse.app.ledger_backup import make_backup, restore_backup
from customhouse.app.ledger_verifying import verify_ledger
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError, StateError, TamperError, UsageError
from customhouse.core.ledger import Entry

CLOCK = SystemClock()


def entries(start: int, end: int, word: str = "key") -> list[Entry]:
    return [Entry(f"{word}-{n}", "usage", CLOCK.now(), "ada", (), {"n": n}) for n in range(start, end)]


def grow(settings: Settings, start: int, end: int, word: str = "key") -> None:
    with wiring.store(settings) as opened:
        wiring.ledger(settings, opened, write=True).append(entries(start, end, word))


def size(settings: Settings) -> int:
    with wiring.store(settings) as opened:
        return opened.ledger.size()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with 600 entries, made once and copied for each test."""
    made = Settings(tmp_path_factory.mktemp("begun") / "state", quiet=True)
    grow(made, 0, 600)
    with wiring.store(made) as opened:
        opened.state.put({"a/b": {"c": [1, 2]}})
    return made.state


@pytest.fixture
def settings(begun: Path, tmp_path: Path) -> Settings:
    return Settings(Path(shutil.copytree(begun, tmp_path / "state")), quiet=True)


def test_a_backup_restores_everything_on_another_machine(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "backups" / "one"
    made = make_backup(settings, file)
    assert (made.size, file.stat().st_mode & 0o777) == (600, 0o600)
    elsewhere = Settings(tmp_path / "elsewhere", quiet=True)
    with pytest.raises(UsageError, match="does not know the ledger's key"):
        restore_backup(elsewhere, file, "", older=False)
    found, kept = restore_backup(elsewhere, file, wiring.ledger_key(settings).vkey, older=False)
    assert (found.size, found.root, kept) == (600, made.root, "")
    assert verify_ledger(elsewhere).ok
    with wiring.store(elsewhere) as opened:
        assert opened.state.get("a/b") == {"c": [1, 2]}
    # The private key is no part of it: the restored ledger goes on once that is brought.
    assert [path.name for path in elsewhere.keys.iterdir()] == ["ledger.pub"]
    shutil.copytree(settings.keys, elsewhere.keys, dirs_exist_ok=True)
    grow(elsewhere, 600, 601)
    assert verify_ledger(elsewhere).ok
    with pytest.raises(UsageError, match="there already"):
        make_backup(settings, file)


def test_it_is_of_one_moment_while_others_append(settings: Settings, tmp_path: Path) -> None:
    stop, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            with wiring.store(settings) as opened:
                ledger, number = wiring.ledger(settings, opened, write=True), 1000
                while not stop.is_set() and number < 2000:
                    ledger.append(entries(number, number + 7, "busy"))
                    number += 7
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failed.append(error)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        made = [make_backup(settings, tmp_path / f"backup-{number}") for number in range(2)]
    finally:
        stop.set()
        writer.join(60)
    assert failed == []
    assert [item.size for item in made] == sorted(item.size for item in made)
    assert all((item.size - 600) % 7 == 0 for item in made)  # each batch is in it as a whole or not at all
    for item in made[::-1]:
        restore_backup(settings, Path(item.file), "", older=True)
        assert (size(settings), verify_ledger(settings).ok) == (item.size, True)


def test_an_older_backup_is_refused_unless_that_is_meant(settings: Settings, tmp_path: Path) -> None:
    make_backup(settings, tmp_path / "old")
    grow(settings, 600, 650)
    make_backup(settings, tmp_path / "new")
    with pytest.raises(UsageError, match="has 600 entries, and a checkpoint of 650 is known here"):
        restore_backup(settings, tmp_path / "old", "", older=False)
    assert size(settings) == 650
    assert verify_ledger(settings).ok  # remembers that it came to 650
    (settings.state / wiring.STORE_FILE).unlink()  # the store is lost, what was verified last is not
    with pytest.raises(UsageError, match="a checkpoint of 650 is known here"):
        restore_backup(settings, tmp_path / "old", "", older=False)
    found, _ = restore_backup(settings, tmp_path / "old", "", older=True)
    assert (found.size, size(settings)) == (600, 600)
    found, kept = restore_backup(settings, tmp_path / "new", "", older=False)
    assert size(settings) == 650
    assert Path(kept).name == "state.db.before-restore-1"
    assert not [path for path in settings.state.iterdir() if path.name.startswith(".")]


def test_a_backup_of_another_past_is_refused(settings: Settings, tmp_path: Path) -> None:
    other = Settings(tmp_path / "other", quiet=True)
    shutil.copytree(settings.keys, other.keys)
    grow(other, 0, 700, "fork")
    make_backup(other, tmp_path / "fork")
    with pytest.raises(TamperError, match="another tree of 600 entries"):
        restore_backup(settings, tmp_path / "fork", "", older=True)
    stranger = Settings(tmp_path / "stranger", quiet=True)
    grow(stranger, 0, 700)
    make_backup(stranger, tmp_path / "stranger.backup")
    with pytest.raises(TamperError, match="no signature of a known key"):
        restore_backup(settings, tmp_path / "stranger.backup", "", older=True)
    assert (size(settings), verify_ledger(settings).ok) == (600, True)


def test_a_changed_byte_anywhere_and_a_cut_are_found(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    make_backup(settings, file)
    genuine = file.read_bytes()
    seed = random.Random(20260301)
    header = genuine.index(b"SQLite format 3")
    places = [*range(0, header, 37), *(seed.randrange(header, len(genuine)) for _ in range(25)), len(genuine) - 1]
    for position in places:
        changed = bytearray(genuine)
        changed[position] ^= 1 << seed.randrange(8)
        file.write_bytes(changed)
        with pytest.raises((TamperError, UsageError)):
            restore_backup(settings, file, "", older=True)
    for broken in (genuine[:-1], genuine + b"\0", genuine[: header + 100], genuine[:header], genuine[:30], b""):
        file.write_bytes(broken)
        with pytest.raises((TamperError, UsageError)):
            restore_backup(settings, file, "", older=True)
    with pytest.raises(UsageError, match="cannot be read"):
        restore_backup(settings, tmp_path / "nowhere", "", older=True)
    assert (size(settings), verify_ledger(settings).ok) == (600, True)
    assert not [path for path in settings.state.iterdir() if "restore" in path.name]


def test_a_database_with_a_changed_entry_is_not_backed_up_as_if_it_were_whole(
    settings: Settings, tmp_path: Path
) -> None:
    with sqlite3.connect(settings.state / wiring.STORE_FILE) as raw:
        raw.execute("UPDATE ledger_entries SET data = X'00' WHERE position = 7")
    raw.close()
    with pytest.raises(TamperError, match="entry 7"):
        make_backup(settings, tmp_path / "backup")
    assert not list(tmp_path.glob("*backup*"))


def test_a_damaged_store_is_replaced_and_kept(settings: Settings, tmp_path: Path) -> None:
    make_backup(settings, tmp_path / "backup")
    place = settings.state / wiring.STORE_FILE
    place.write_bytes(b"no database at all" * 1000)
    _, kept = restore_backup(settings, tmp_path / "backup", "", older=False)
    assert verify_ledger(settings).ok
    assert Path(kept).read_bytes().startswith(b"no database at all")


def test_nothing_is_replaced_under_a_process_that_works_on_it(settings: Settings, tmp_path: Path) -> None:
    make_backup(settings, tmp_path / "backup")
    lock = Exclusive(settings.state)
    try:
        with pytest.raises(StateError, match="another control plane"):
            restore_backup(settings, tmp_path / "backup", "", older=True)
    finally:
        lock.release()
    # A webhook, say: it holds no such lock, but it has the database open.
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT max(position) FROM ledger_entries')"
    )
    script += "; print('open', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(settings.state / wiring.STORE_FILE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", "")},
    )
    try:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(CustomhouseError, match="another process holds the database"):
            restore_backup(settings, tmp_path / "backup", "", older=True)
    finally:
        other.communicate()
    restore_backup(settings, tmp_path / "backup", "", older=True)
    assert verify_ledger(settings).ok
