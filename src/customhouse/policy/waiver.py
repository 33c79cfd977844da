"""Waivers: findings that somebody answers for, for a while. Data of the base revision, part of the bundle's digest.

A waived finding stays in the Decision with the waiver's id; it only stops denying. `facts.as_of` decides whether a
waiver has expired, never a clock. One that has expired, has not begun or lasts too long waives nothing, and the finding
says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.core.decision import Finding
from customhouse.core.errors import ConfigError
from customhouse.core.resource import Location, ResourceRef
from customhouse.policy.tiers import MAX_EXCEPTION_DAYS, standing

_KEYS = {"id", "rules", "owner", "reason", "ticket", "expires", "scope"}
_OPTIONAL = {"from", "advisories"}
_SCOPE_KEYS = {"kind", "namespace", "name"}
_WILD = re.compile(r"\[[^\]]*\]|[*?]")
"""What in a shell pattern stands for other characters; a scope has to have some of its own."""
_LITERALS = 3
"""Characters of its own that a pattern has at least: `a*` or `*e*` covers half of all names."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects: shell patterns (`fraud-*`) of kind, namespace and name. At least one is not `*`."""

    kind: str = "*"
    namespace: str = "*"
    name: str = "*"

    def covers(self, ref: ResourceRef) -> bool:
        """Whether an object is in the scope; patterns are case-sensitive."""
        return (
            fnmatchcase(ref.kind, self.kind)
            and fnmatchcase(ref.namespace, self.namespace)
            and fnmatchcase(ref.name, self.name)
        )


@dataclass(frozen=True, slots=True)
class Waiver:
    """`rules` are exact rule ids: there is no waiver of everything. It holds from `begins` until `expires`.

    `max_days` is how long it may last, counted from `begins`; one that does not say when it began is as long as what is
    left of it.
    """

    id: str
    rules: tuple[str, ...]
    owner: str
    reason: str
    ticket: str
    expires: datetime
    scope: Scope
    begins: datetime | None = None
    max_days: int = MAX_EXCEPTION_DAYS
    advisories: tuple[str, ...] = ()
    """Vulnerabilities that it is about, by any of their names; without any, all that its rules find."""

    def speaks_of(self, finding: Finding) -> bool:
        """Whether the finding is in the waiver's scope, at whatever time."""
        if finding.rule not in self.rules or not self.scope.covers(finding.resource):
            return False
        return not self.advisories or not {name.upper() for name in self.advisories}.isdisjoint(
            name.upper() for name in finding.advisories
        )

    def state(self, as_of: datetime) -> str:
        """`active`, or why it does not hold at a moment."""
        return standing(self.begins, self.expires, as_of, self.max_days)

    def covers(self, finding: Finding, as_of: datetime) -> bool:
        """Whether the finding is waived at a moment."""
        return self.speaks_of(finding) and self.state(as_of) == "active"

    def to_json(self) -> dict[str, Any]:
        """What counts for the digest."""
        return {
            "id": self.id,
            "rules": list(self.rules),
            "owner": self.owner,
            "reason": self.reason,
            "ticket": self.ticket,
            **({} if self.begins is None else {"from": to_rfc3339(self.begins)}),
            **({} if self.max_days == MAX_EXCEPTION_DAYS else {"max_days": self.max_days}),
            **({"advisories": list(self.advisories)} if self.advisories else {}),
            "expires": to_rfc3339(self.expires),
            "scope": {"kind": self.scope.kind, "namespace": self.scope.namespace, "name": self.scope.name},
        }


def apply(findings: Sequence[Finding], waivers: Sequence[Waiver], as_of: datetime) -> tuple[Finding, ...]:
    """The findings, those that a waiver covers marked with its id (the first one in order that covers it).

    A finding that only waivers speak of that do not hold says so in its message.
    """
    return tuple(
        _applied(finding, [item for item in waivers if item.speaks_of(finding)], as_of) for finding in findings
    )


def _applied(finding: Finding, speaking: Sequence[Waiver], as_of: datetime) -> Finding:
    if not speaking and finding.waiver is None:
        return finding
    held = next((item for item in speaking if item.state(as_of) == "active"), None)
    if held is not None:
        return replace(finding, waiver=held.id)
    lapsed = "".join(f" The waiver {item.id} of {item.owner} does not hold: {item.state(as_of)}." for item in speaking)
    return replace(finding, message=finding.message + lapsed, waiver=None)


