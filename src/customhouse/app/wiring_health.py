"""Wiring of health: the rules that a target and `customhouse health` judge by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from customhouse.core.plan import Health
from customhouse.core.resource import Manifest
from customhouse.execution.health import customized, health


@contextmanager
def health_rules(lua: str | None = None) -> Iterator[Callable[[Manifest], Health]]:
    """Our rules, and before them Argo CD's Lua customisations in the file or folder `lua` while they are used.

    Raises UsageError, SourceError or ConfigError for a place that holds none, and where the extra is not installed.
    """
    if lua is None:
        yield health
        return
    from customhouse.app.healthrules import customizations_at
    from customhouse.execution.adapters.lua import LuaHealth

    custom = LuaHealth(customizations_at(lua))
    try:
        yield customized(custom)
    finally:
        custom.close()
