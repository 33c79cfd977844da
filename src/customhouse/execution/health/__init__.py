"""Health of Kubernetes objects in the field's words, read from the object alone.

`builtin` has the rules for Kubernetes' own kinds, `kinds` a table for others, `generic` what holds for kinds never
seen. Nothing here asks a cluster or a clock. The message says which condition, phase or count decided.
"""

from __future__ import annotations

from customhouse.core.plan import Health
from customhouse.core.resource import Manifest
from customhouse.execution.health.builtin import BUILT_IN
from customhouse.execution.health.generic import generic
from customhouse.execution.health.kinds import rule_of
from customhouse.execution.health.seen import PROGRESSING, seen


def health(manifest: Manifest) -> Health:
    """The health of an object as its `status` tells it."""
    parts = seen(manifest)
    if parts.metadata.get("deletionTimestamp"):
        return Health(PROGRESSING, "it is being deleted")
    rule = BUILT_IN.get((parts.group, parts.kind)) or rule_of(parts.group, parts.kind) or generic
    return rule(parts)
