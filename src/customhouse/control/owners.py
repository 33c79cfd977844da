"""CODEOWNERS: which people answer for which files.

GitHub's syntax (docs.github.com, "About code owners"): a pattern and its owners a line, the last line that matches
wins, a line without owners takes ownership away. GitLab's sections (`[Name]`, `^[Name][2] @default`) are read too: each
section is a list of its own, and every section that matches a file asks for an owner. Patterns are those of gitignore
without `!` and without `[ ]` ranges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from customhouse.core.errors import SourceError

PLACES = (".github/CODEOWNERS", ".gitea/CODEOWNERS", ".gitlab/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
"""Where forges look, the first that exists counts."""
MAX_BYTES = 3 * 1024 * 1024
"""GitHub does not load a larger one."""
MAX_LINE = 8192
_SECTION = re.compile(r"(?P<optional>\^?)\[(?P<name>[^\]]+)\](?:\[(?P<count>\d{1,3})\])?(?P<owners>(?:\s+\S+)*)\s*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: a pattern and who owns what it matches; no owners: nobody has to be asked."""

    pattern: str
    owners: tuple[str, ...]
    line: int
    section: str = ""
    approvals: int = 1
    """How many of the owners must approve (0: an optional section of GitLab)."""


@dataclass(frozen=True, slots=True)
class Owners:
    """The rules of one file, in its order."""

    rules: tuple[Rule, ...] = ()

    def of(self, path: str) -> tuple[Rule, ...]:
        """The rule of each section that decides about a file; rules without owners are left out."""
        found: dict[str, Rule] = {}
        for rule in self.rules:
            if _matcher(rule.pattern).fullmatch(path):
                found[rule.section] = rule
        return tuple(rule for rule in found.values() if rule.owners)

    def missing(
        self, paths: Iterable[str], approvals: Iterable[str], teams: Mapping[str, frozenset[str]] = MappingProxyType({})
    ) -> tuple[tuple[str, Rule], ...]:
        """The files whose owners have not approved, each with the rule that asks for it.

        `approvals` are names of people; `teams` says who is in `organisation/team`. A team has approved when one of its
        members has: nobody can be taken for a team by name, and a team that is not known has approved nothing.
        """
        given = {_name(person) for person in approvals}
        return tuple(
            (path, rule)
            for path in sorted(set(paths))
            for rule in self.of(path)
            if sum(_approved(owner, given, teams) for owner in rule.owners) < min(rule.approvals, len(rule.owners))
        )

    @property
    def teams(self) -> tuple[str, ...]:
        """Every team that a rule names, without `@`."""
        return tuple(sorted({_name(owner) for rule in self.rules for owner in rule.owners if "/" in owner}))


def read_owners(text: str, file: str = "CODEOWNERS") -> Owners:
    """Read a CODEOWNERS file. Raises SourceError, naming the line, for what would silently match nothing."""
    if len(text) > MAX_BYTES:
        raise SourceError(f"more than {MAX_BYTES} bytes: forges do not load it", where=file)
    rules = []
    section, approvals = "", 1
    defaults: tuple[str, ...] = ()
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(?<!\\)#.*", "", raw[: MAX_LINE + 1]).strip()
        if not line:
            continue
        if len(raw) > MAX_LINE:
            raise SourceError(f"a line of more than {MAX_LINE} characters", where=f"{file}:{number}")
        if match := _SECTION.fullmatch(line):
            section = match["name"].strip().lower()  # GitLab: sections of one name are one
            defaults = tuple(match["owners"].split())
            approvals = 0 if match["optional"] else max(int(match["count"] or 1), 1)
            continue
        pattern, owners = _split(line)
        where = f"{file}:{number}"
        if pattern.startswith("!"):
            raise SourceError("a pattern with ! matches nothing in CODEOWNERS", where=where, hint="reorder the lines")
        bad = [owner for owner in owners if not re.fullmatch(r"@[\w.-]+(?:/[\w./-]+)?|[^@\s]+@[^@\s]+", owner)]
        if bad:
            raise SourceError(
                f"{bad[0][:100]!r} is no owner", where=where, hint="an owner is @user, @organisation/team or an address"
            )
        rules.append(Rule(pattern, owners or defaults, number, section, approvals))
    return Owners(tuple(rules))


def _split(line: str) -> tuple[str, tuple[str, ...]]:
    """The pattern (a blank in it is written with a backslash) and the owners."""
    parts = re.split(r"(?<!\\)\s+", line)
    return parts[0].replace("\\ ", " ").replace("\\#", "#"), tuple(parts[1:])


def _approved(owner: str, given: set[str], teams: Mapping[str, frozenset[str]]) -> bool:
    name = _name(owner)
    if "/" not in name:
        return name in given
    return any(_name(member) in given for member in teams.get(name, ()))


def _name(owner: str) -> str:
    return owner.removeprefix("@").lower()


_ANY_FOLDERS = "(?:[^/]+/)*"


@lru_cache(maxsize=4096)
def _matcher(pattern: str) -> re.Pattern[str]:
    """A gitignore pattern as a regular expression over whole paths; linear, since no part of it nests."""
    anchored = "/" in pattern.rstrip("/")
    body = pattern.lstrip("/")
    folder = body.endswith("/")
    parts: list[str] = []
    for part in body.rstrip("/").split("/"):
        if part == "**":
            if parts[-1:] != [_ANY_FOLDERS]:
                parts.append(_ANY_FOLDERS)
            continue
        piece = "".join("[^/]*" if char == "*" else "[^/]" if char == "?" else re.escape(char) for char in part)
        parts.append(re.sub(r"(?:\[\^/\]\*)+", "[^/]*", piece) + "/")
    text = "".join(parts)
    if parts and parts[-1].endswith("/") and not parts[-1].endswith(")*"):
        text = text[:-1]
    elif body.endswith("**"):
        text += ".*"
    start = "" if anchored else _ANY_FOLDERS
    # A pattern that names a folder owns what is below it; one that ends in `/*` owns the files of that folder alone.
    end = "/.*" if folder else "" if body.endswith("/*") else "(?:/.*)?"
    return re.compile(start + text + end)
