"""A tier's document is made once for many objects; it may never be that of another tier, time or currency."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from customhouse._kit.money import Money
from customhouse.core.errors import CannotDecideError
from customhouse.policy.facts_tier import Last, tier_facts
from customhouse.policy.tiers import BUILTIN_TIERS, EnvironmentJudgement, Relaxation, TierJudgement

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SPEC = BUILTIN_TIERS["standard"]


def told(tier: TierJudgement, environment: EnvironmentJudgement | None = None, now: datetime = NOW) -> Any:
    return tier_facts(tier, environment, now, 90, "USD")


def test_what_differs_in_any_part_is_another_document() -> None:
    plain = TierJudgement("standard", None, True, SPEC, ())
    first = told(plain)
    assert told(TierJudgement("standard", None, True, SPEC, ())) is first
    assert told(replace(plain, requested="gold", granted=False))["requested"] == "gold"
    assert told(replace(plain, reserved_nodes=(("pool", "gold"),)))["reserved_nodes"] == [
        {"key": "pool", "value": "gold"}
    ]
    assert told(replace(plain, spec=replace(SPEC, max_replicas=3)))["spec"]["max_replicas"] == 3
    stricter = EnvironmentJudgement("prod", production=True, checks={"image-latest-tag": "error"})
    assert told(plain, stricter)["checks"] == {**SPEC.checks, "image-latest-tag": "error"}
    assert told(plain) == first


def test_a_relaxation_ends_although_the_tier_is_the_same() -> None:
    until = NOW + timedelta(days=1)
    relaxed = Relaxation("image-latest-tag", "warning", "ada", "a reason", "OPS-1", until)
    tier = TierJudgement("standard", None, True, replace(SPEC, relaxations=(relaxed,)), ())
    states = [told(tier, now=now)["relaxations"]["image-latest-tag"]["state"] for now in (NOW, NOW + timedelta(days=2))]
    assert states[0] == "active" != states[1]


def test_a_ceiling_in_another_currency_cannot_be_judged() -> None:
    tier = TierJudgement("standard", None, True, replace(SPEC, replica_ceiling=Money.parse("5", "EUR")), ())
    with pytest.raises(CannotDecideError, match="EUR"):
        told(tier)


def test_the_last_is_given_to_equal_values_alone() -> None:
    last: Last[list[int]] = Last()
    first = last.of(lambda: [1], "a", 1)
    assert last.of(lambda: [2], "a", 1) is first
    assert last.of(lambda: [3], "a", 2) == [3]
    assert last.of(lambda: [4], "a", 1) == [4]
