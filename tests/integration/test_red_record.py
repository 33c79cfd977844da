"""What an adversary with the state directory, or with a kind of his own, must not be able to make true."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from up_world import UpWorld, world

from customhouse._kit.clock import SystemClock
from customhouse.core.errors import TamperError
from customhouse.core.plan import Action, ActionKind
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget
from customhouse.store import open_store

__all__ = ["world"]


def test_an_edited_decision_is_not_shown_as_the_one_that_was_made(world: UpWorld) -> None:
    world.start()
    world.deployed(world.serve("v1"))
    world.end()
    path = world.state / "state.db"
    with open_store(path) as store:
        digest = str(store.decisions.recent()[0]["digest"])
        assert store.decisions.find(digest)[0]["digest"] == digest
    with sqlite3.connect(path) as connection:
        connection.execute("update decisions set body = replace(body, '\"allow\"', '\"deny\"')")
        connection.execute("update decisions set body = replace(body, '\"warn\"', '\"deny\"')")
    with open_store(path) as store, pytest.raises(TamperError, match="decision"):
        store.decisions.find(digest)
    assert "decision" in world.cli("explain", digest[7:19]).stderr


def test_a_service_of_another_group_cannot_take_the_address_of_one_that_serves(tmp_path: Path) -> None:
    manifest: dict[str, Any] = {
        "apiVersion": "serving.kubeflow.org/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "score", "namespace": "shop"},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/v1"}}},
    }
    target = LocalTarget(LocalSettings(state=tmp_path), SystemClock())
    target.start()
    try:
        (result,) = target.apply([Action(ActionKind.CREATE, ResourceRef.of(manifest), manifest)])
    finally:
        target.stop()
    assert not result.ok
    assert "serving.kubeflow.org/v1beta1" in result.message
