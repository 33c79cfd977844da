"""Facts: the one canonical document that policies see about one Change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse._kit.canonical import Canonical, canonical_json
from customhouse._kit.digest import bytes_digest, json_digest

SCHEMA = "customhouse.dev/facts/v1"


@dataclass(frozen=True, slots=True)
class Facts:
    """A bounded JSON document (see docs/reference/facts.md for its shape). Rules call no clock: `as_of` is in it."""

    document: Mapping[str, Any]
    _text: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any], text: bytes) -> Facts:
        """Facts whose canonical form was written already, when their bounds were looked at."""
        made = cls(document)
        object.__setattr__(made, "_text", text)
        return made

    @property
    def canonical(self) -> Canonical:
        """The document beside its RFC 8785 form."""
        return Canonical(self.document, canonical_json(self.document) if self._text is None else self._text)

    @property
    def digest(self) -> str:
        """The digest of its RFC 8785 form."""
        return json_digest(self.document) if self._text is None else bytes_digest(self._text)
