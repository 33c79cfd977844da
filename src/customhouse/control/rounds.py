"""What one step of convergence did and found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from customhouse.control.drift import FieldDrift
from customhouse.core.cluster import Refusal, Written
from customhouse.core.resource import ResourceRef
from customhouse.core.sight import Key


class Found(Enum):
    """How an object of ours is otherwise than declared."""

    ALTERED = "altered"
    MISSING = "missing"
    ADDED = "added"
    """Somebody added fields that the declaration does not speak of; applying again does not remove them."""


class Need(Enum):
    """What one object needs of a step."""

    NOTHING = 0
    APPLY = 1
    LOOK = 2
    HEAL = 3
    WAIT = 4
    CLEAR = 5


@dataclass(frozen=True, slots=True)
class Conduct:
    """What may be done. `writes` False: nothing at all (observe mode); then drift and plans are only told."""

    writes: bool = True
    correct: bool = True
    prune: bool = True
    prune_budget_percent: int = 50


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
    heard: set[Key] = field(default_factory=set)
    """The same of objects that are held: what reconciles them may be one of them (`flux bootstrap` does so)."""
    unanswered: str = ""
    """The API did not answer (all of) this round."""


def why_not(answer: Written) -> str:
    """Why a write was not done, and what to do about it."""
    by = f" ({answer.denied_by})" if answer.denied_by else ""
    hints = {
        Refusal.NO_NAMESPACE: "; declare the namespace",
        Refusal.NO_KIND: "; declare or install its definition",
        Refusal.FORBIDDEN: "; give the account the roles of docs/install.md",
    }
    hint = hints.get(answer.refusal, "") if answer.refusal is not None else ""
    return f"{answer.problem}{by}{hint}"
