"""Where in a JSON text an offset lies, as a JSON pointer: a broken file names the member that is broken."""

from __future__ import annotations

import re

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_MOST_TEXT = 64


def place_of(data: bytes, offset: int) -> str:
    """The pointer of the innermost member that holds `offset`; `/` for the document itself.

    The text need not be JSON any more behind the offset: what stands before it is enough.
    """
    stack: list[str | int] = []
    key = ""
    expects_key = False
    for token in _TOKEN.finditer(data, 0, min(len(data), offset + 1)):
        text = token[0]
        if token.start() >= offset > 0:
            break  # what stands there may be what is wrong
        if text == b"{":
            stack.append("")
            expects_key = True
        elif text == b"[":
            stack.append(0)
        elif text in (b"}", b"]"):
            if token.end() > offset:
                break  # the bracket itself is the place: it belongs to what it closes
            if stack:
                stack.pop()
            expects_key = False
        elif text == b",":
            if stack and isinstance(stack[-1], int):
                stack[-1] += 1
            else:
                expects_key = True
        elif text == b":":
            expects_key = False
        elif expects_key and stack and isinstance(stack[-1], str):
            key = text.strip(b'"').decode("utf-8", "replace")[:_MOST_TEXT]
            stack[-1] = key.replace("~", "~0").replace("/", "~1")
    parts = [str(part) for part in stack if part != ""]
    return "/" + "/".join(parts)


def first_difference(one: bytes, other: bytes) -> int:
    """The offset at which two texts part."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # the beginnings that are alike, by halves: comparing bytes is fast, counting them is not
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
