"""The SQL store passes the same contracts over a real PostgreSQL server, started for this file alone.

The driver is pg8000, the extra `postgres`.
"""

from __future__ import annotations

import json
import os
import pwd
import random
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pg8000.native
import pytest
from alembic import command
from sqlalchemy import create_engine, make_url, text

from customhouse._kit.clock import SystemClock
from customhouse._kit.hashtree import leaf_hash
from customhouse.core.errors import StateError
from customhouse.core.ledger import Entry
from customhouse.store import open_store as open_sql
from customhouse.store.backup import copy_in, copy_out
from customhouse.store.database import Store
from customhouse.store.engine import _encrypted
from customhouse.store.migrations import config
from customhouse.testing.storage_contracts import (
    DecisionLogContract,
    LedgerStoreContract,
    MeasurementsContract,
    ReleaseLogContract,
    StateStoreContract,
)
from customhouse.trust.keys import generate
from customhouse.trust.ledger import Ledger
from customhouse.trust.merkle import MerkleTree
from killed_writer import acknowledged_before_the_kill

pytestmark = pytest.mark.part("initdb", "pg_ctl", "postgres")


def address(server: str) -> str:
    return f"postgresql+pg8000://ch@/postgres?unix_sock={server}/.s.PGSQL.5432"


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
    control = [str(find_part("pg_ctl").resolve()), "-D", str(folder / "data"), "-w", "-t", "120"]
    options = f"-c listen_addresses='' -c fsync=off -k {folder}"
    try:
        _run(
            [str(find_part("initdb").resolve()), "-D", str(folder / "data"), "-U", "ch", "-A", "trust", "--no-sync"],
            user,
        )
        _run([*control, "-o", options, "-l", str(folder / "log"), "start"], user)
        try:
            yield str(folder)
        finally:
            _run([*control, "-m", "immediate", "stop"], user)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def open_database(server: str) -> Iterator[Callable[[], Store]]:
    connection = pg8000.native.Connection("ch", database="postgres", unix_sock=f"{server}/.s.PGSQL.5432")
    connection.run("DROP SCHEMA public CASCADE")
    connection.run("CREATE SCHEMA public")
    connection.close()
    opened: list[Store] = []

    def opens() -> Store:
        opened.append(open_sql(address(server)))
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


def test_a_kill_at_any_moment_leaves_no_gap_and_loses_nothing_that_was_acknowledged(
    open_database: Callable[[], Store], server: str
) -> None:
    store, seed = open_database(), random.Random(20260301)
    for _ in range(4):
        known = acknowledged_before_the_kill(lambda told: write_until_killed(address(server), told), seed)
        size = store.ledger.size()
        assert size >= known
        assert size % 7 == 0  # each batch is there as a whole or not at all
        assert [json.loads(item)["key"] for item in store.ledger.read(0, size)] == [f"k{n}" for n in range(size)]
    # What the killed left behind is gone on with: the tree is whole.
    book = Ledger(store.ledger, generate(), "o.example", SystemClock())
    book.append([Entry("last", "usage", SystemClock().now(), "ada", ())])
    assert book.verify().ok


def write_until_killed(url: str, told: int) -> None:
    """What the child does: append batches of seven and tell each size once it was acknowledged."""
    store, now = open_sql(url), SystemClock().now()
    number = store.ledger.size()
    while True:
        batch = [Entry(f"k{n}", "usage", now, "ada", ()) for n in range(number, number + 7)]
        number = store.ledger.append(batch)[-1] + 1
        os.write(told, f"{number}\n".encode())


def test_a_database_of_the_first_schema_is_migrated_with_its_tree(
    open_database: Callable[[], Store], server: str
) -> None:
    data = [b"%d" % n for n in range(600)]
    engine = create_engine(address(server))
    with engine.begin() as connection:
        command.upgrade(config(connection), "0001")
        rows = [{"p": n, "k": str(n), "l": leaf_hash(item), "d": item} for n, item in enumerate(data)]
        statement = "INSERT INTO ledger_entries (position, key, leaf_hash, data) VALUES (:p, :k, :l, :d)"
        connection.execute(text(statement), rows)
    engine.dispose()
    tree = MerkleTree(map(leaf_hash, data))
    book = Ledger(open_database().ledger, generate(), "o.example", SystemClock())
    assert book.checkpoint().root == tree.root()
    assert book.root(599) == tree.root(599)
    assert book.consistency(100, 600) == tree.consistency_proof(100, 600)


def test_a_batch_of_thousands_is_one_statement(open_database: Callable[[], Store]) -> None:
    store = open_database()
    now = SystemClock().now()
    many = [Entry(f"key-{n}", "usage", now, "ada", (), {"n": n}) for n in range(3000)]
    assert list(store.ledger.append(many[:10])) == list(range(10))
    assert list(store.ledger.append(many)) == list(range(3000))
    assert list(store.ledger.read(2990, 3000)) == [item.to_bytes() for item in many[2990:]]


def test_a_copy_of_one_moment_goes_into_a_file_and_back(open_database: Callable[[], Store], tmp_path: Path) -> None:
    store, clock = open_database(), SystemClock()
    book = Ledger(store.ledger, generate(), "o.example", clock)
    book.append([Entry(f"key-{n}", "usage", clock.now(), "ada", (), {"n": n}) for n in range(600)])
    store.state.put({"a": [1, "ü"]})
    copy_out(store, tmp_path / "copy.db")
    with open_sql(tmp_path / "copy.db") as copied:
        again = Ledger(copied.ledger, book._public, "o.example", clock)
        assert again.verify().ok
        assert again.checkpoint() == book.checkpoint()
        assert copied.state.get("a") == [1, "ü"]
    book.append([Entry("later", "usage", clock.now(), "ada", ())])
    store.state.put({"b": 1})
    copy_in(tmp_path / "copy.db", store)
    with open_database() as reopened:
        assert (reopened.ledger.size(), reopened.state.get("b")) == (600, None)
        assert Ledger(reopened.ledger, book._public, "o.example", clock).verify().ok


def test_beyond_this_machine_the_connection_is_encrypted() -> None:
    url, arguments = _encrypted(make_url("postgresql+pg8000://ch@db.example/ch"))
    assert arguments["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert arguments["ssl_context"].check_hostname
    for given in ("ch@127.0.0.1/ch", "ch@db.example/ch?sslmode=disable", "ch@/ch?unix_sock=/x"):
        url, arguments = _encrypted(make_url(f"postgresql+pg8000://{given}"))
        assert arguments == {}
        assert "sslmode" not in url.query
    with pytest.raises(StateError, match="verify-full"):
        open_sql("postgresql+pg8000://ch@db.example/ch?sslmode=prefer")


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StateError) as error:
        open_sql(f"postgresql+pg8000://ch:secret@/postgres?unix_sock={tmp_path}/.s.PGSQL.5432")
    assert "secret" not in str(error.value)
    assert "out of reach" in error.value.message
