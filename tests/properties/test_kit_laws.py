"""Laws of the kit, on whatever hypothesis can think of."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from customhouse._kit.canonical import MAX_SAFE_INTEGER, canonical_json
from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import json_digest, tree
from customhouse._kit.money import PICO, Money, MoneyError, total
from customhouse._kit.quantity import (
    QuantityError,
    format_bytes,
    format_milli,
    parse_bytes,
    parse_duration,
    parse_milli,
    parse_quantity,
)
from customhouse.testing.strategies import json_values, money

CAP = 2**63 - 1


# ── canonical JSON ──


def _read(text: bytes) -> object:
    """As RFC 8785 reads: every number is a double, also one that is written without a point."""
    return json.loads(text, parse_int=float)


@given(json_values())
def test_canonical_json_reads_back_as_the_same_value(value: object) -> None:
    assert _read(canonical_json(value)) == value


@given(json_values())
def test_canonical_json_of_canonical_json_is_itself(value: object) -> None:
    once = canonical_json(value)
    assert canonical_json(_read(once)) == once


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values()), st.randoms())
def test_the_order_of_keys_does_not_count(value: dict[str, object], chance: random.Random) -> None:
    pairs = list(value.items())
    chance.shuffle(pairs)
    assert json_digest(dict(pairs)) == json_digest(value)


@given(json_values(), json_values())
def test_different_values_have_different_forms(left: object, right: object) -> None:
    # bool and int are equal in Python and different in JSON, so equality is asked of JSON's own text.
    same = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assume(not same)
    if canonical_json(left) == canonical_json(right):
        assert left == right  # 1.0 and 1, -0.0 and 0: one number in JSON


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_every_bit_but_the_sign_of_zero(number: float) -> None:
    text = canonical_json(number).decode()
    assert float(text) == number
    assert "E" not in text
    assert not text.endswith(".")


@given(st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER))
def test_an_integer_and_its_double_are_one_number(number: int) -> None:
    assert canonical_json(number) == canonical_json(float(number))


# ── money ──


@given(money(), st.lists(st.integers(0, 10**9), min_size=1, max_size=30).filter(any))
def test_a_split_loses_nothing_and_is_fair_to_a_pico_unit(amount: Money, weights: list[int]) -> None:
    parts = amount.split(weights)
    assert total(parts, amount.currency) == amount
    whole = sum(weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(Fraction(amount.pico * weight, whole) - part.pico) < 1
        assert part.pico == 0 or weight > 0


@given(money())
def test_money_reads_back_as_it_is_written(amount: Money) -> None:
    assert Money.parse(str(amount), amount.currency) == amount
    assert Money.parse(amount.to_decimal(), amount.currency) == amount


@given(money(), money(), money())
def test_a_sum_does_not_depend_on_its_order(one: Money, two: Money, three: Money) -> None:
    assert (one + two) + three == one + (two + three)
    assert one + two == two + one
    assert one - two == -(two - one)
    assert total([three, one, two]) == total([one, two, three])


@given(money(), st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12).filter(bool))
def test_scaling_is_the_nearest_pico_unit_and_even_on_a_tie(amount: Money, numerator: int, denominator: int) -> None:
    assert amount.scale(numerator, denominator).pico == round(Fraction(amount.pico * numerator, denominator))


@given(money(), st.integers(0, 12))
def test_what_people_see_is_within_half_a_step(amount: Money, places: int) -> None:
    shown = Fraction(amount.rounded(places))
    assert abs(shown - Fraction(amount.pico, PICO)) <= Fraction(1, 2 * 10**places)


@given(money())
def test_micro_units_never_make_a_cost_smaller(amount: Money) -> None:
    micro = amount.to_micro_ceiling()
    assert 0 <= micro * 10**6 - amount.pico < 10**6


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_read_exactly_or_refused(value: Decimal) -> None:
    try:
        read = Money.parse(value)
    except MoneyError:
        return
    assert Fraction(read.pico, PICO) == Fraction(value)
    with localcontext(prec=200):
        assert read.to_decimal() == value


@given(st.text(max_size=40))
def test_any_text_is_money_or_a_money_error(text: str) -> None:
    try:
        read = Money.parse(text)
    except MoneyError:
        return
    assert Fraction(read.pico, PICO) == Fraction(text.strip())


# ── quantities and durations ──

_SUFFIXES = {
    "n": (10, -9), "u": (10, -6), "m": (10, -3), "": (10, 0), "k": (10, 3), "M": (10, 6), "G": (10, 9),
    "T": (10, 12), "P": (10, 15), "E": (10, 18), "Ki": (2, 10), "Mi": (2, 20), "Gi": (2, 30), "Ti": (2, 40),
    "Pi": (2, 50), "Ei": (2, 60), "e3": (10, 3), "E-4": (10, -4), "e+2": (10, 2),
}  # fmt: skip


@given(
    st.sampled_from(["", "+", "-"]),
    st.integers(0, 10**20),
    st.one_of(st.none(), st.from_regex(r"[0-9]{0,12}", fullmatch=True)),
    st.sampled_from(sorted(_SUFFIXES)),
)
def test_a_quantity_agrees_with_arithmetic_on_fractions(sign: str, whole: int, places: str | None, suffix: str) -> None:
    text = f"{sign}{whole}" + ("" if places is None else f".{places}") + suffix
    number, power = _SUFFIXES[suffix]
    exact = (whole + Fraction(int(places or "0"), 10 ** len(places or ""))) * Fraction(number) ** power
    nano = exact * 10**9
    rounded = Fraction(nano.__ceil__(), 10**9)
    expected = min(rounded, Fraction(CAP))
    assert parse_quantity(text) == (-expected if sign == "-" else expected)


@given(st.text(max_size=70))
def test_any_text_is_a_quantity_or_a_quantity_error(text: str) -> None:
    for parse in (parse_quantity, parse_duration):
        try:
            value = parse(text)
        except QuantityError:
            continue
        assert abs(value) <= CAP
        assert text.isascii() or "s" in text


@given(st.integers(0, CAP))
def test_bytes_and_thousandths_read_back_as_they_are_written(value: int) -> None:
    assert parse_bytes(format_bytes(value)) == value
    assume(value <= CAP // 1000)
    assert parse_milli(format_milli(value)) == value


@given(st.integers(0, 2_000_000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999_999_999))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int, nanoseconds: int) -> None:
    expected = ((hours * 60 + minutes) * 60 + seconds) * 10**9 + nanoseconds
    assert parse_duration(f"{hours}h{minutes}m{seconds}s{nanoseconds}ns") == expected
    assert parse_duration(f"-{nanoseconds}ns{seconds}s{minutes}m{hours}h") == -expected


# ── time and folders ──

_ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=_ZONES))  # noqa: DTZ001 (hypothesis wants naive bounds)
def test_a_time_reads_back_as_it_is_written(at: datetime) -> None:
    text = to_rfc3339(at)
    assert from_rfc3339(text) == at
    assert text.endswith("Z")
    assert from_rfc3339(text).tzinfo is UTC


_NAMES = st.text("abc/._-é", min_size=1, max_size=8).filter(
    lambda name: all(part not in ("", ".", "..") for part in name.split("/"))
)


@settings(max_examples=30, deadline=None)
@given(files=st.dictionaries(_NAMES, st.binary(max_size=20), min_size=1, max_size=6), chance=st.randoms())
def test_the_digest_of_a_folder_does_not_depend_on_the_order_of_writing(
    tmp_path_factory: object, files: dict[str, bytes], chance: random.Random
) -> None:
    names = list(files)
    assume(not any(other.startswith(name + "/") for name in names for other in names))
    digests = set()
    for _ in range(2):
        chance.shuffle(names)
        folder: Path = tmp_path_factory.mktemp("tree")  # type: ignore[attr-defined]
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(files[name])
        digests.add(tree(folder).digest)
        assert [entry.path for entry in tree(folder).files] == sorted(files, key=str.encode)
    assert len(digests) == 1
