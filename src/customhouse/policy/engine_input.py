"""What an engine is given: canonical JSON of a bounded size, whichever engine it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def rule_path(query: str) -> str:
    """A query as a server's path below /v1/data: `data.a.b` → `a/b`. Raises PolicyError for what is no rule's name."""
    if not query.startswith("data.") or not query.replace("_", "").replace(".", "").isalnum():
        raise PolicyError(f"{query[:100]!r} is no path of a rule")
    return query.removeprefix("data.").replace(".", "/")


def batches(texts: Sequence[bytes], most: int, most_bytes: int) -> Iterator[list[bytes]]:
    """The texts in order, at most so many and so many bytes at a time; one that is larger goes alone."""
    batch: list[bytes] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == most or size + len(text) > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch
