"""JSON whose objects name each key once: RFC 8259, section 4 leaves open which of two counts, and readers differ.

json.loads(text, object_pairs_hook=each_once)
"""

from __future__ import annotations

from typing import Any


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its pairs; for `json.loads`. Raises ValueError that names a key which is there twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} is there twice, and readers differ in which they take")
    return made
