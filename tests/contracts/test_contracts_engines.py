"""Both Rego engines pass one contract: the embedded one, and Open Policy Agent itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from customhouse.core.ports import PolicyEngine
from customhouse.policy.adapters.guarded import GuardedEngine
from customhouse.policy.adapters.opa import OpaEngine
from customhouse.policy.adapters.opa_server import OpaServer
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.testing.engine_contracts import PolicyEngineContract


class TestEmbeddedEngine(PolicyEngineContract):
    @pytest.fixture
    def engine(self) -> PolicyEngine:
        return RegorusEngine()


class TestEmbeddedEngineInItsProcess(PolicyEngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[PolicyEngine]:
        made = GuardedEngine()
        yield made
        made.close()


@pytest.mark.part("opa")
class TestOpenPolicyAgent(PolicyEngineContract):
    @pytest.fixture
    def engine(self, find_part: Callable[[str], Path]) -> PolicyEngine:
        return OpaEngine(str(find_part("opa")))


@pytest.mark.part("opa")
class TestOpenPolicyAgentAsAServer(PolicyEngineContract):
    @pytest.fixture
    def engine(self, find_part: Callable[[str], Path]) -> Iterator[PolicyEngine]:
        made = OpaServer(str(find_part("opa")))
        yield made
        made.close()
