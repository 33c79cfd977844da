"""Budgets: what they cover, what is spent, what is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from customhouse._kit.money import Money
from customhouse.core.cost import Charge, WorkloadCost
from customhouse.core.errors import ConfigError
from customhouse.core.resource import ResourceRef
from customhouse.observability.budgets import (
    Budget,
    budget_change,
    budget_state,
    covering,
    month_of,
    spent,
)
from customhouse.observability.estimate import ChangeCost

REF = ResourceRef("apps/v1", "Deployment", "ml", "api")
JULY = datetime(2026, 7, 1, tzinfo=UTC)
RISK = {"customhouse.dev/team": "risk", "customhouse.dev/tier": "batch"}


def charge(start: datetime, hours: float, amount: str, currency: str = "USD", ref: ResourceRef = REF) -> Charge:
    end = start + timedelta(hours=hours)
    return Charge(ref, "v1", "", start, end, "compute", Money.parse(amount, currency), RISK)


def test_a_budget_without_a_scope_covers_everything() -> None:
    assert Budget("all", Money.parse("1")).covers(REF, {})


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ({"namespaces": ("ml",)}, True),
        ({"namespaces": ("web", "data")}, False),
        ({"labels": {"team": "risk"}}, True),
        ({"labels": {"customhouse.dev/team": "risk"}}, True),
        ({"labels": {"team": "growth"}}, False),
        ({"labels": {"project": "x"}}, False),
        ({"tiers": ("batch",)}, True),
        ({"tiers": ("standard",)}, False),
        ({"namespaces": ("ml",), "labels": {"team": "risk"}, "tiers": ("standard",)}, False),
    ],
)
def test_every_part_of_a_scope_must_hold(scope: dict[str, object], covered: bool) -> None:
    assert Budget("b", Money.parse("1"), **scope).covers(REF, RISK) is covered  # type: ignore[arg-type]


def test_the_tier_as_judged_goes_before_the_label_that_asks_for_one() -> None:
    budget = Budget("b", Money.parse("1"), tiers=("standard",))
    assert budget.covers(REF, RISK, tier="standard")
    assert covering([budget], REF, RISK) == ()
    assert covering([budget], REF, RISK, tier="standard") == (budget,)


def test_months_are_calendar_months_in_utc() -> None:
    assert month_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == (
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    early = datetime(2026, 8, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert month_of(early)[0] == JULY
    with pytest.raises(ValueError, match="zone"):
        month_of(datetime(2026, 1, 1))  # noqa: DTZ001 (the broken input)


def test_what_is_left_is_the_limit_less_spend_and_forecast() -> None:
    charges = [
        charge(JULY - timedelta(hours=5), 5, "1000"),
        charge(JULY, 5, "30.25"),
        charge(JULY + timedelta(days=20), 5, "500"),
    ]
    state = budget_state(
        Budget("ml", Money.parse("100")), charges, Money.parse("40"), JULY + timedelta(days=10), "sha256:x"
    )
    assert str(state.month_to_date) == "30.25"
    assert str(state.left) == "29.75"
    assert state.snapshot == "sha256:x"


def test_a_budget_may_be_overdrawn() -> None:
    state = budget_state(
        Budget("ml", Money.parse("10")), [charge(JULY, 1, "12")], Money.zero(), JULY + timedelta(days=1)
    )
    assert str(state.left) == "-2.00"


def test_a_charge_across_midnight_of_the_first_is_split_and_loses_nothing() -> None:
    crossing = charge(JULY - timedelta(minutes=20), 1, "0.000000000001")
    odd = charge(JULY - timedelta(minutes=20), 1, "10.000000000001")
    budget = Budget("all", Money.parse("1"))
    for item in (crossing, odd):
        june = spent(budget, [item], JULY - timedelta(days=30), JULY)
        july = spent(budget, [item], JULY, JULY + timedelta(days=31))
        assert june + july == item.amount
    assert spent(budget, [odd], JULY - timedelta(days=30), JULY).rounded() == "3.33"


def test_a_charge_of_an_instant_belongs_to_the_month_that_holds_it() -> None:
    budget = Budget("all", Money.parse("1"))
    instant = charge(JULY, 0, "5")
    assert spent(budget, [instant], JULY - timedelta(days=30), JULY) == Money.zero()
    assert spent(budget, [instant], JULY, JULY + timedelta(days=31)) == Money.parse("5")


def test_currencies_are_not_mixed() -> None:
    budget = Budget("eu", Money.parse("100", "EUR"))
    with pytest.raises(ConfigError, match="budget eu"):
        spent(budget, [charge(JULY, 1, "5")], JULY, JULY + timedelta(days=31))
    with pytest.raises(ConfigError, match="budget eu"):
        budget_state(budget, [], Money.parse("1"), JULY)
    assert spent(budget, [], JULY, JULY + timedelta(days=31)) == Money.zero("EUR")


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="below 0"):
        Budget("b", Money.parse("-1"))


def test_a_change_set_adds_to_the_budgets_that_cover_it() -> None:
    def cost(name: str, before: str | None, after: str | None, labels: dict[str, str]) -> ChangeCost:
        ref = ResourceRef("apps/v1", "Deployment", "ml", name)
        sides = [
            None if text is None else WorkloadCost(ref, Money.parse(text), Money.parse(text), Money.parse(text))
            for text in (before, after)
        ]
        return ChangeCost(ref, sides[0], sides[1], labels)

    costs = [
        cost("a", "10", "25", RISK),
        cost("b", None, "5", RISK),
        cost("c", "7", None, {}),
        cost("d", None, "9", {}),
    ]
    assert str(budget_change(Budget("risk", Money.parse("1"), labels={"team": "risk"}), costs)) == "20.00"
    assert str(budget_change(Budget("all", Money.parse("1")), costs)) == "22.00"
    standard = Budget("standard", Money.parse("1"), tiers=("standard",))
    assert str(budget_change(standard, costs, {costs[0].ref: "standard"})) == "15.00"
