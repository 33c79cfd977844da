"""Built-ins of Rego that the embedded engine answers otherwise than OPA, answered as OPA does.

They are put in the place of the engine's own. A call that is an error in OPA raises ValueError; the engine then ends
the evaluation, and its caller asks again in the tolerant way. Numbers of units are decimal, and bounded in length:
the engine's own need seconds for a hostile text.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from customhouse.policy.adapters.go_format import format_text

MAX_RANGE = 100_000
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
_UNIT = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?)([A-Za-z]*)")
_DECIMAL = {
    "": 0,
    "m": -3,
    "k": 3,
    "K": 3,
    "M": 6,
    "g": 9,
    "G": 9,
    "t": 12,
    "T": 12,
    "p": 15,
    "P": 15,
    "e": 18,
    "E": 18,
}
_BINARY = {"ki": 1, "mi": 2, "gi": 3, "ti": 4, "pi": 5, "ei": 6}
_BYTES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004 - one class for every call that has no value
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("not an integer")  # noqa: TRY004 - as above
    return value


def to_number(value: Any) -> Any:
    """Null is 0, booleans are 0 and 1, a text is read as Go's ParseFloat reads it."""
    if value is None:
        return 0
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return value
    text = _text(value)
    if len(text) > 64 or not _NUMBER.fullmatch(text):
        raise ValueError("invalid syntax")
    number = Decimal(text)
    if number == number.to_integral_value() and abs(number) < 2**53:
        return int(number)
    return float(number)


def units_parse(value: Any) -> Any:
    """Numbers with the suffixes of Kubernetes: `250m`, `1.5Gi`. `m` is milli, `M` mega."""
    number, unit = _unit(value)
    if unit in _DECIMAL:
        return _exact(number.scaleb(_DECIMAL[unit]))
    if unit.lower() in _BINARY:
        return _exact(number * 1024 ** _BINARY[unit.lower()])
    raise ValueError("unit not recognised")


def units_parse_bytes(value: Any) -> Any:
    """Bytes: `K` and `KB` are 1000, `Ki` and `KiB` 1024, whatever the case; parts of a byte are cut off."""
    number, unit = _unit(value)
    name = unit.lower().removesuffix("b") if unit.lower() != "b" else ""
    if name.endswith("i") and name[:-1] in _BYTES and name != "i":
        return int(number * 1024 ** _BYTES[name[:-1]])
    if name not in _BYTES:
        raise ValueError("unit not recognised")
    return int(number * 1000 ** _BYTES[name])


def _unit(value: Any) -> tuple[Decimal, str]:
    text = _text(value).replace('"', "")
    match = _UNIT.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        raise ValueError("no amount, or spaces in it")
    return Decimal(match[1]), match[2]


def _exact(number: Decimal) -> Any:
    return int(number) if number == number.to_integral_value() else float(number)


def substring(value: Any, offset: Any, length: Any) -> str:
    """Characters from an offset that is not negative; a negative length is to the end."""
    text, start, count = _text(value), _whole(offset), _whole(length)
    if start < 0:
        raise ValueError("negative offset")
    return text[start:] if count < 0 else text[start : start + count]


def indexof(value: Any, wanted: Any) -> int:
    """The index in characters, or -1."""
    if not _text(wanted):
        raise ValueError("empty search text")
    return _text(value).find(wanted)


def array_slice(value: Any, start: Any, stop: Any) -> list[Any]:
    """From start to before stop, both cut to the list."""
    if not isinstance(value, list):
        raise ValueError("not a list")  # noqa: TRY004 - as above
    last = min(max(_whole(stop), 0), len(value))
    first = min(max(_whole(start), 0), len(value))
    return value[first:last] if first < last else []


def numbers_range(first: Any, last: Any) -> list[int]:
    """Both ends included, up or down; at most 100,000."""
    low, high = _whole(first), _whole(last)
    if abs(high - low) >= MAX_RANGE:
        raise ValueError(f"more than {MAX_RANGE} numbers")
    return list(range(low, high + 1)) if low <= high else list(range(low, high - 1, -1))


