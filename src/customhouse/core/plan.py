"""Plans: what a target needs, ordered; and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from customhouse.core.resource import Manifest, ResourceRef


class ActionKind(StrEnum):
    """What to do with one object."""

    CREATE = "create"
    PATCH = "patch"
    DELETE = "delete"
    WAIT = "wait"
    """Until it is Healthy before the next wave."""


@dataclass(frozen=True, slots=True)
class FieldDiff:
    """One field that differs between what is declared and what is live (None: absent)."""

    pointer: str
    declared: Any
    live: Any


@dataclass(frozen=True, slots=True)
class Action:
    """One step on one object. `desired` is the manifest to reach (None for delete and wait)."""

    kind: ActionKind
    ref: ResourceRef
    desired: Manifest | None = None
    diff: tuple[FieldDiff, ...] = ()
    wave: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered actions of one revision for one target; empty when there is nothing to do."""

    target: str
    revision: str
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What came of an Action. `changed` is False when the target already was as desired."""

    action: Action
    ok: bool
    changed: bool
    message: str = ""


class HealthStatus(StrEnum):
    """The health words of the field (Argo CD's)."""

    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    SUSPENDED = "Suspended"
    MISSING = "Missing"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Health:
    """The health of one object, with the condition that decided it."""

    status: HealthStatus
    message: str = ""


@dataclass(frozen=True, slots=True)
class LiveObject:
    """An object as the target has it now: the declared fields with live values, and its status."""

    ref: ResourceRef
    manifest: Manifest
    health: Health
    status: Mapping[str, Any] = field(default_factory=dict)
