"""Health of Kubernetes objects in the field's words, read from the object alone.

`builtin` has the rules for Kubernetes' own kinds, `kinds` a table for others, `generic` what holds for kinds never
seen. Nothing here asks a cluster or a clock. The message says which condition, phase or count decided.
"""

from __future__ import annotations

from collections.abc import Callable

from customhouse.core.plan import Health
from customhouse.core.resource import Manifest
from customhouse.execution.health.builtin import BUILT_IN
from customhouse.execution.health.generic import generic
from customhouse.execution.health.kinds import rule_of
from customhouse.execution.health.seen import HEALTHY, PROGRESSING, Seen, mapping, seen, word


def health(manifest: Manifest, *, reports: bool = True) -> Health:
    """The health of an object as its `status` tells it.

    `reports` is False for a kind that an API serves without the subresource `status`: where no rule knows the kind,
    that there is no status is then no sign of work that goes on. (Argo CD's Applications are one, and are known.)
    """
    parts = seen(manifest)
    if parts.metadata.get("deletionTimestamp"):
        return _deleted(parts)
    rule = BUILT_IN.get((parts.group, parts.kind)) or rule_of(parts.group, parts.kind)
    if rule is not None:
        return rule(parts)
    if not reports and not parts.status:
        return Health(HEALTHY, "its kind has no status")
    return generic(parts)


def customized(custom: Callable[[Manifest], Health | None]) -> Callable[[Manifest], Health]:
    """`health` with somebody's own rules before ours; what they answer None to is ours, and so is what is deleted."""

    def judged(manifest: Manifest) -> Health:
        if mapping(manifest, "metadata").get("deletionTimestamp"):
            return health(manifest)
        return custom(manifest) or health(manifest)

    return judged


def _deleted(parts: Seen) -> Health:
    held = parts.metadata.get("finalizers")
    waits = f"; it waits for {', '.join(map(word, held[:5]))}" if isinstance(held, list) and held else ""
    return Health(PROGRESSING, f"it is being deleted{waits}")