def object_subset(whole: Any, part: Any) -> bool:
    """Whether `part` is in `whole`: objects by key and deeply, sets by element, lists as a run."""
    if isinstance(whole, Mapping) and isinstance(part, Mapping):
        return all(key in whole and _inside(whole[key], value) for key, value in part.items())
    if isinstance(whole, (set, frozenset)) and isinstance(part, (set, frozenset)):
        return part <= whole
    if isinstance(whole, list) and isinstance(part, list):
        return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))
    if isinstance(whole, list) and isinstance(part, (set, frozenset)):
        # As OPA counts: an element that is in the list twice counts twice, and an empty list holds nothing at all.
        left = len(part)
        for item in whole:
            left -= any(_inside(item, other) for other in part)
            if left <= 0:
                return True
        return False
    raise ValueError("these kinds cannot be compared")


def _inside(whole: Any, part: Any) -> bool:
    kinds = (Mapping, (set, frozenset), list)
    if any(isinstance(whole, kind) and isinstance(part, kind) for kind in kinds):
        return object_subset(whole, part)
    return type(whole) is type(part) and bool(whole == part)


def cidr_intersects(first: Any, second: Any) -> bool:
    """Whether two networks share an address."""
    one, other = (ipaddress.ip_network(_text(item), strict=False) for item in (first, second))
    return one.version == other.version and one.overlaps(other)


def lower(value: Any) -> str:
    """Each character by itself, as Go does it: `İ` becomes `i`, and `Σ` is `σ` at the end of a word too."""
    text = _text(value)
    return text.lower() if text.isascii() else "".join(_one(char, char.lower(), char.lower()[:1]) for char in text)


def upper(value: Any) -> str:
    """Each character by itself, as Go does it: `ß` stays."""
    text = _text(value)
    return text.upper() if text.isascii() else "".join(_one(char, char.upper(), char.title()) for char in text)


def _one(char: str, full: str, simple: str) -> str:
    if len(full) == 1:
        return full
    return simple if len(simple) == 1 else char


def replace(value: Any, old: Any, new: Any) -> str:
    """All of them. An empty `old` is between all bytes in OPA, and refused here."""
    if not _text(old):
        raise ValueError("empty search text")
    return _text(value).replace(old, _text(new))


def strings_count(value: Any, wanted: Any) -> int:
    """How often, without overlaps; the empty text is before and after each character."""
    return _text(value).count(_text(wanted))


def base64_decode(value: Any) -> str:
    """Standard alphabet with padding. What is no UTF-8 has no text that two engines would agree on."""
    import base64  # loaded where it is needed, which is in few policies

    text = _text(value).replace("\n", "").replace("\r", "")
    try:
        return base64.b64decode(text.encode("ascii"), validate=True).decode("utf-8")
    except ValueError as error:
        raise ValueError("not base64, or not of a text") from error


def _hashed(name: str) -> Callable[[Any], str]:
    def hashed(value: Any) -> str:
        import hashlib  # its library is large, and most policies make no digest

        return hashlib.new(name, _text(value).encode(), usedforsecurity=False).hexdigest()

    return hashed


def _sprintf(text: Any, values: Any) -> str:
    if not isinstance(values, list):
        raise ValueError("not a list")  # noqa: TRY004 - as above
    return format_text(_text(text), values)


def _finite(call: Callable[..., Any]) -> Callable[..., Any]:
    def finite(*values: Any) -> Any:
        answer = call(*values)
        if isinstance(answer, float) and not math.isfinite(answer):
            raise ValueError("not a number that JSON has")
        return answer

    return finite


OWN: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "sprintf": (2, _sprintf),
    "to_number": (1, _finite(to_number)),
    "units.parse": (1, _finite(units_parse)),
    "units.parse_bytes": (1, units_parse_bytes),
    "substring": (3, substring),
    "indexof": (2, indexof),
    "array.slice": (3, array_slice),
    "numbers.range": (2, numbers_range),
    "object.subset": (2, object_subset),
    "net.cidr_intersects": (2, cidr_intersects),
    "lower": (1, lower),
    "upper": (1, upper),
    "replace": (3, replace),
    "strings.count": (2, strings_count),
    "base64.decode": (1, base64_decode),
    "crypto.md5": (1, _hashed("md5")),
    "crypto.sha1": (1, _hashed("sha1")),
    "crypto.sha256": (1, _hashed("sha256")),
}
"""Name → number of arguments and the function."""
