"""Opening a store: what is made, what is refused, and what the reader is told to do."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from customhouse.core.errors import StateError
from customhouse.core.ledger import Entry
from customhouse.store import open_store
from customhouse.store.database import Store
from customhouse.store.migrations import config, upgrade
from customhouse.store.schema import HEAD, metadata

AT = datetime(2026, 3, 1, tzinfo=UTC)


def entries(start: int, end: int, size: int = 1) -> list[Entry]:
    return [Entry(f"key-{n}", "usage", AT, "ada", (), {"x": "x" * size}) for n in range(start, end)]


def database(store: Store) -> sqlite3.Connection:
    return sqlite3.connect(store.place)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state" / "customhouse.db"


def test_a_new_store_is_the_owners_alone(place: Path) -> None:
    with open_store(place):
        pass
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_what_was_written_is_there_after_opening_again(place: Path) -> None:
    with open_store(place) as store:
        store.state.put({"a": {"b": 1}})
    with open_store(str(place)) as store:
        assert store.state.get("a") == {"b": 1}


def test_a_url_opens_the_same_store(place: Path) -> None:
    with open_store(place) as store:
        store.state.put({"a": 1})
    with open_store(f"sqlite:///{place}") as store:
        assert store.state.get("a") == 1


def test_the_version_in_the_code_is_the_newest_migration(place: Path) -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]
    with open_store(place) as store:
        assert database(store).execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]


def test_the_migrations_make_exactly_the_tables_of_the_code(place: Path, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    with open_store(place) as store:
        made = _tables(database(store))
    other = tmp_path / "migrated.db"
    engine = create_engine(f"sqlite:///{other}")
    with engine.begin() as connection:
        upgrade(connection)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []
    engine.dispose()
    assert len(made) > 12
    assert made == _tables(sqlite3.connect(other))


def _tables(opened: sqlite3.Connection) -> dict[str, list[str]]:
    """What each table and index is made of, in whatever order its constraints are written."""
    rows = opened.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: sorted(part.strip(" \t,") for part in sql.split("\n")) for name, sql in rows}


def test_several_processes_may_create_it_at_once(place: Path) -> None:
    import alembic.command  # noqa: F401 - so that the children race for the lock and not for the import

    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                open_store(place).close()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]


def test_opening_an_existing_store_does_not_import_alembic(place: Path) -> None:
    with open_store(place):
        pass
    script = (
        "import sys; import customhouse.store as s; assert 'sqlalchemy' not in sys.modules;"
        "s.open_store(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(place)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_ledger_and_decisions_are_on_disk_before_a_call_returns(place: Path) -> None:
    with open_store(place) as store:
        for port, expected in ((store.ledger, 2), (store.measurements, 1)):  # FULL, NORMAL
            with port._database.read() as connection:  # type: ignore[attr-defined]
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == expected
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
                assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def newer(path: Path) -> None:
    with open_store(path) as store:
        connection = database(store)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (id INTEGER)")
    connection.commit()
    connection.close()


def text(path: Path) -> None:
    path.write_text("this is no database, it is a text file of some length\n" * 100)


def damaged(path: Path) -> None:
    with open_store(path) as store:
        store.ledger.append(entries(0, 200, 500))
    data = bytearray(path.read_bytes())
    data[4096 : len(data) - 4096] = b"\xaa" * (len(data) - 8192)
    path.write_bytes(bytes(data))


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "said", "hint"),
    [
        (newer, "schema 9999, newer than this program", "newer Customhouse"),
        (foreign, "belongs to another program", "another --state"),
        (text, "not a Customhouse database", "another --state"),
        (damaged, "damaged", "backup"),
        (folder, "cannot be opened", "--state"),
    ],
)
def test_what_cannot_be_used_is_said_with_what_to_do(
    tmp_path: Path, spoil: Callable[[Path], None], said: str, hint: str
) -> None:
    path = tmp_path / "state.db"
    spoil(path)
    with pytest.raises(StateError, match=said) as error, open_store(path) as store:
        store.ledger.read(0, 200)
    assert str(path) in error.value.where
    assert hint in error.value.hint


def test_another_programs_database_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    foreign(path)
    with pytest.raises(StateError):
        open_store(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("bookmarks",)]
    connection.close()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match="cannot be opened"):
        open_store(tmp_path / "file" / "state.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_read_only_folder_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StateError, match="cannot be opened"):
        open_store(tmp_path / "state.db")


def test_a_database_that_cannot_be_written_is_said(place: Path) -> None:
    with open_store(place) as store:

        def read_only(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA query_only=ON")

        event.listen(store.ledger._database.engine, "connect", read_only)
        store.ledger._database.engine.dispose()
        with pytest.raises(StateError, match="cannot be written") as error:
            store.ledger.append(entries(0, 1))
        assert "owner and mode" in error.value.hint


def test_a_full_disk_is_said_and_nothing_is_half_written(place: Path) -> None:
    with open_store(place) as store:
        store.ledger.append(entries(0, 1))

        def small(connection: sqlite3.Connection, _record: object) -> None:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count={pages + 2}")

        event.listen(store.ledger._database.engine, "connect", small)
        store.ledger._database.engine.dispose()
        with pytest.raises(StateError, match="disk is full") as error:
            store.ledger.append(entries(1, 50, 4000))
        assert "free some space" in error.value.hint
        assert store.ledger.size() == 1
        assert list(store.ledger.append(entries(1, 2))) == [1]


def test_a_database_that_another_process_holds_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("customhouse.store.engine.BUSY_TIMEOUT_MS", 50)
    with open_store(place) as store:
        other = sqlite3.connect(place, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="another process holds") as error:
            store.ledger.append(entries(0, 1))
        assert "wait" in error.value.hint
        assert store.ledger.size() == 0  # readers are not held up
        other.execute("ROLLBACK")
        other.close()
        assert list(store.ledger.append(entries(0, 1))) == [0]


def test_a_missing_driver_and_a_broken_url_are_said() -> None:
    for url in ("postgresql+nodriver://localhost/customhouse", "postgresql://u:secret@localhost/x", "nonsense://"):
        with pytest.raises(StateError) as error:
            open_store(url)
        assert "secret" not in str(error.value)


def test_a_closed_stores_files_are_whole_without_the_log(place: Path) -> None:
    with open_store(place) as store:
        store.ledger.append(entries(0, 10))
    assert [path.name for path in place.parent.iterdir()] == [place.name]
