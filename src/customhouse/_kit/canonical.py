"""Canonical JSON (RFC 8785, JCS): one byte string per JSON value, so that a digest of it means something."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

MAX_SAFE_INTEGER = 2**53 - 1
"""RFC 8785 section 3.2.2.3: numbers are IEEE 754 doubles; a larger integer would be read back as another number."""

MAX_DEPTH = 128
"""Nested deeper than any declaration or statement; the limit is said in words instead of by an exhausted stack."""

JsonValue = Any
"""None, bool, int, float, str, or lists and string-keyed mappings of these."""

_PLAIN = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
# UTF-16 orders these behind what stands behind them by code points (RFC 8785 section 3.2.3); lone surrogates are none.
_BEYOND = "[\ud800-\U0010ffff]"
"""Compiled when a text needs it, which few do."""
_LITERALS = {None: "null", True: "true", False: "false"}


class Canonical(dict[str, Any]):
    """A JSON object beside its canonical form, for those who need both: it is not written twice. Not to be altered."""

    __slots__ = ("text",)

    def __init__(self, value: Mapping[str, Any], text: bytes) -> None:
        super().__init__(value)
        self.text = text


class CanonicalError(ValueError):
    """The value has no canonical JSON form; the message says where and why."""


def canonical_json(value: JsonValue) -> bytes:
    """The RFC 8785 form of `value` as UTF-8 bytes.

    Raises CanonicalError for NaN, infinities, integers beyond ±(2^53-1), lone surrogates, non-string keys, types that
    JSON does not have and values nested deeper than MAX_DEPTH.
    """
    if type(value) is Canonical:
        return value.text
    if (plain := _plain(value)) is not None:
        return plain
    parts: list[str] = []
    _write(value, parts, [])
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise CanonicalError(f"a string holds a lone surrogate: {error}") from error


def _plain(value: JsonValue) -> bytes | None:
    """The same bytes in less time, for what Python's own encoder writes as RFC 8785 does; None for the rest."""
    kind = type(value)
    if (kind is not dict and kind is not list) or not _shallow(value):
        return None
    try:
        text = _PLAIN.encode(value)
    except (TypeError, ValueError, RecursionError):
        return None  # said in words by the careful way
    return None if not text.isascii() and re.search(_BEYOND, text) else text.encode("utf-8")


def _shallow(value: JsonValue) -> bool:
    """Whether all keys are text, everything is of a plain type, and nothing is nested too deep."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return False
        inner: list[Any] = []
        for item in level:
            if type(item) is dict:
                for key in item:
                    if type(key) is not str:
                        return False
                members = item.values()
            else:
                members = item
            for member in members:
                kind = type(member)
                if kind is dict or kind is list:
                    inner.append(member)
                elif kind is int:
                    if not -MAX_SAFE_INTEGER <= member <= MAX_SAFE_INTEGER:
                        return False
                elif kind is not str and kind is not bool and member is not None:
                    return False  # a float is written in another way, a type of somebody else's has to be looked at
        level = inner
    return True


def _write(value: JsonValue, parts: list[str], path: list[str | int]) -> None:
    """Append the form of `value`; `path` is where it is, written out only when something is wrong."""
    if isinstance(value, str):
        parts.append(encode_basestring(value))
    elif value is None or value is True or value is False:
        parts.append(_LITERALS[value])
    elif isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise CanonicalError(f"{_place(path)}: integer {value} is beyond 2^53-1; write it as a string")
        parts.append(int.__repr__(value))
    elif isinstance(value, float):
        parts.append(_number(value, path))
    elif len(path) >= MAX_DEPTH:
        raise CanonicalError(f"{_place(path)[:80]}…: nested deeper than {MAX_DEPTH}")
    elif isinstance(value, Mapping):
        _write_mapping(value, parts, path)
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        separator = "["
        for index, item in enumerate(value):
            parts.append(separator)
            separator = ","
            path.append(index)
            _write(item, parts, path)
            path.pop()
        parts.append("]" if separator == "," else "[]")
    else:
        raise CanonicalError(f"{_place(path)}: {type(value).__name__} is not JSON")


def _write_mapping(value: Mapping[Any, JsonValue], parts: list[str], path: list[str | int]) -> None:
    ascii_only = True
    for key in value:
        if not isinstance(key, str):
            raise CanonicalError(f"{_place(path)}: key {key!r} is not a string")
        ascii_only = ascii_only and key.isascii()
    # Section 3.2.3: keys are ordered by their UTF-16 code units, not by code points; for ASCII they are the same.
    keys = sorted(value) if ascii_only else sorted(value, key=lambda text: text.encode("utf-16-be", "surrogatepass"))
    separator = "{"
    for key in keys:
        parts.append(f"{separator}{encode_basestring(key)}:")
        separator = ","
        path.append(key)
        _write(value[key], parts, path)
        path.pop()
    parts.append("}" if separator == "," else "{}")


def _place(path: list[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _number(value: float, path: list[str | int]) -> str:
    """ECMAScript's Number::toString (ECMA-262 section 6.1.6.1.20) from Python's shortest round-trip digits."""
    if not math.isfinite(value):
        raise CanonicalError(f"{_place(path)}: {value} is not a JSON number")
    if value == 0:
        return "0"
    digits, _, power = repr(abs(value)).partition("e")
    whole, _, fraction = digits.partition(".")
    shown = (whole + fraction).lstrip("0")
    # `point`: how many of the shown digits stand left of the decimal point (the specification's n).
    point = len(shown) - len(fraction) + int(power or 0)
    shown = shown.rstrip("0")
    sign = "-" if value < 0 else ""
    count = len(shown)
    if count <= point <= 21:
        return sign + shown + "0" * (point - count)
    if 0 < point <= 21:
        return sign + shown[:point] + "." + shown[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + shown
    power10 = point - 1
    tail = f"e{'+' if power10 > 0 else '-'}{abs(power10)}"
    return sign + shown[0] + ("." + shown[1:] if count > 1 else "") + tail
