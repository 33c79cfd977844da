"""Fields of JSON that stands for a protobuf message: each is read by its type, and what is wrong is named.

Base64 is read in its one canonical spelling, so that no two texts stand for the same signed bytes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from customhouse.core.errors import TamperError

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Fields:
    """A JSON object from a stranger. `what` names it in errors. `null` is the same as absent, as protobuf has it."""

    __slots__ = ("raw", "what")

    def __init__(self, raw: Any, what: str) -> None:
        if not isinstance(raw, dict):
            raise TamperError(f"{what} is not an object")
        self.raw: Mapping[str, Any] = raw
        self.what = what

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return self.raw.get(name) is not None

    def part(self, name: str) -> Fields:
        """A nested object."""
        if not self.has(name):
            raise TamperError(f"{self.what} has no {name}")
        return Fields(self.raw[name], f"{name} of {self.what}" if len(self.what) < 80 else name)

    def optional_part(self, name: str) -> Fields | None:
        """A nested object, None when it is absent."""
        return self.part(name) if self.has(name) else None

    def parts(self, name: str, most: int) -> tuple[Fields, ...]:
        """A list of objects, empty when it is absent."""
        return tuple(
            Fields(item, f"{name}[{position}] of {self.what}") for position, item in enumerate(self.list(name, most))
        )

    def list(self, name: str, most: int) -> list[Any]:
        """A list, empty when it is absent."""
        listed = self.raw.get(name)
        if listed is None:
            return []
        if not isinstance(listed, list):
            raise TamperError(f"{name} of {self.what} is not a list")
        if len(listed) > most:
            raise TamperError(f"{name} of {self.what} has more than {most} entries")
        return listed

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        value = self.raw.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise TamperError(f"{self.what} has no {name}" if value is None else f"{name} of {self.what} is not text")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """A whole number of 0 or more below 2⁶³: protobuf writes an int64 as text and reads both."""
        value = self.raw.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
            raise TamperError(f"{self.what} has no {name}" if value is None else f"{name} of {self.what} is no number")
        return value

    def octets(self, name: str) -> bytes:
        """Bytes, one at least."""
        return octets(self.text(name), f"{name} of {self.what}")


def octets(text: str, what: str) -> bytes:
    """The bytes that base64 stands for, one at least. Raises TamperError."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:  # binascii.Error, or a letter beyond ASCII
        raise TamperError(f"{what} is not base64") from error
    if not data:
        raise TamperError(f"{what} is empty")
    if base64.b64encode(data).decode() != text:
        raise TamperError(f"{what} is not canonical base64")
    return data
