"""Waivers: findings that somebody answers for, for a while. Data of the base revision, part of the bundle's digest.

A waived finding stays in the Decision with the waiver's id; it only stops denying. `facts.as_of` decides whether a
waiver has expired, never a clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.core.decision import Finding
from customhouse.core.errors import ConfigError
from customhouse.core.resource import ResourceRef

_KEYS = {"id", "rules", "owner", "reason", "ticket", "expires", "scope"}
_SCOPE_KEYS = {"kind", "namespace", "name"}
_WILD = re.compile(r"\[[^\]]*\]|[*?]")
"""What in a shell pattern stands for other characters; a scope has to have some of its own."""


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
    """`rules` are exact rule ids: there is no waiver of everything. It holds while `as_of` is before `expires`."""

    id: str
    rules: tuple[str, ...]
    owner: str
    reason: str
    ticket: str
    expires: datetime
    scope: Scope

    def covers(self, finding: Finding, as_of: datetime) -> bool:
        """Whether the finding is waived at a moment."""
        return as_of < self.expires and finding.rule in self.rules and self.scope.covers(finding.resource)

    def to_json(self) -> dict[str, Any]:
        """What counts for the digest."""
        return {
            "id": self.id,
            "rules": list(self.rules),
            "owner": self.owner,
            "reason": self.reason,
            "ticket": self.ticket,
            "expires": to_rfc3339(self.expires),
            "scope": {"kind": self.scope.kind, "namespace": self.scope.namespace, "name": self.scope.name},
        }


def apply(findings: Sequence[Finding], waivers: Sequence[Waiver], as_of: datetime) -> tuple[Finding, ...]:
    """The findings, those that a waiver covers marked with its id (the first one in order that covers it)."""
    return tuple(
        replace(finding, waiver=next((item.id for item in waivers if item.covers(finding, as_of)), None))
        for finding in findings
    )


def parse_waivers(values: Sequence[Mapping[str, Any]], where: str = "waivers") -> tuple[Waiver, ...]:
    """Waivers as configuration writes them: id, rules, owner, reason, ticket, expires (RFC 3339), scope.

    Raises ConfigError for a missing or unknown key, an id that is there twice, a scope that covers everything.
    """
    result: list[Waiver] = []
    for index, value in enumerate(values):
        place = f"{where}[{index}]"
        waiver = _parse(value, place)
        if any(waiver.id == other.id for other in result):
            raise ConfigError(f"the waiver {waiver.id} is there twice", where=place)
        result.append(waiver)
    return tuple(result)


def _parse(value: Mapping[str, Any], place: str) -> Waiver:
    if not isinstance(value, Mapping):
        raise ConfigError("a waiver is a mapping", where=place)
    if wrong := (_KEYS - value.keys()) | (value.keys() - _KEYS):
        raise ConfigError(
            f"missing or unknown: {', '.join(sorted(map(str, wrong)))}",
            where=place,
            hint=f"a waiver has exactly {', '.join(sorted(_KEYS))}",
        )
    texts = {key: value[key] for key in ("id", "owner", "reason", "ticket", "expires")}
    if bad := [key for key, item in texts.items() if not isinstance(item, str) or not item.strip()]:
        raise ConfigError(f"{', '.join(bad)} has to be text", where=place, hint="quote it")
    rules = value["rules"]
    if not isinstance(rules, (list, tuple)) or not rules or not all(isinstance(rule, str) and rule for rule in rules):
        raise ConfigError("rules is a list of rule ids", where=place)
    if any(character in rule for rule in rules for character in "*?["):
        raise ConfigError("rules takes no patterns: name every rule that is waived", where=place)
    try:
        expires = from_rfc3339(texts["expires"])
    except ValueError as error:
        raise ConfigError(f"expires: {error}", where=place) from error
    return Waiver(
        texts["id"],
        tuple(rules),
        texts["owner"],
        texts["reason"],
        texts["ticket"],
        expires,
        _scope(value["scope"], place),
    )


def _scope(value: Any, place: str) -> Scope:
    if (
        not isinstance(value, Mapping)
        or not value
        or value.keys() - _SCOPE_KEYS
        or not all(isinstance(item, str) and item for item in value.values())
    ):
        raise ConfigError("scope names kind, namespace or name", where=place)
    scope = Scope(**value)
    if not any(_WILD.sub("", pattern) for pattern in (scope.namespace, scope.name)):
        raise ConfigError("the scope covers every namespace and name", where=place, hint="name the object")
    return scope
