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
    MemoryTarget,
)
from customhouse.testing.storage_contracts import (
    DecisionLogContract,
    LedgerStoreContract,
    MeasurementsContract,
    ReleaseLogContract,
    StateStoreContract,
)
from customhouse.testing.target_contracts import TargetContract


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


class TestMemoryTarget(TargetContract):
    @pytest.fixture
    def target(self) -> MemoryTarget:
        return MemoryTarget(refused=frozenset({"Secret"}))

    @pytest.fixture
    def manifest(self) -> dict[str, object]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "spec": {"n": 1}}

    @pytest.fixture
    def altered(self, manifest: dict[str, object]) -> dict[str, object]:
        return {**manifest, "spec": {"n": 2}}

    @pytest.fixture
    def refused(self) -> dict[str, object]:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "spec": {}}
