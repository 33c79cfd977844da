"""Facts: the one canonical document that policies see about one Change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customhouse._kit.digest import json_digest

SCHEMA = "customhouse.dev/facts/v1"


@dataclass(frozen=True, slots=True)
class Facts:
    """A bounded JSON document (see docs/reference/facts.md for its shape). Rules call no clock: `as_of` is in it."""

    document: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """The digest of its RFC 8785 form."""
        return json_digest(self.document)
