"""A target and a state store in memory, strict about what they are asked, for the tests of reconciling."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from customhouse.control.render import render
from customhouse.core.plan import Action, ActionKind, ActionResult, Health, HealthStatus, LiveObject
from customhouse.core.resource import Declaration, Manifest, ResourceRef


class Killed(BaseException):
    """The process ends here."""


class MemoryTarget:
    """Objects by reference. `refuse` are names whose actions fail; `kill_after` ends the process after N actions."""

    name = "local"

    def __init__(self) -> None:
        self.objects: dict[ResourceRef, Manifest] = {}
        self.unhealthy: set[str] = set()
        self.refuse: set[str] = set()
        self.kill_after: int | None = None
        self.log: list[str] = []

    def read(self, refs: Sequence[ResourceRef]) -> Mapping[ResourceRef, LiveObject]:
        return {
            ref: LiveObject(
                ref,
                self.objects[ref],
                Health(HealthStatus.PROGRESSING if ref.name in self.unhealthy else HealthStatus.HEALTHY),
            )
            for ref in refs
            if ref in self.objects
        }

    def managed(self) -> Sequence[ResourceRef]:
        return tuple(self.objects)

    def apply(self, actions: Sequence[Action]) -> Sequence[ActionResult]:
        return [self._one(action) for action in actions]

    def _one(self, action: Action) -> ActionResult:
        assert action.kind is not ActionKind.WAIT
        if self.kill_after is not None:
            if self.kill_after == 0:
                raise Killed
            self.kill_after -= 1
        if action.ref.name in self.refuse:
            return ActionResult(action, ok=False, changed=False, message="refused")
        self.log.append(f"{action.kind} {action.ref.name}")
        if action.kind is ActionKind.DELETE:
            self.objects.pop(action.ref, None)
        else:
            assert action.desired is not None
            self.objects[action.ref] = copy.deepcopy(dict(action.desired))
        return ActionResult(action, ok=True, changed=True)


class MemoryStore:
    """JSON values by key; counts transactions and can end the process before or after one."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.writes = 0
        self.kill_on_write: int | None = None

    def get(self, key: str) -> Any:
        return copy.deepcopy(self.values.get(key))

    def put(self, values: Mapping[str, Any]) -> None:
        if self.kill_on_write == 0:
            raise Killed
        if self.kill_on_write is not None:
            self.kill_on_write -= 1
        self.writes += 1
        for key, value in values.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = copy.deepcopy(value)

    def keys(self, prefix: str) -> Sequence[str]:
        return sorted(key for key in self.values if key.startswith(prefix))


def declare(
    *items: tuple[str, str] | tuple[str, str, dict[str, str]], kind: str = "ConfigMap"
) -> tuple[Declaration, ...]:
    """Declarations of (name, value[, annotations])."""
    import json

    documents = []
    for item in items:
        name, value, *rest = item
        documents.append(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": kind,
                    "metadata": {"name": name, **({"annotations": rest[0]} if rest else {})},
                    "data": {"k": value},
                }
            )
        )
    return render({"a.yaml": "\n---\n".join(documents).encode()})
