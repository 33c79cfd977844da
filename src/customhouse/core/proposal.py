"""Proposals: patches that the optimiser asks for. A Proposal becomes a branch and meets the gate like any Change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse._kit.money import Money
from customhouse.core.resource import ResourceRef


@dataclass(frozen=True, slots=True)
class FieldEdit:
    """Set one scalar of a manifest: JSON pointer, and the new value as YAML would write it."""

    pointer: str
    value: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A patch with what it promises. `id` is stable for (subject, edits), so a second run opens no second branch."""

    id: str
    subject: ResourceRef
    title: str
    edits: tuple[FieldEdit, ...]
    saving: Money
    saving_low: Money
    saving_high: Money
    """Per month."""
    risk: str
    """The stated promise, e.g. `at most 1 % of 5-minute windows above the new limit (95 % upper bound 0.8 %)`."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
