"""Kubernetes quantities and Go durations, exactly as their own parsers read them; integers and fractions out.

Sources: apimachinery `resource.Quantity` (grammar: sign, number, suffix; nine decimal places kept, rounded away from
zero; capped at 2^63-1) and Go's `time.ParseDuration`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

# ASCII: `\d` alone takes the digits of every script, which no API server does.
_QUANTITY = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:([numkMGTPE]|[KMGTPE]i)|([eE][+-]?\d{1,3}))?", re.ASCII)
_SUFFIX: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}
_LIMIT = 2**63 - 1
_DURATION_PART = re.compile(r"(?=\.?\d)(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


# What nearly every object asks for: a short whole number and a suffix above one. Sums of these need no fractions.
_WHOLE = re.compile(r"(\d{1,9})(m|[kMG]|[KMG]i|)", re.ASCII)
_MILLI_OF = {
    "m": 1,
    "": 10**3,
    "k": 10**6,
    "M": 10**9,
    "G": 10**12,
    "Ki": 1000 << 10,
    "Mi": 1000 << 20,
    "Gi": 1000 << 30,
}


class QuantityError(ValueError):
    """Not a Kubernetes quantity or duration; the message quotes it and shows a good one."""


def parse_quantity(text: str | float) -> Fraction:
    """The exact value of a Kubernetes quantity (`500m`, `1.5Gi`, `2e3`), capped like apimachinery at 2^63-1.

    Raises QuantityError for anything that the API server would refuse. Numbers (YAML `cpu: 2`, `cpu: 0.1`) are read as
    they are written: a float by its shortest decimal text, so 0.1 is exactly one tenth.
    """
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise QuantityError(f"{text!r} is not a quantity; write for example 500m, 2 or 4Gi")
    return _value_of(str(text))


@lru_cache(maxsize=8192)
def _value_of(text: str) -> Fraction:
    """The few hundred sizes that a fleet has are asked for again and again, in exact fractions."""
    match = _QUANTITY.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        raise QuantityError(f"{text[:64]!r} is not a quantity; write for example 500m, 2 or 4Gi")
    sign, number, suffix, exponent = match.groups()
    value = Fraction(number.rstrip(".") or "0")
    if exponent:
        power = int(exponent[1:])
        value *= Fraction(10) ** power
    else:
        value *= _SUFFIX[suffix or ""]
    # apimachinery keeps nine decimal places and rounds away from zero, so the smallest request is never lost.
    scaled = -(-(value * 10**9).numerator // (value * 10**9).denominator)
    value = min(Fraction(scaled, 10**9), Fraction(_LIMIT))
    return -value if sign == "-" else value


def parse_milli(text: str | float) -> int:
    """A CPU or GPU quantity in thousandths, rounded up as the scheduler does (`Quantity.MilliValue`)."""
    return _milli_of(text) if type(text) is str else _ceiling(parse_quantity(text) * 1000)


@lru_cache(maxsize=8192)
def _milli_of(text: str) -> int:
    whole = _WHOLE.fullmatch(text)
    return _ceiling(parse_quantity(text) * 1000) if whole is None else int(whole[1]) * _MILLI_OF[whole[2]]


def parse_bytes(text: str | float) -> int:
    """A memory or storage quantity in bytes, rounded up (`Quantity.Value`)."""
    return _bytes_of(text) if type(text) is str else _ceiling(parse_quantity(text))


@lru_cache(maxsize=8192)
def _bytes_of(text: str) -> int:
    whole = _WHOLE.fullmatch(text)
    return _ceiling(parse_quantity(text)) if whole is None else -(-int(whole[1]) * _MILLI_OF[whole[2]] // 1000)


def parse_count(text: str | float) -> int:
    """An extended resource (`nvidia.com/gpu`): whole units only. Raises QuantityError for a fraction."""
    value = parse_quantity(text)
    if value.denominator != 1 or value < 0:
        raise QuantityError(f"{text!r} is not a whole number; extended resources cannot be split")
    return value.numerator


def format_bytes(value: int) -> str:
    """The shortest exact quantity of a byte count: `268435456` is `256Mi`, `1000` is `1000`."""
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        unit = _SUFFIX[suffix].numerator
        if value and value % unit == 0:
            return f"{value // unit}{suffix}"
    return str(value)


def format_milli(value: int) -> str:
    """The shortest exact quantity of thousandths: 1500 is `1500m`, 2000 is `2`."""
    return str(value // 1000) if value % 1000 == 0 else f"{value}m"


def parse_duration(text: str) -> int:
    """A Go duration (`1h30m`, `250ms`, `-1.5s`, `0`) in nanoseconds. Raises QuantityError for anything else."""
    if not isinstance(text, str) or len(text) > 64:
        raise QuantityError(f"{str(text)[:64]!r} is not a duration; write for example 30s, 5m or 1h30m")
    body = text[1:] if text[:1] in "+-" else text
    if body == "0":
        return 0
    position, nanoseconds = 0, 0
    while position < len(body):
        match = _DURATION_PART.match(body, position)
        if match is None:
            break
        unit = _NANOSECONDS[match[3]]
        nanoseconds += int(match[1] or "0") * unit + _go_fraction(match[2] or "", unit)
        position = match.end()
    if not body or position != len(body) or nanoseconds > _LIMIT:
        raise QuantityError(f"{text!r} is not a duration; write for example 30s, 5m or 1h30m")
    return -nanoseconds if text.startswith("-") else nanoseconds


def _go_fraction(digits: str, unit: int) -> int:
    """What follows the decimal point, in whole nanoseconds, as Go's leadingFraction and ParseDuration compute it.

    Go multiplies in floating point and cuts each part off; exact arithmetic would differ from it by a nanosecond.
    """
    value, scale = 0, 1.0
    for digit in digits:
        if value > _LIMIT // 10:
            break
        value = value * 10 + int(digit)
        scale *= 10
    return int(float(value) * (float(unit) / scale))


def _ceiling(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
