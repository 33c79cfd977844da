"""Quick ways of the webhook's hottest sums say exactly what the plain ones do."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from customhouse._kit.quantity import parse_bytes, parse_milli, parse_quantity
from customhouse.observability.quotes import lasting
from customhouse.policy import reading

AMOUNT = st.fractions(-(10**15), 10**15, max_denominator=10**9)


@given(AMOUNT, st.fractions(0, 10**4, max_denominator=3600), st.integers(0, 10**6))
@example(Fraction(1, 2), Fraction(1), 1)
@example(Fraction(3, 2), Fraction(1), 1)
@example(Fraction(-1, 2), Fraction(1), 1)
@example(Fraction(-3, 2), Fraction(1), 1)
def test_an_amount_is_rounded_once_and_half_to_even(per_hour: Fraction, hours: Fraction, replicas: int) -> None:
    assert lasting(per_hour, hours, replicas) == round(per_hour * hours * replicas)


def ceiling(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


@given(st.integers(0, 10**10), st.sampled_from(["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "Ei", "e3"]))
def test_a_size_without_fractions_is_the_size_with_them(number: int, suffix: str) -> None:
    for text in (f"{number}{suffix}", f"0{number}{suffix}"):
        assert parse_bytes(text) == ceiling(parse_quantity(text))
        assert parse_milli(text) == ceiling(parse_quantity(text) * 1000)


SHOWN = ("AKIA" + "A1" * 8, "ghp_" + "a" * 24, "sk-" + "b" * 30, "amqp://me:word@host", "xoxb-" + "1" * 12)


@given(st.text(max_size=600), st.sampled_from(SHOWN) | st.just(""), st.text(max_size=600))
def test_one_look_for_all_beginnings_misses_no_credential(before: str, secret: str, after: str) -> None:
    value = f"{before} {secret} {after}"
    slow = next((label for label, _, pattern in reading._CREDENTIALS if pattern.search(value)), None)
    assert reading.credential("", value) == slow
