"""What the control plane remembers between steps and across restarts: small documents in the state store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse.core.ports import StateStore
from customhouse.core.resource import ResourceRef

DEPLOYED = "control/deployed"
JUDGED = "control/judged"
JUDGING = "control/judging"
FOUNDING = "control/founding"
REFUSED = "control/refused"
CHARGED = "control/charged"
CHARGING = "control/charging"
OUTBOX = "control/outbox"
PROTECTION = "control/protection"
VULNERABILITIES = "control/vulnerabilities"
"""What is known of the vulnerabilities of what is deployed (`app.vulnwatch_loop`)."""
GATES_ONLY = "gate/only"
"""Set in a state that `gate --state` has made: nobody keeps a record of what is spent there, unless `up` begins to."""
ROLLOUT = "rollout/"
HELD = "held/"
LANDING = "landing/"
LANE = "lane/"
PENDING = "pending/"
REMOVING = "removing/"
RELEASE = "release/"
WORKLOAD = "workload/"
PROPOSAL = "proposal/"
JOB = "job/"


@dataclass(frozen=True, slots=True)
class Deployed:
    """The last revision that was allowed: what the target is to be.

    `paths` are the folders it was judged with: a customhouse.yaml that names more folders takes effect with the next
    revision, so that no Declaration gets in unjudged.
    """

    revision: str
    paths: tuple[str, ...]
    governed_by: str
    """The revision whose customhouse.yaml it was judged under."""

    def to_json(self) -> dict[str, Any]:
        """For the state store."""
        return {"revision": self.revision, "paths": list(self.paths), "governed_by": self.governed_by}


_OWN = ("control/", ROLLOUT, HELD, LANDING, LANE, PENDING, REMOVING, JOB)
"""What only the one control plane of a state writes, so that it may be kept in memory."""


class Memory:
    """Typed access to the documents. `put` writes several at once, in one transaction. Values are not to be altered.

    The control plane looks at its own small documents many times a step: they are read once and kept.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._kept: dict[str, dict[str, Any]] | None = None
        """By the first part of the key."""

    @property
    def deployed(self) -> Deployed | None:
        """The last allowed revision; None before the first."""
        value = self.get(DEPLOYED)
        return None if value is None else Deployed(value["revision"], tuple(value["paths"]), value["governed_by"])

    @property
    def judged(self) -> str | None:
        """The last revision that was judged, allowed or not."""
        value = self.get(JUDGED)
        return None if value is None else str(value)

    @property
    def charged_until(self) -> str | None:
        """The end of the last interval that was charged, RFC 3339."""
        value = self.get(CHARGED)
        return None if value is None else str(value)

    def put(self, values: Mapping[str, Any]) -> None:
        """Store documents in one transaction; None deletes. Raises StateError: then none is stored."""
        if self._kept is not None:  # most of what a commit takes away was never there
            values = {key: value for key, value in values.items() if value is not None or not self._is_absent(key)}
            if not values:
                return
        try:
            self._store.put(values)
        except BaseException:
            self._kept = None  # whether it was stored is for the store to say
            raise
        if self._kept is not None:
            for key, value in values.items():
                if not key.startswith(_OWN):
                    continue
                part = self._kept[_part(key)]
                if value is None:
                    part.pop(key, None)
                else:
                    part[key] = json.loads(json.dumps(value))  # as a restart would read it

    def get(self, key: str) -> Any:
        """One document."""
        return self._own()[_part(key)].get(key) if key.startswith(_OWN) else self._store.get(key)

    def all(self, prefix: str) -> dict[str, Any]:
        """Every document under a prefix, by key."""
        if prefix.startswith(_OWN):
            part = self._own()[_part(prefix)]
            return {key: part[key] for key in sorted(part) if key.startswith(prefix)}
        return {key: self._store.get(key) for key in self._store.keys(prefix)}

    def keys(self, prefix: str) -> Sequence[str]:
        """The keys under a prefix."""
        return tuple(self.all(prefix)) if prefix.startswith(_OWN) else self._store.keys(prefix)

    def _own(self) -> dict[str, dict[str, Any]]:
        if self._kept is None:
            self._kept = {part: {key: self._store.get(key) for key in self._store.keys(part)} for part in _OWN}
        return self._kept

    def _is_absent(self, key: str) -> bool:
        return key.startswith(_OWN) and key not in self._own()[_part(key)]


def _part(key: str) -> str:
    return key[: key.index("/") + 1]


def key_of(prefix: str, ref: ResourceRef) -> str:
    """The key of a document about one resource. No namespace or name has an `@`."""
    return f"{prefix}{ref.kind}/{ref.namespace}/{ref.name}" + (f"@{ref.scene}" if ref.scene else "")


def ref_of(value: Mapping[str, str]) -> ResourceRef:
    """The inverse of `ResourceRef.stored`, and of `to_json` where there are no scenes."""
    return ResourceRef(value["apiVersion"], value["kind"], value["namespace"], value["name"], value.get("scene", ""))
