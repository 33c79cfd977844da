r"""Patterns of `regex.match` that Go (in OPA) and Rust (in the embedded engine) read in the same way.

Both have linear engines with nearly the same language; what differs is refused by name. `\d`, `\w`, `\s` and `\b` are
ASCII in Go and all of Unicode in Rust, so that `^\d+$` would let other digits through in one engine alone.
"""

from __future__ import annotations

import re

_CLASSES = frozenset("dDsSwWbBpNP")
_PLAIN = frozenset("Aznrtfvax")
_COUNT = re.compile(r"\{\d{1,3}(?:,\d{0,3})?\}", re.ASCII)
_GROUP = re.compile(r"\(\?(?::|P<[A-Za-z_]\w*>|[imsU]+(?:-[imsU]+)?[:)]|-[imsU]+[:)])", re.ASCII)
_NAMED = re.compile(r"\[:\^?[a-z]+:\]")


def pattern_problem(pattern: str) -> str:
    """Why the engines may read a pattern in two ways; empty when they do not."""
    at, inside, counted = 0, False, False
    while at < len(pattern):
        character = pattern[at]
        length, problem, counts = 1, "", False
        if character == "\\":
            length, problem = 2, _escape_problem(pattern[at + 1 : at + 2])
        elif inside:
            length, inside, problem = _inside(pattern, at)
        elif character == "[":
            # A bracket that closes directly behind the opening one is itself a character of the set.
            inside, length = True, len(re.match(r"\[\^?\]?", pattern[at:])[0])  # type: ignore[index]
        elif character in "*+?{":
            length, problem = _count(pattern, at, counted=counted)
            counts = True
        elif pattern.startswith("(?", at) and not _GROUP.match(pattern, at):
            problem = "only (?:…), (?P<name>…) and the flags i, m, s and U are the same in both engines"
        if problem:
            return problem
        at, counted = at + length, counts
    return ""


def _escape_problem(character: str) -> str:
    if character in _CLASSES and character:
        return f"\\{character} is another set in each engine; write it out, such as [0-9] or [A-Za-z0-9_]"
    if character in _PLAIN and character:
        return ""
    if not character or character.isalnum() or not character.isascii() or character in "<>":
        return f"the escape \\{character} is not the same in both engines"
    return ""


def _inside(pattern: str, at: int) -> tuple[int, bool, str]:
    """Of a character in a set: how many it takes, whether the set goes on, and what is wrong."""
    if pattern[at] == "]":
        return 1, False, ""
    if named := _NAMED.match(pattern, at):
        return len(named[0]), True, ""
    if pattern[at] == "[" or pattern[at : at + 2] in ("&&", "--", "~~"):
        return 1, True, "[, &&, -- and ~~ in a set are not the same in both engines; write a backslash before them"
    return 1, True, ""


def _count(pattern: str, at: int, *, counted: bool) -> tuple[int, str]:
    length = 1
    if pattern[at] == "{":
        match = _COUNT.match(pattern, at)
        if match is None:
            return 1, "a brace that is no count up to 999 is an error in one engine; write a backslash before it"
        length = len(match[0])
    if counted:
        return length, "a count of a count is an error in one engine"
    # The question mark that makes a count lazy belongs to it.
    return length + (pattern[at + length : at + length + 1] == "?"), ""
