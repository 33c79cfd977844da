"""What one step of convergence did and found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from customhouse.control.drift import FieldDrift
from customhouse.core.resource import ResourceRef
from customhouse.core.sight import Key


class Found(Enum):
    """How an object of ours is otherwise than declared."""

    ALTERED = "altered"
    MISSING = "missing"
    ADDED = "added"
    """Somebody added fields by hand that the declaration does not speak of; applying again does not remove them."""


@dataclass(frozen=True, slots=True)
class ObjectDrift:
    """One object that is not as declared, though its declaration did not change. `corrected`: it is now."""

    found: Found
    ref: ResourceRef
    fields: tuple[FieldDrift, ...] = ()
    corrected: bool = False


@dataclass(slots=True)
class Round:
    """What one step did and found."""

    applied: list[ResourceRef] = field(default_factory=list)
    """Objects that a write changed."""
    removed: list[ResourceRef] = field(default_factory=list)
    """Objects that were ours and are gone."""
    released: list[tuple[ResourceRef, str]] = field(default_factory=list)
    """Objects that are ours no more and were left, each with the reason."""
    drift: list[ObjectDrift] = field(default_factory=list)
    touched: set[Key] = field(default_factory=set)
    """Declared objects of which anything (health too) may be otherwise than before."""
    unanswered: str = ""
    """The API did not answer (all of) this round."""
