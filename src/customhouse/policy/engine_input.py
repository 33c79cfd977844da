"""What an engine is given: canonical JSON of a bounded size, whichever engine it is."""

from __future__ import annotations

from typing import Any

from customhouse._kit.canonical import CanonicalError, canonical_json
from customhouse.core.errors import PolicyError

MAX_INPUT = 1024 * 1024
"""Bytes of canonical JSON of one document of Facts."""


def input_bytes(document: Any, limit: int = MAX_INPUT) -> bytes:
    """The canonical JSON of an input. Raises PolicyError when there is none, or it is larger than `limit` bytes."""
    try:
        text = canonical_json(document)
    except CanonicalError as error:
        raise PolicyError(f"the input has no canonical JSON: {error}") from error
    if len(text) > limit:
        raise PolicyError(f"the input is {len(text)} bytes; the limit is {limit}")
    return text
