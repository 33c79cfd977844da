"""What an unquoted scalar of YAML means to Kubernetes: go-yaml's `resolve.go`, as `yaml_values` tells at its top.

Apart from it so that whoever needs no places of values loads no types for them.
"""

from __future__ import annotations

import math
import re
from typing import TypeAlias

from customhouse._kit.canonical import MAX_SAFE_INTEGER

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

_WORDS: dict[str, bool | None] = {
    **{word: True for plain in ("y", "yes", "true", "on") for word in (plain, plain.capitalize(), plain.upper())},
    **{word: False for plain in ("n", "no", "false", "off") for word in (plain, plain.capitalize(), plain.upper())},
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_NOT_FINITE = {sign + word for word in (".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF") for sign in ("", "+", "-")}
_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASES = (16, 2, 8, 10)


def plain_value(text: str) -> Json:
    """What an unquoted scalar means. Raises ValueError for NaN, infinities and integers beyond ±(2^53-1)."""
    if text in _WORDS:
        return _WORDS[text]
    if text in _NOT_FINITE:
        raise ValueError("not a number that JSON has")
    if text[0] not in "+-.0123456789":
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    match = _INTEGER.fullmatch(digits)
    if match is not None:
        base, number = next((b, n) for b, n in zip(_BASES, match.groups()[1:], strict=True) if n is not None)
        # Bounded before int(): its cost grows with the square of the number of digits.
        if len(number) > 64 or abs(value := int(number, base)) > MAX_SAFE_INTEGER:
            raise ValueError("an integer beyond 2^53-1")
        return -value if match[1] == "-" else value
    if _FLOAT.fullmatch(digits):
        number_value = float(digits)
        return number_value if math.isfinite(number_value) else text
    return text
