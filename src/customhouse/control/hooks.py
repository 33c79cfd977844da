"""Hooks: objects that are run at each sync, before or after the rest, as Argo CD's and Helm's annotations say.

1. A hook belongs to a run: that of everything it goes with, as it is declared now.
2. What is left of the run before is deleted first, if it is ours; then the hook is made again.
3. It has ended when it is Healthy or Degraded; what came of it is kept in the inventory.
4. What comes after it waits until it has succeeded.
5. It is deleted afterwards where its policy says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from customhouse._kit.digest import json_digest
from customhouse.control.stages import Wanted
from customhouse.control.tracked import Tracked
from customhouse.core.plan import HealthStatus
from customhouse.core.resource import Declaration
from customhouse.core.sight import Seen

SUCCEEDED, FAILED = "hook-succeeded", "hook-failed"
"""The `state` of a hook that has ended, in the inventory: what is run and forgotten is not looked at for drift."""


class HookNeed(Enum):
    """What a hook needs now; each is one of what any object may need."""

    NOTHING = 0
    WAIT = 1
    CLEAR = 2
    """It goes: what is left of an earlier run, or of this one once it has ended."""
    APPLY = 3


def succeeded(item: Wanted, entry: Tracked) -> bool:
    """Whether the present run has ended well."""
    return entry.digest == item.digest and entry.state == SUCCEEDED


def failed(item: Wanted, entry: Tracked) -> bool:
    """Whether it has ended badly."""
    return entry.digest == item.digest and entry.state == FAILED


def problem(item: Wanted, entry: Tracked | None, seen: Seen | None) -> str:
    """What is to be told of a hook; empty while it is well."""
    if entry is None or not failed(item, entry):
        return ""
    return f"it has failed{'' if seen is None else f': {seen.health.message}'}, and nothing after it is applied"


def need(item: Wanted, entry: Tracked | None, seen: Seen | None, *, absent: bool) -> tuple[HookNeed, Tracked | None]:
    """What a hook needs, and its entry where that is another one now."""
    hook = item.care.hook
    if hook is None:
        raise ValueError(f"{item.ref} is no hook")
    if seen is not None and seen.leaving:
        return HookNeed.WAIT, None
    if entry is None or entry.digest != item.digest:
        if seen is None:
            return (HookNeed.APPLY if absent else HookNeed.WAIT), None
        # 2. Another's of the same name is applied over, and told when that cannot be.
        ours = entry is not None and entry.uid == seen.uid
        return (HookNeed.CLEAR if ours else HookNeed.APPLY), None
    if seen is None:
        gone = absent and not entry.done
        return (HookNeed.APPLY if gone else HookNeed.NOTHING), None
    # 3
    came = {HealthStatus.HEALTHY: SUCCEEDED, HealthStatus.DEGRADED: FAILED}.get(seen.health.status)
    if came is None or entry.uid != seen.uid:
        return HookNeed.NOTHING, None
    after = replace(entry, done=True, state=came)
    # 5
    policy = "HookSucceeded" if came == SUCCEEDED else "HookFailed"
    return (HookNeed.CLEAR if policy in hook.delete_when else HookNeed.NOTHING), None if after == entry else after


def run_of(items: Sequence[Declaration]) -> str:
    """What names the run of hooks that go with some declarations: another one as soon as one of these is otherwise."""
    return json_digest(sorted([str(item.ref), item.digest] for item in items))
