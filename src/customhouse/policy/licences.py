"""Licences as rules compare them: an SPDX expression taken apart into the choices that it leaves.

`MIT OR (GPL-2.0-only WITH Classpath-exception-2.0 AND Zlib)` leaves two choices: MIT; both of the others. Names are
compared in small letters, as SPDX does (spec 2.3, annex D), and deprecated ones by what took their place. Hubs have
names of their own (`llama3.1`), which stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Term = tuple[str, ...]
"""The names that one licence goes by, the exact one first: `x with y` gives what `x` gives, `x or later` too."""
Choice = tuple[Term, ...]
"""Licences that hold together."""

MAX_TEXT = 512
_MAX_CHOICES = 16
_MAX_TERMS = 16
_MAX_DEPTH = 16
_MAX_LICENCES = 8
"""Of one component. One more, and none of them is read: what is left out might be the one that is denied."""
_TOKEN = re.compile(r"[()]|[A-Za-z0-9.+:-]+", re.ASCII)
_NAME = re.compile(r"(?:documentref-[a-z0-9.-]+:)?[a-z0-9][a-z0-9.-]*\+?", re.ASCII)
_GNU = re.compile(r"((?:a|l)?gpl|gfdl)-[0-9.]+", re.ASCII)
_UNSAID = frozenset({"", "noassertion", "none", "other", "unknown", "null"})
"""Hubs say `other` and `unknown` where SPDX says NOASSERTION; NONE is that no licence is given."""


def said_licences(component: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """`{"text","choices"}` of each licence of a CycloneDX component; None where nothing is said of it.

    `choices` is null for what cannot be read, or is too much to be read: nothing is concluded from it.
    """
    entries = component.get("licenses")
    if not isinstance(entries, (list, tuple)) or not entries:
        return None
    if len(entries) > _MAX_LICENCES:
        return [{"text": f"{len(entries)} licences", "choices": None}]
    found = []
    for entry in entries:
        licence = entry.get("license") if isinstance(entry, Mapping) else None
        if isinstance(licence, Mapping):
            text = licence.get("id") or licence.get("name")
            found.append(_row(text, None if not isinstance(text, str) else named(text)))
        else:
            text = entry.get("expression") if isinstance(entry, Mapping) else None
            found.append(_row(text, None if not isinstance(text, str) else choices(text)))
    # NOASSERTION beside a licence says nothing more; alone it says that nothing is known.
    return [row for row in found if row is not None] or None


def _row(text: Any, read: Sequence[Choice] | None) -> dict[str, Any] | None:
    if isinstance(text, str) and text.strip().lower() in _UNSAID:
        return None
    shown = text if isinstance(text, str) else "no text"
    given = None if read is None else [[list(term) for term in choice] for choice in read]
    return {"text": shown[:MAX_TEXT], "choices": given}


def named(text: str) -> tuple[Choice, ...] | None:
    """The one choice of a licence that is named and is no expression; None for a name of nothing."""
    name = re.sub(r"[^a-z0-9.+-]+", "-", text[:MAX_TEXT].lower(), flags=re.ASCII).strip("-")
    return ((_term(name),),) if name and len(text) <= MAX_TEXT else None


def choices(text: str) -> tuple[Choice, ...] | None:
    """What an SPDX expression lets one choose between; None for what is none, or has more than 16 choices or terms."""
    if len(text) > MAX_TEXT or _TOKEN.sub("", text).strip(" \t"):
        return None
    try:
        return _Reader(_TOKEN.findall(text)).read()
    except _OddError:
        return None


def comparable(name: str) -> str:
    """A name as it is compared: small letters, a deprecated name of a GNU licence by its new one."""
    return _term(name.lower())[0]


def _term(name: str) -> Term:
    later = name.endswith(("+", "-or-later"))
    plain = name.removesuffix("+").removesuffix("-or-later").removesuffix("-only")
    if _GNU.fullmatch(plain):
        return (f"{plain}-or-later", f"{plain}-only") if later else (f"{plain}-only",)
    return (name, name[:-1]) if name.endswith("+") else (name,)


class _OddError(Exception):
    """It is no expression, or too large a one."""


class _Reader:
    """Recursive descent: OR binds less than AND, AND less than WITH."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._at = tokens, 0

    def read(self) -> tuple[Choice, ...]:
        found = self._either(0)
        if self._at != len(self._tokens):
            raise _OddError
        return found

    def _next(self) -> str:
        return self._tokens[self._at].lower() if self._at < len(self._tokens) else ""

    def _take(self, word: str) -> bool:
        taken = self._next() == word
        self._at += taken
        return taken

    def _either(self, depth: int) -> tuple[Choice, ...]:
        found = self._both(depth)
        while self._take("or"):
            found = (*found, *self._both(depth))
            if len(found) > _MAX_CHOICES:
                raise _OddError
        return tuple(dict.fromkeys(found))

    def _both(self, depth: int) -> tuple[Choice, ...]:
        found = self._one(depth)
        while self._take("and"):
            other = self._one(depth)
            if len(found) * len(other) > _MAX_CHOICES:
                raise _OddError
            found = tuple(tuple(dict.fromkeys((*a, *b))) for a in found for b in other)
            if any(len(choice) > _MAX_TERMS for choice in found):
                raise _OddError
        return found

    def _one(self, depth: int) -> tuple[Choice, ...]:
        if depth > _MAX_DEPTH:
            raise _OddError
        if self._take("("):
            found = self._either(depth + 1)
            if not self._take(")"):
                raise _OddError
            return found
        term = _term(self._name())
        if self._take("with"):
            term = (f"{term[0]} with {self._name()}", *term)
        return ((term,),)

    def _name(self) -> str:
        name = self._next()
        if not _NAME.fullmatch(name) or name in ("and", "or", "with") or name in _UNSAID:
            raise _OddError
        self._at += 1
        return name
