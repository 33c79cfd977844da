"""The SQL store passes the contracts of the storage ports, opened again for every call as a second process would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from customhouse.store import open_store as open_sql
from customhouse.store.database import Store
from customhouse.testing.storage_contracts import (
    DecisionLogContract,
    LedgerStoreContract,
    MeasurementsContract,
    ReleaseLogContract,
    StateStoreContract,
)


@pytest.fixture
def open_database(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    opened: list[Store] = []

    def opens() -> Store:
        opened.append(open_sql(tmp_path / "state" / "customhouse.db"))
        return opened[-1]

    yield opens
    for store in opened:
        store.close()


class TestSqlLedgerStore(LedgerStoreContract):
    @pytest.fixture
    def open_store(self, open_database: Callable[[], Store]) -> Callable[[], object]:
        return lambda: open_database().ledger


class TestSqlStateStore(StateStoreContract):
    @pytest.fixture
    def open_store(self, open_database: Callable[[], Store]) -> Callable[[], object]:
        return lambda: open_database().state


class TestSqlDecisionLog(DecisionLogContract):
    @pytest.fixture
    def open_store(self, open_database: Callable[[], Store]) -> Callable[[], object]:
        return lambda: open_database().decisions


class TestSqlReleaseLog(ReleaseLogContract):
    @pytest.fixture
    def open_store(self, open_database: Callable[[], Store]) -> Callable[[], object]:
        return lambda: open_database().releases


class TestSqlMeasurements(MeasurementsContract):
    @pytest.fixture
    def open_store(self, open_database: Callable[[], Store]) -> Callable[[], object]:
        return lambda: open_database().measurements
