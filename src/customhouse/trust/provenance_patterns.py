"""Patterns of expectations: `*` is any text without a slash, `**` any text; everything else stands for itself.

Small letters and capitals differ. The whole text must match: `https://github.com/acme/*` is no prefix of
`https://github.com/acme/app/fork`.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_PATTERN = 1000
MAX_WILDCARDS = 8
_WILD = re.compile(r"(\*\*|\*)")


def matches(pattern: str, text: str) -> bool:
    """Whether a whole text is what the pattern says. The time is in proportion to text times wildcards.

    A regular expression would do it too, and take a power of the text's length: the text comes from strangers.
    """
    if "*" not in pattern:
        return text == pattern
    ends = {0}
    for part in _WILD.split(pattern):
        if part == "**":
            ends = set(range(min(ends), len(text) + 1))
        elif part == "*":
            ends = _within_segments(ends, text)
        elif part:
            ends = {end + len(part) for end in ends if text.startswith(part, end)}
        if not ends:
            return False
    return len(text) in ends


def says(pattern: str, text: str) -> bool:
    """Whether a parameter is as expected. Where a JSON list is expected (a command), item by item.

    As one text a wildcard would reach over the end of its argument: `["fit.py", "--seed=*"]` would let
    `["fit.py", "--seed=1", "--rows=elsewhere"]` pass.
    """
    wanted = _list(pattern)
    if wanted is None:
        return matches(pattern, text)
    found = _list(text)
    return found is not None and len(found) == len(wanted) and all(map(_item_says, wanted, found))


def _item_says(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, str) and isinstance(found, str):
        return matches(wanted, found)
    return json.dumps(wanted, sort_keys=True) == json.dumps(found, sort_keys=True)


def _list(text: str) -> list[Any] | None:
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _within_segments(ends: set[int], text: str) -> set[int]:
    reached: set[int] = set()
    for end in sorted(ends):
        if end in reached:  # it is on the way from an earlier one, up to the same slash
            continue
        slash = text.find("/", end)
        reached.update(range(end, (len(text) if slash < 0 else slash) + 1))
    return reached


def problem_of(pattern: str, *, address: bool = False) -> str:
    """Why a pattern is no good; empty when it is. `address`: scheme and host must be written out."""
    if len(pattern) > MAX_PATTERN or len(re.findall(r"\*+", pattern)) > MAX_WILDCARDS:
        return f"a pattern has at most {MAX_PATTERN} characters and {MAX_WILDCARDS} wildcards"
    if "***" in pattern:
        return "write * or **"
    if address:
        _, mark, rest = pattern.partition("://")
        host = rest.partition("/")[0] if mark else pattern
        if "*" in host or "*" in pattern.partition("://")[0]:
            return "a wildcard in the host would believe everybody: write scheme and host out"
    return ""
