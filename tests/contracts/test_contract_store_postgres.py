"""The SQL store passes the same contracts over a real PostgreSQL server, started for this file alone.

The driver (psycopg 3) is no dependency: without it these tests are skipped and say so.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.core.errors import StateError
from customhouse.core.ledger import Entry
from customhouse.store import open_store as open_sql
from customhouse.store.database import Store
from customhouse.testing.storage_contracts import (
    DecisionLogContract,
    LedgerStoreContract,
    MeasurementsContract,
    ReleaseLogContract,
    StateStoreContract,
)
from customhouse.trust.keys import generate
from customhouse.trust.ledger import Ledger

psycopg = pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed: pip install 'psycopg[binary]'")
pytestmark = pytest.mark.part("initdb", "pg_ctl", "postgres")


def _run(arguments: list[str], user: str | None) -> None:
    done = subprocess.run(
        arguments, check=False, user=user, extra_groups=[] if user else None, cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr or done.stdout


@pytest.fixture(scope="module")
def server(find_part: Callable[[str], Path]) -> Iterator[str]:
    """The folder of the server's socket. PostgreSQL refuses to run as root, so then it runs as nobody."""
    folder = Path(tempfile.mkdtemp(prefix="customhouse-postgres-"))
    user = "nobody" if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    control = [str(find_part("pg_ctl")), "-D", str(folder / "data"), "-w", "-t", "30"]
    options = f"-c listen_addresses='' -c fsync=off -k {folder}"
    try:
        _run([str(find_part("initdb")), "-D", str(folder / "data"), "-U", "ch", "-A", "trust", "--no-sync"], user)
        _run([*control, "-o", options, "-l", str(folder / "log"), "start"], user)
        try:
            yield str(folder)
        finally:
            _run([*control, "-m", "immediate", "stop"], user)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def open_database(server: str) -> Iterator[Callable[[], Store]]:
    with psycopg.connect(f"host={server} user=ch dbname=postgres", autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    opened: list[Store] = []

    def opens() -> Store:
        opened.append(open_sql(f"postgresql+psycopg://ch@/postgres?host={server}"))
        return opened[-1]

    yield opens
    for store in opened:
        store.close()


class TestPostgresLedgerStore(LedgerStoreContract):
    @pytest.fixture
    def open_store(self, open_database: Callable[[], Store]) -> Callable[[], object]:
        return lambda: open_database().ledger


class TestPostgresStateStore(StateStoreContract):
    @pytest.fixture
    def open_store(self, open_database: Callable[[], Store]) -> Callable[[], object]:
        return lambda: open_database().state


class TestPostgresDecisionLog(DecisionLogContract):
    @pytest.fixture
    def open_store(self, open_database: Callable[[], Store]) -> Callable[[], object]:
        return lambda: open_database().decisions


class TestPostgresReleaseLog(ReleaseLogContract):
    @pytest.fixture
    def open_store(self, open_database: Callable[[], Store]) -> Callable[[], object]:
        return lambda: open_database().releases


class TestPostgresMeasurements(MeasurementsContract):
    @pytest.fixture
    def open_store(self, open_database: Callable[[], Store]) -> Callable[[], object]:
        return lambda: open_database().measurements


def test_several_writers_share_one_ledger_without_a_gap(open_database: Callable[[], Store]) -> None:
    key, clock = generate(), SystemClock()
    books = [Ledger(open_database().ledger, key, "o.example", clock) for _ in range(2)]
    failed: list[Exception] = []

    def write(book: Ledger, worker: int) -> None:
        try:
            for number in range(15):
                book.append([Entry(f"{worker}-{number}", "usage", clock.now(), "ada", ())])
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            failed.append(error)

    threads = [threading.Thread(target=write, args=(books[worker % 2], worker)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    report: Any = books[0].verify()
    assert (report.ok, report.size, report.sealed) == (True, 60, 60)


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StateError) as error:
        open_sql(f"postgresql+psycopg://ch:secret@/postgres?host={tmp_path}")
    assert "secret" not in str(error.value)
    assert "out of reach" in error.value.message
