"""What the commit in force declares, and the gate's record does not hold: it was allowed all the same.

A webhook that has no state of `up` (an installed one learns of the last allowed commit from a note) has no Facts of
what was judged. An object that equals its Declaration is no new change then: it is judged as one that alters nothing,
with the commit's own Revision, and not charged a second time. Rules, waivers, prices and evidence are today's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from customhouse._kit.canonical import canonical_json
from customhouse.app.admission_context import AdmissionContext, Key, Recorded, key_of
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.errors import CannotDecideError
from customhouse.core.facts import Facts
from customhouse.core.resource import Declaration, ResourceRef


class Unrecorded:
    """Belongs to one `Admission`; `build` makes the Facts of a Change as of a moment."""

    def __init__(self, context: AdmissionContext, build: Callable[[Change, datetime], Facts]) -> None:
        self._context, self._build = context, build
        self._declared: dict[Key, Declaration | None] | None = None
        self._made: dict[Key, Recorded] = {}
        self._known: Mapping[Key, Recorded] | None = None

    def of(self, key: Key, now: datetime) -> Recorded | None:
        """The Declaration of a key with such Facts; None where no allowed commit declares it, or not just once."""
        allowed = self._context.allowed
        if allowed is None:
            return None
        found, made = self._index().get(key), self._made.get(key)
        if found is None or made is not None:
            return made
        change = Change(Operation.UPDATE, found.ref, found, found, allowed, Actor(ActorKind.PERSON, allowed.author))
        try:
            facts = self._build(change, now)
        except CannotDecideError:
            return None  # judged whole, and refused with what is missing of what is really there
        made = self._made[key] = Recorded(found, canonical_json(facts.document))
        return made

    def declares(self, ref: ResourceRef) -> bool | None:
        """Whether the allowed commit declares an object; None where it is not known which one that is."""
        return None if self._context.allowed is None else key_of(ref) in self._index()

    def known(self) -> Mapping[Key, Recorded]:
        """What is recorded, and what else the allowed commit declares: what a rollout may have to do with."""
        if self._known is None:
            rest = {} if self._context.allowed is None else self._index()
            bare = {key: Recorded(item, b"") for key, item in rest.items() if item is not None}
            self._known = {**bare, **self._context.recorded}
        return self._known

    def _index(self) -> dict[Key, Declaration | None]:
        if self._declared is None:
            self._declared = {}
            for item in self._context.declared:
                own = key_of(item.ref)
                self._declared[own] = item if own not in self._declared else None
        return self._declared
