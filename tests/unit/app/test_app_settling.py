"""Which releases on their way have come up, however often the same is asked."""

from __future__ import annotations

from typing import Any

from customhouse.app.settling import Settling
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import ResourceRef


def _waiting(name: str, release: str = "r1") -> tuple[str, dict[str, Any], ResourceRef]:
    ref = ResourceRef("apps/v1", "Deployment", "shop", name, "north")
    return f"pending/{name}", {"resource": ref.stored(), "release": release}, ref


def test_those_that_are_healthy_are_told_with_the_document_of_now() -> None:
    key, value, ref = _waiting("a")
    other, late, _ = _waiting("b")
    settling, live = Settling(), {ref: LiveObject(ref, {}, Health(HealthStatus.PROGRESSING, ""))}
    waiting = {key: value, other: late}
    assert list(settling.healthy(waiting, live)) == []
    live[ref] = LiveObject(ref, {}, Health(HealthStatus.HEALTHY, ""))
    assert list(settling.healthy(waiting, live)) == [(key, value, ref, live[ref])]
    newer = {**value, "release": "r2"}
    assert [found[1] for found in settling.healthy({key: newer}, live)] == [newer]
    moved = {**value, "resource": _waiting("c")[2].stored()}
    assert list(settling.healthy({key: moved}, live)) == []
    assert list(settling.healthy({}, live)) == []