def parse_waivers(
    values: Sequence[Mapping[str, Any]],
    where: str = "waivers",
    *,
    marks: Mapping[str, Location] | None = None,
    max_days: int = MAX_EXCEPTION_DAYS,
) -> tuple[Waiver, ...]:
    """Waivers as configuration writes them: id, rules, advisories, owner, reason, ticket, from, expires, scope.

    `marks` are the places of the file's JSON pointers: errors then name file, line and column.

    Raises ConfigError for a missing or unknown key, an id that is there twice, a scope that covers everything.
    """
    result: list[Waiver] = []
    for index, value in enumerate(values):

        def place(key: str = "", index: int = index) -> str:
            found = (marks or {}).get(f"/{index}/{key}" if key else f"/{index}") or (marks or {}).get(f"/{index}")
            return f"{where}[{index}]" if found is None else str(found)

        waiver = replace(_parse(value, place), max_days=max_days)
        if any(waiver.id == other.id for other in result):
            raise ConfigError(f"the waiver {waiver.id} is there twice", where=place("id"))
        result.append(waiver)
    return tuple(result)


def _parse(value: Mapping[str, Any], place: Callable[..., str]) -> Waiver:
    if not isinstance(value, Mapping):
        raise ConfigError("a waiver is a mapping", where=place())
    if wrong := (_KEYS - value.keys()) | (value.keys() - _KEYS - _OPTIONAL):
        raise ConfigError(
            f"missing or unknown: {', '.join(sorted(map(str, wrong)))}",
            where=place(),
            hint=f"a waiver has {', '.join(sorted(_KEYS))}, and may have from and advisories",
        )
    texts = {key: value[key] for key in ("id", "owner", "reason", "ticket", "expires")}
    if bad := [key for key, item in texts.items() if not isinstance(item, str) or not item.strip()]:
        raise ConfigError(f"{', '.join(bad)} has to be text", where=place(bad[0]), hint="quote it")
    rules = value["rules"]
    if not isinstance(rules, (list, tuple)) or not rules or not all(isinstance(rule, str) and rule for rule in rules):
        raise ConfigError("rules is a list of rule ids", where=place("rules"))
    if any(character in rule for rule in rules for character in "*?["):
        raise ConfigError("rules takes no patterns: name every rule that is waived", where=place("rules"))
    advisories = value.get("advisories", ())
    if not isinstance(advisories, (list, tuple)) or not all(isinstance(name, str) and name for name in advisories):
        raise ConfigError("advisories is a list of names such as CVE-2024-1234", where=place("advisories"))
    if "advisories" in value and not advisories:
        raise ConfigError("advisories is empty", where=place("advisories"), hint="name one, or leave the key out")
    expires = _moment(texts["expires"], "expires", place)
    begins = None if value.get("from") is None else _moment(value["from"], "from", place)
    if begins is not None and begins >= expires:
        raise ConfigError("it ends before it begins", where=place("expires"))
    return Waiver(
        texts["id"],
        tuple(rules),
        texts["owner"],
        texts["reason"],
        texts["ticket"],
        expires,
        _scope(value["scope"], place("scope")),
        begins,
        advisories=tuple(advisories),
    )


def _moment(value: Any, key: str, place: Callable[..., str]) -> datetime:
    try:
        return from_rfc3339(str(value))
    except ValueError as error:
        raise ConfigError(f"{key}: {error}", where=place(key)) from error


def _scope(value: Any, place: str) -> Scope:
    if (
        not isinstance(value, Mapping)
        or not value
        or value.keys() - _SCOPE_KEYS
        or not all(isinstance(item, str) and item for item in value.values())
    ):
        raise ConfigError("scope names kind, namespace or name", where=place)
    scope = Scope(**value)
    if not any(_narrow(pattern) for pattern in (scope.namespace, scope.name)):
        raise ConfigError("the scope covers every namespace and name", where=place, hint="name the object")
    return scope


def _narrow(pattern: str) -> bool:
    own = _WILD.sub("", pattern)
    return own == pattern or len(own) >= _LITERALS
