"""Wiring of health: the rules that a target and `customhouse health` judge by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from customhouse.core.plan import Health
from customhouse.core.resource import Manifest
from customhouse.execution.health import customized, health
from customhouse.execution.health.customizations import Customizations


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


class Judging:
    """By which rule a cluster's target says how objects are: ours, and before them the customisations in force."""

    def __init__(self, judge_by: Callable[[Callable[[Manifest], Health], Callable[[], None]], None]) -> None:
        """`judge_by` takes a rule, and what is to be called when it is no longer asked."""
        self._judge_by = judge_by
        self._given: Customizations | None = None

    def by(self, given: Customizations | None) -> None:
        """These from now on. Raises ConfigError where the extra `lua` is not installed; then the rule stays."""
        if given == self._given:
            return
        if given is None:
            self._judge_by(health, lambda: None)
        else:
            from customhouse.execution.adapters.lua import LuaHealth

            custom = LuaHealth(given)
            self._judge_by(customized(custom), custom.close)
        self._given = given
