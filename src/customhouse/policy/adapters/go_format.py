"""`sprintf` of Rego: Go's fmt.Sprintf over what OPA hands to it (texts, integers, floats; all else as Rego writes it).

The rules are those of the package documentation of Go's fmt. Argument indexes (`%[1]d`) and `*` widths are not read:
they raise ValueError, and the policy is asked of OPA.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

_VERB = re.compile(r"%([-+# 0]*)(\d+)?(?:\.(\d+)?)?(.)?", re.DOTALL)
_MAX_WIDTH = 1000
_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def format_text(text: str, values: list[Any]) -> str:
    """The formatted text. Raises ValueError for what is not read."""
    arguments = [_argument(value) for value in values]
    used = 0
    parts, position = [], 0
    for match in _VERB.finditer(text):
        parts.append(text[position : match.start()])
        position = match.end()
        verb = match[4]
        if verb is None:
            parts.append("%!(NOVERB)")
        elif verb == "%":
            parts.append("%")
        elif verb in "[*":
            raise ValueError("an argument index or a width from an argument")
        elif used >= len(arguments):
            parts.append(f"%!{verb}(MISSING)")
        else:
            parts.append(_formatted(match, arguments[used]))
            used += 1
    parts.append(text[position:])
    if used < len(arguments):
        extra = ", ".join(f"{_type(value)}={_plain(value)}" for value in arguments[used:])
        parts.append(f"%!(EXTRA {extra})")
    return "".join(parts)


def rego_text(value: Any) -> str:
    """A value as Rego writes it: `{"a": 1}`, `{1, 2}`, `set()`."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: (str(type(item[0])), item[0]))
        return "{" + ", ".join(f"{rego_text(key)}: {rego_text(item)}" for key, item in items) + "}"
    if isinstance(value, (set, frozenset)):
        items = sorted(value, key=_order)
        return "{" + ", ".join(map(rego_text, items)) + "}" if items else "set()"
    if isinstance(value, list):
        return "[" + ", ".join(map(rego_text, value)) + "]"
    return json.dumps(value)


def quoted(text: str) -> str:
    """As Go's strconv.Quote: what cannot be printed is escaped."""
    parts = []
    for character in text:
        if character in '"\\':
            parts.append("\\" + character)
        elif character in _ESCAPES:
            parts.append(_ESCAPES[character])
        elif character == " " or (character.isprintable() and character != "\u00a0"):
            parts.append(character)
        elif ord(character) < 0x80:
            parts.append(f"\\x{ord(character):02x}")
        elif ord(character) < 0x10000:
            parts.append(f"\\u{ord(character):04x}")
        else:
            parts.append(f"\\U{ord(character):08x}")
    return '"' + "".join(parts) + '"'


def _order(value: Any) -> tuple[int, Any]:
    """Rego's order of kinds: null, booleans, numbers, texts, lists."""
    if value is None:
        return 0, 0
    if isinstance(value, bool):
        return 1, value
    if isinstance(value, (int, float)):
        return 2, value
    return (3, value) if isinstance(value, str) else (4, str(value))


def _argument(value: Any) -> str | int | float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return rego_text(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return value
    return value


def _type(value: str | float) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, float):
        return "float64"
    return "int64" if abs(value) < 2**63 else "*big.Int"


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else _general(value, None)


def _formatted(match: re.Match[str], value: str | float) -> str:
    flags, verb = match[1], match[4]
    width = int(match[2] or 0)
    dotted = "." in match[0][:-1]
    precision = int(match[3] or 0) if dotted else None
    if width > _MAX_WIDTH or (precision or 0) > _MAX_WIDTH:
        raise ValueError("a width of more than 1,000")
    body = _body(verb, flags, precision, value)
    if body is None:
        return f"%!{verb}({_type(value)}={_plain(value)})"
    numeric = not isinstance(value, str)
    if numeric and verb in "vdfFeEgGxXob" and not body.startswith("-"):
        body = "+" + body if "+" in flags else " " + body if " " in flags else body
    if len(body) >= width:
        return body
    if "-" in flags:
        return body.ljust(width)
    if "0" in flags and (numeric and (verb != "d" or precision is None)):
        sign = body[:1] if body[:1] in "+- " else ""
        return sign + body[len(sign) :].rjust(width - len(sign), "0")
    return body.rjust(width, "0" if "0" in flags and not numeric else " ")


def _body(verb: str, flags: str, precision: int | None, value: str | float) -> str | None:
    if isinstance(value, str):
        return _of_text(verb, flags, precision, value)
    if isinstance(value, int):
        return _of_int(verb, flags, precision, value)
    return _of_float(verb, precision, value)


def _of_text(verb: str, flags: str, precision: int | None, value: str) -> str | None:
    if verb in "sv" and "#" not in flags:
        return value if precision is None else value[:precision]
    if verb == "q" and "#" not in flags and "+" not in flags:
        return quoted(value if precision is None else value[:precision])
    if verb in "xX" and not flags.strip("-0"):
        digits = (value.encode() if precision is None else value.encode()[:precision]).hex()
        return digits.upper() if verb == "X" else digits
    if flags.strip("-0") and verb in "svqxX":
        raise ValueError("a flag that is not read")
    return None


def _of_int(verb: str, flags: str, precision: int | None, value: int) -> str | None:
    base = {"d": "d", "v": "d", "b": "b", "o": "o", "x": "x", "X": "X"}.get(verb)
    if base is not None:
        if "#" in flags and verb != "v":
            raise ValueError("a flag that is not read")
        digits = format(abs(value), base).rjust(precision or 0, "0")
        return "-" + digits if value < 0 else digits
    if verb in "cqUO":
        raise ValueError("a verb that is not read")
    return None


def _of_float(verb: str, precision: int | None, value: float) -> str | None:
    if verb in "fF":
        return f"{value:.{6 if precision is None else precision}f}"
    if verb in "eE":
        return f"{value:.{6 if precision is None else precision}{verb}}"
    if verb in "vgG":
        text = _general(value, precision, 21 if verb == "v" else None)
        return text.upper() if verb == "G" else text
    if verb in "bxX":
        raise ValueError("a verb that is not read")
    return None


def _general(value: float, precision: int | None, limit: int | None = 21) -> str:
    """The shortest text that reads back as the same number; with an exponent below -4 and from `limit` on."""
    if precision is not None:
        return f"{value:.{precision or 1}g}"
    if value == 0 or not math.isfinite(value):
        return "-0" if math.copysign(1, value) < 0 else "0"
    _, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    point = len(digits) + int(exponent) - 1
    threshold = limit if limit is not None else max(len(digits), 6) if len(digits) <= 6 else max(len(digits), 21)
    sign = "-" if value < 0 else ""
    if -4 <= point < threshold:
        return sign + format(abs(Decimal(repr(value)).normalize()), "f")
    text = "".join(map(str, digits))
    tail = f".{text[1:]}" if len(text) > 1 else ""
    return f"{sign}{text[0]}{tail}e{'-' if point < 0 else '+'}{abs(point):02d}"
