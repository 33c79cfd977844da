"""Reading fields of an object that people wrote: the value, its default, or an error with the JSON pointer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from customhouse._kit.canonical import MAX_SAFE_INTEGER
from customhouse._kit.quantity import QuantityError
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Manifest


def mapping(values: Any, key: str, pointer: str) -> Mapping[str, Any]:
    """A field that holds a mapping; empty when absent or null."""
    value = values.get(key) if type(values) is dict or isinstance(values, Mapping) else None
    if value is None:
        return {}
    # To ask an abstract class takes longer than all the rest, and is asked a hundred times for one object.
    if type(value) is not dict and not isinstance(value, Mapping):
        raise DeclarationError(f"{key} is not a mapping", where=f"{pointer}/{escaped(key)}")
    return value


def items(values: Mapping[str, Any], key: str, pointer: str) -> Sequence[Any]:
    """A field that holds a list; empty when absent or null."""
    value = values.get(key)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise DeclarationError(f"{key} is not a list", where=f"{pointer}/{escaped(key)}")
    return value


def text(values: Mapping[str, Any], key: str, pointer: str) -> str:
    """A text field; empty when absent or null."""
    value = values.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DeclarationError(f"{key} is {value!r}; write a text", where=f"{pointer}/{escaped(key)}")
    return value


def count(value: Any, name: str, pointer: str) -> int:
    """A whole number that is not negative; also as text of decimal digits, as annotations have it."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SAFE_INTEGER:
        raise DeclarationError(f"{name} is {str(value)[:40]!r}; write a whole number", where=pointer)
    return value


def amount(parse: Callable[[Any], int], values: Mapping[str, Any], key: str, pointer: str) -> int:
    """A quantity as a whole number, 0 when absent.

    Beyond 2^53-1 it is refused here, with its place: no rule engine could hold it exactly, and no machine has it.
    """
    if values.get(key) is None:
        return 0
    try:
        value = parse(values[key])
    except QuantityError as error:
        raise DeclarationError(f"{key}: {error}", where=pointer) from error
    if value < 0:
        raise DeclarationError(f"{key} is negative", where=pointer)
    if value > MAX_SAFE_INTEGER:
        raise DeclarationError(f"{key} is {str(values[key])[:64]}: no machine has that much", where=pointer)
    return value


def at(manifest: Manifest, pointer: str) -> Mapping[str, Any]:
    """The mapping at a JSON pointer; empty where a part is absent. Raises DeclarationError for another type."""
    value: Mapping[str, Any] = manifest
    place = ""
    for part in pointer.split("/")[1:]:
        value = mapping(value, unescaped(part), place)
        place += f"/{part}"
    return value


def look(value: Any, pointer: str) -> Any:
    """Whatever is at a JSON pointer below `value`; None where it does not lead anywhere."""
    for part in pointer.split("/")[1:]:
        if type(value) is dict or isinstance(value, Mapping):
            value = value.get(unescaped(part) if "~" in part else part)
        elif isinstance(value, (list, tuple)) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def matches(value: Any, pattern: str, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Every (pointer, value) that a pattern with `*` leads to, in the order of lists, keys sorted; null leads nowhere.

    Raises DeclarationError where the pattern goes on below a number or a text.
    """
    head, _, rest = pattern.removeprefix("/").partition("/")
    if not pattern:
        if value is not None:
            yield pointer, value
        return
    rest = f"/{rest}" if rest else ""
    if value is None:
        return
    if not isinstance(value, (Mapping, list, tuple)):
        raise DeclarationError(f"{str(value)[:40]!r} where more fields were expected", where=pointer)
    if isinstance(value, (list, tuple)):
        if head != "*":
            raise DeclarationError("a list where a mapping was expected", where=pointer)
        for index, item in enumerate(value):
            yield from matches(item, rest, f"{pointer}/{index}")
    elif head == "*":
        for key in sorted(value):
            yield from matches(value[key], rest, f"{pointer}/{escaped(key)}")
    else:
        yield from matches(value.get(unescaped(head)), rest, f"{pointer}/{head}")


def escaped(key: str) -> str:
    """A key as part of a JSON pointer (RFC 6901)."""
    return str(key).replace("~", "~0").replace("/", "~1")


def unescaped(part: str) -> str:
    """The key that a part of a JSON pointer names."""
    return part.replace("~1", "/").replace("~0", "~")
