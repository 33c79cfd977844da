"""The fakes of customhouse.testing pass the contracts that the real adapters pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from customhouse.core.ports import DecisionLog, LedgerStore, Measurements, ReleaseLog, StateStore
from customhouse.testing.memory import (
    MemoryDecisionLog,
    MemoryLedgerStore,
    MemoryMeasurements,
    MemoryReleaseLog,
    MemoryStateStore,
)
from customhouse.testing.storage_contracts import (
    DecisionLogContract,
    LedgerStoreContract,
    MeasurementsContract,
    ReleaseLogContract,
    StateStoreContract,
)


class TestMemoryLedgerStore(LedgerStoreContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], LedgerStore]:
        store = MemoryLedgerStore()
        return lambda: store


class TestMemoryStateStore(StateStoreContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], StateStore]:
        store = MemoryStateStore()
        return lambda: store


class TestMemoryDecisionLog(DecisionLogContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], DecisionLog]:
        store = MemoryDecisionLog()
        return lambda: store


class TestMemoryReleaseLog(ReleaseLogContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], ReleaseLog]:
        store = MemoryReleaseLog()
        return lambda: store


class TestMemoryMeasurements(MeasurementsContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], Measurements]:
        store = MemoryMeasurements()
        return lambda: store
