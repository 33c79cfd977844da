"""JSON from strangers: one reading per document. Two parsers must not see two things in one signed text."""

from __future__ import annotations

import json
from typing import Any

from customhouse.core.errors import EvidenceError

MAX_BYTES = 16 << 20
"""The largest evidence: a bill of materials has about 0.5 KB a component, so this is some 30,000 components."""
MAX_DEPTH = 64


def parse(data: bytes, where: str, *, max_bytes: int = MAX_BYTES) -> Any:
    """The JSON value of `data`.

    Raises EvidenceError for more than `max_bytes` or MAX_DEPTH, duplicate keys, NaN, and what is not UTF-8 JSON.
    """
    if len(data) > max_bytes:
        raise EvidenceError(f"larger than {max_bytes} bytes", where=where)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError as error:
        raise EvidenceError("nested too deeply", where=where) from error
    except ValueError as error:
        raise EvidenceError(f"not JSON: {error}", where=where) from error
    if _too_deep(value):
        raise EvidenceError(f"nested more than {MAX_DEPTH} deep", where=where)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} is there twice")
    return made


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return False
        level = below
    return True
