"""A revert on KServe waits until the traffic is back, and not for ever."""

from __future__ import annotations

from typing import Any

from customhouse.app.memory import Memory
from customhouse.app.rollouts import Held, Rollouts
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import ResourceRef
from customhouse.testing.memory import MemoryStateStore

REF = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "shop", "score")


def live(**shares: int) -> LiveObject:
    traffic: list[dict[str, Any]] = [{"revisionName": name, "percent": share} for name, share in shares.items()]
    status = {"components": {"predictor": {"traffic": traffic}}}
    return LiveObject(REF, {"spec": {"predictor": {}}}, Health(HealthStatus.HEALTHY), status)


def held(*, routed: bool = True) -> Held:
    return Held(REF, "v3", {}, "c" * 40, "worse", routed=routed, serves="two")


def test_a_revert_waits_until_the_revision_before_has_everything_again() -> None:
    rollouts = Rollouts(Memory(MemoryStateStore()))
    assert not rollouts.may_revert(held(), live(three=100), 5.0)
    assert not rollouts.may_revert(held(), live(two=80, three=20), 6.0)
    assert rollouts.may_revert(held(), live(two=100, three=0), 7.0)
    assert rollouts.may_revert(held(routed=False), None, 0.0), "elsewhere going back is one write"


def test_a_revert_does_not_wait_for_ever() -> None:
    rollouts = Rollouts(Memory(MemoryStateStore()))
    assert not rollouts.may_revert(held(), None, 100.0)
    assert not rollouts.may_revert(held(), live(three=100), 114.0)
    assert rollouts.may_revert(held(), live(three=100), 116.0)
