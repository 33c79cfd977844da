"""The Target port, one body over the local target and the in-memory fake: they answer a composer alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.core.plan import Action, ActionKind, HealthStatus
from customhouse.core.ports import Target
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget
from customhouse.testing.memory import MemoryTarget


@pytest.fixture(params=["local", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    if request.param == "memory":
        yield MemoryTarget(refused=frozenset({"StatefulSet"}))
        return
    local = LocalTarget(LocalSettings(state=tmp_path), SystemClock())
    local.start()
    yield local
    local.stop()


def _config(name: str, value: str = "1") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": value}}


def _do(kind: ActionKind, manifest: dict[str, Any]) -> Action:
    return Action(kind, ResourceRef.of(manifest), None if kind is ActionKind.DELETE else manifest)


def test_what_was_applied_is_read_back_as_declared(target: Target) -> None:
    a, b = _config("a"), _config("b")
    results = target.apply([_do(ActionKind.CREATE, a), _do(ActionKind.CREATE, b)])
    assert [(result.ok, result.changed) for result in results] == [(True, True)] * 2
    found = target.read([ResourceRef.of(b), ResourceRef.of(a), ResourceRef.of(_config("none"))])
    assert {ref.name: live.manifest for ref, live in found.items()} == {"a": a, "b": b}
    assert all(live.health.status is HealthStatus.HEALTHY for live in found.values())


def test_applying_twice_changes_nothing(target: Target) -> None:
    target.apply([_do(ActionKind.CREATE, _config("a"))])
    assert not target.apply([_do(ActionKind.PATCH, _config("a"))])[0].changed
    assert target.apply([_do(ActionKind.PATCH, _config("a", "2"))])[0].changed


def test_a_refused_action_does_not_stop_the_others(target: Target) -> None:
    refused = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s", "namespace": "ns"}}
    actions = [_do(ActionKind.CREATE, refused), _do(ActionKind.CREATE, _config("a"))]
    results = target.apply(actions)
    assert [result.ok for result in results] == [False, True]
    assert [result.action for result in results] == actions
    assert results[0].message
    assert [ref.name for ref in target.managed()] == ["a"]


def test_deleting_is_idempotent_and_leaves_the_rest(target: Target) -> None:
    target.apply([_do(ActionKind.CREATE, _config("a")), _do(ActionKind.CREATE, _config("b"))])
    assert [target.apply([_do(ActionKind.DELETE, _config("a"))])[0].changed for _ in range(2)] == [True, False]
    assert [ref.name for ref in target.managed()] == ["b"]
    assert target.read([ResourceRef.of(_config("a"))]) == {}
