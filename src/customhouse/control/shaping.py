"""Shaping: what is sent to the API of a declaration, so that what others may set stays theirs."""

from __future__ import annotations

from collections.abc import Sequence

from customhouse.control.drift import FieldDrift
from customhouse.control.leeway import ignores, left_as_is
from customhouse.control.sealed import is_sealed
from customhouse.control.stages import Wanted, in_place, without_ignored, without_others
from customhouse.core.resource import Manifest


def shaped(item: Wanted, live: Manifest | None, *, scaled: bool, look: bool) -> Manifest:
    """What is sent of an object: as declared and in its place, without what others have. `scaled`: by an autoscaler.

    `look`: it is only held against what is there (a dry run). `live` is None where there is nothing, or nothing to ask.
    """
    placed = without_others(in_place(item.declaration.manifest, item.ref), live if scaled else None)
    found = without_ignored(placed, live, item.ignored)
    # What is encrypted is opened only as it was written, all of it: its code is over the whole.
    spared = None if is_sealed(item.declaration.manifest) else item.spared(look=look)
    return found if spared is None else left_as_is(found, live, spared)


def unspared(item: Wanted, would: Manifest, found: Sequence[FieldDrift]) -> tuple[FieldDrift, ...]:
    """Those fields that may not be otherwise."""
    leeway = item.spared(look=True)
    return tuple(one for one in found if leeway is None or not ignores(leeway, would, one.diff.pointer))
