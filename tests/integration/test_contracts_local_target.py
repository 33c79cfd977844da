"""The local target passes the contract of Target, with a real model served by real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from execution_world import World

from customhouse.core.ports import Target
from customhouse.testing.target_contracts import TargetContract


class TestLocalTarget(TargetContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        world = World(tmp_path)
        world.target.start()
        yield world
        world.target.stop()

    @pytest.fixture
    def target(self, world: World) -> Target:
        return world.target

    @pytest.fixture
    def manifest(self, world: World) -> Any:
        return world.manifest("v1")

    @pytest.fixture
    def altered(self, world: World) -> Any:
        return world.manifest("v2")

    @pytest.fixture
    def refused(self, world: World) -> Any:
        manifest = world.manifest("v1", name="other")
        manifest["spec"]["predictor"]["model"]["modelFormat"]["name"] = "no-such-format"
        return manifest
