"""Quantities and durations against the examples that Kubernetes and Go document."""

from __future__ import annotations

from fractions import Fraction

import pytest

from customhouse._kit.quantity import (
    QuantityError,
    format_bytes,
    format_milli,
    parse_bytes,
    parse_count,
    parse_duration,
    parse_milli,
    parse_quantity,
)

CAP = 2**63 - 1
HOUR, MINUTE, SECOND = 3600 * 10**9, 60 * 10**9, 10**9


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # "Meaning of memory" and "Meaning of CPU" of the Kubernetes documentation.
        ("128974848", 128_974_848),
        ("129e6", 129_000_000),
        ("129M", 129_000_000),
        ("128974848000m", 128_974_848),
        ("123Mi", 128_974_848),
        ("0.1", Fraction(1, 10)),
        ("100m", Fraction(1, 10)),
        # apimachinery, quantity.go: 1.5 is 1500m, 1.5Gi is 1536Mi.
        ("1.5", Fraction(3, 2)),
        ("1.5Gi", 1536 * 2**20),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("1E3", 1000),
        ("1e-3", Fraction(1, 1000)),
        ("5.", 5),
        (".5", Fraction(1, 2)),
        ("+3", 3),
        ("-1500m", Fraction(-3, 2)),
        ("3u", Fraction(3, 10**6)),
        # Finer than a nano-unit is rounded away from zero; larger than 2^63-1 is capped.
        ("0.5n", Fraction(1, 10**9)),
        ("-0.5n", Fraction(-1, 10**9)),
        ("1.0000000001", Fraction(1_000_000_001, 10**9)),
        ("1e400", CAP),
        ("-1e400", -CAP),
        ("9Ei", CAP),
        (2, 2),
        (0.1, Fraction(1, 10)),
        (1e22, CAP),
    ],
)
def test_a_quantity_is_what_the_api_server_reads(text: str | float, value: int | Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", "1 Gi", " 1", "1\n", "m", ".", "Gi", "1gi", "1KI", "1K", "1e", "1e3Mi", "1.2.3", "0x10", "1,5", "--1",
     "+-1", "1_000", "١", "５", "nan", "inf", "1" * 65, True, None, [], float("nan"), float("inf")],
)  # fmt: skip
def test_what_the_api_server_refuses_is_refused(text: object) -> None:
    with pytest.raises(QuantityError, match="not a quantity"):
        parse_quantity(text)  # type: ignore[arg-type]


def test_cpu_and_memory_are_rounded_up_so_that_the_smallest_request_counts() -> None:
    assert (parse_milli("1n"), parse_milli("0.1"), parse_milli("1500m"), parse_milli(2)) == (1, 100, 1500, 2000)
    assert (parse_bytes("1m"), parse_bytes("0.5Ki"), parse_bytes("1e3")) == (1, 512, 1000)


@pytest.mark.parametrize("text", ["500m", "0.5", "-1"])
def test_a_gpu_cannot_be_split_by_a_quantity(text: str) -> None:
    with pytest.raises(QuantityError, match="whole number"):
        parse_count(text)


def test_a_whole_number_of_gpus_may_be_written_in_any_way() -> None:
    assert [parse_count(text) for text in ("8", 8, "8000m", "8.0", "0.008k")] == [8] * 5


def test_it_is_written_in_the_largest_unit_that_is_exact() -> None:
    assert [format_bytes(value) for value in (0, 1000, 1024, 2**28, 3 * 2**40, 2**60)] == [
        "0",
        "1000",
        "1Ki",
        "256Mi",
        "3Ti",
        "1Ei",
    ]
    assert [format_milli(value) for value in (0, 250, 1500, 2000)] == ["0", "250m", "1500m", "2"]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        # time.ParseDuration's own tests.
        ("0", 0),
        ("5s", 5 * SECOND),
        ("30s", 30 * SECOND),
        ("1478s", 1478 * SECOND),
        ("-5s", -5 * SECOND),
        ("+5s", 5 * SECOND),
        ("-0", 0),
        ("+0", 0),
        ("5.0s", 5 * SECOND),
        ("5.6s", 5 * SECOND + 600 * 10**6),
        ("5.s", 5 * SECOND),
        (".5s", SECOND // 2),
        ("1.004s", SECOND + 4 * 10**6),
        ("1.0040s", SECOND + 4 * 10**6),
        ("100.00100s", 100 * SECOND + 10**6),
        ("10ns", 10),
        ("11us", 11_000),
        ("12µs", 12_000),
        ("12μs", 12_000),
        ("13ms", 13 * 10**6),
        ("15m", 15 * MINUTE),
        ("16h", 16 * HOUR),
        ("3h30m", 3 * HOUR + 30 * MINUTE),
        ("10.5s4m", 4 * MINUTE + 10 * SECOND + 500 * 10**6),
        ("-2m3.4s", -(2 * MINUTE + 3 * SECOND + 400 * 10**6)),
        ("1h2m3s4ms5us6ns", HOUR + 2 * MINUTE + 3 * SECOND + 4 * 10**6 + 5000 + 6),
        ("52763797000ns", 52_763_797_000),
        ("0.3333333333333333333h", 20 * MINUTE),
        ("9007199254.740993ms", 9_007_199_254_740_993),
        ("0.9223372036854775807h", 3_320_413_933_267),
        ("0.5ns0.5ns", 0),
        ("9223372036854775807ns", CAP),
        ("0.100000000000000000000h", 6 * MINUTE),
    ],
)
def test_a_duration_is_what_go_reads(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    ["", "3", "-", "s", ".", "-.", ".s", "+.s", "1d", "1w", "1 s", "1s ", "3000000h", "9223372036854775808ns",
     "1h-30m", "٣s", "1" * 65, None, 5],
)  # fmt: skip
def test_what_go_refuses_is_refused(text: object) -> None:
    with pytest.raises(QuantityError, match="not a duration"):
        parse_duration(text)  # type: ignore[arg-type]
