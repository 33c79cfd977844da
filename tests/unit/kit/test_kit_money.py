"""Money: what can be written, what is refused, how it is shown."""

from __future__ import annotations

from decimal import Decimal

import pytest

from customhouse._kit.money import PICO, Money, MoneyError, total


@pytest.mark.parametrize(
    ("text", "pico"),
    [
        ("0", 0),
        ("1", PICO),
        ("-1.5", -1_500_000_000_000),
        (".25", 250_000_000_000),
        ("3.", 3 * PICO),
        ("0.000000000001", 1),
        ("1e3", 1000 * PICO),
        ("2.5E-12", None),
        ("25e-13", None),
        (" 12.5 ", 12_500_000_000_000),
        (Decimal("98.7654321"), 98_765_432_100_000),
        (7, 7 * PICO),
    ],
)
def test_an_amount_is_read_exactly_or_not_at_all(text: str | Decimal | int, pico: int | None) -> None:
    if pico is None:
        with pytest.raises(MoneyError, match="more than twelve"):
            Money.parse(text)
    else:
        assert Money.parse(text).pico == pico


@pytest.mark.parametrize(
    "text",
    ["", "abc", "1,50", "1.2.3", "0x10", "NaN", "inf", "1e", "1_000", "--1", "१२", "$5", Decimal("NaN"),
     Decimal("sNaN"), Decimal("Infinity"), 1.5, True],
)  # fmt: skip
def test_what_is_not_an_amount_is_refused(text: object) -> None:
    with pytest.raises(MoneyError):
        Money.parse(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["1" * 90, "1." + "0" * 90 + "1", "9" * 70 + ".123456789012"])
def test_an_amount_with_more_digits_than_can_be_kept_is_refused_and_never_rounded(text: str) -> None:
    with pytest.raises(MoneyError):
        Money.parse(text)


@pytest.mark.parametrize("currency", ["usd", "US", "USDX", "", "U1D"])
def test_a_currency_is_three_capitals(currency: str) -> None:
    with pytest.raises(MoneyError, match="ISO 4217"):
        Money(1, currency)


def test_pico_units_are_whole() -> None:
    for wrong in (1.0, True, "1"):
        with pytest.raises(MoneyError, match="whole number"):
            Money(wrong)  # type: ignore[arg-type]


def test_two_currencies_do_not_meet() -> None:
    dollars, euros = Money(1), Money(1, "EUR")
    for operation in (
        lambda: dollars + euros,
        lambda: dollars - euros,
        lambda: dollars < euros,
        lambda: dollars >= euros,
        lambda: total([dollars, euros]),
    ):
        with pytest.raises(MoneyError, match="EUR"):
            operation()
    assert dollars != euros


@pytest.mark.parametrize(
    ("pico", "exact", "cents", "whole"),
    [
        (0, "0.00", "0.00", "0"),
        (12_500_000_000_000, "12.50", "12.50", "12"),
        (13_500_000_000_000, "13.50", "13.50", "14"),
        (1, "0.000000000001", "0.00", "0"),
        (-1, "-0.000000000001", "0.00", "0"),
        (5_000_000_000, "0.005", "0.00", "0"),
        (15_000_000_000, "0.015", "0.02", "0"),
        (-15_000_000_000, "-0.015", "-0.02", "0"),
        (-999_999_999_999, "-0.999999999999", "-1.00", "-1"),
    ],
)
def test_it_is_shown_exactly_to_programs_and_half_to_even_to_people(
    pico: int, exact: str, cents: str, whole: str
) -> None:
    money = Money(pico)
    assert (str(money), money.rounded(), money.rounded(0)) == (exact, cents, whole)
    assert money.rounded(12).rstrip("0").rstrip(".") == exact.rstrip("0").rstrip(".")


@pytest.mark.parametrize("places", [-1, 13])
def test_it_is_not_shown_with_places_that_it_does_not_have(places: int) -> None:
    with pytest.raises(MoneyError, match="0 to 12"):
        Money(1).rounded(places)


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [1, -1], [-1]])
def test_a_split_needs_weights(weights: list[int]) -> None:
    with pytest.raises(MoneyError, match="cannot split"):
        Money(100).split(weights)


def test_what_cannot_be_divided_goes_to_the_largest_remainder_and_the_first_wins_a_tie() -> None:
    assert [part.pico for part in Money(100).split([1, 1, 1])] == [34, 33, 33]
    assert [part.pico for part in Money(-100).split([1, 1, 1])] == [-33, -33, -34]
    assert [part.pico for part in Money(10).split([6, 3, 0, 2])] == [5, 3, 0, 2]


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(MoneyError, match="denominator"):
        Money(1).scale(1, 0)


def test_facts_carry_micro_units_rounded_up_so_that_no_cost_looks_smaller() -> None:
    assert Money(1).to_micro_ceiling() == 1
    assert Money(1_000_000).to_micro_ceiling() == 1
    assert Money(1_000_001).to_micro_ceiling() == 2
    assert Money(-1).to_micro_ceiling() == 0


def test_an_empty_sum_is_nothing_in_the_currency_asked_for() -> None:
    assert total([], "CHF") == Money.zero("CHF")
