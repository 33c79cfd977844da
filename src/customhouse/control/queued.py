"""Queued: what Kueue may write into an object that names one of its queues.

Kueue lets a workload wait by `suspend`, and gives its pods the node labels and tolerations of a flavor when it lets it
in; with a least parallelism it may make it smaller. Whatever Git says of `suspend`, in a queue it is Kueue's: to put it
back would start what has no quota, or evict what has.
"""

from __future__ import annotations

from customhouse.core.queues import queue_of
from customhouse.core.resource import Declaration, Leeway

_SUSPENDED = Leeway(pointers=("/spec/suspend", "/spec/runPolicy/suspend"), managers=("kueue",), respect=True)


def queue_leeway(declaration: Declaration) -> Leeway | None:
    """What may be otherwise than declared; None for what names no queue."""
    return _SUSPENDED if queue_of(declaration.manifest, declaration.ref) else None


def joined(one: Leeway | None, other: Leeway | None) -> Leeway | None:
    """What either of two allows, where both hold."""
    if one is None or other is None:
        return one or other
    return Leeway(
        (*one.pointers, *other.pointers),
        (*one.paths, *other.paths),
        (*one.managers, *other.managers),
        one.respect or other.respect,
    )
