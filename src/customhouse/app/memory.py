"""What the control plane remembers between steps and across restarts: small documents in the state store."""

from __future__ import annotations

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
ROLLOUT = "rollout/"
HELD = "held/"
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


class Memory:
    """Typed access to the documents. `put` writes several at once, in one transaction."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    @property
    def deployed(self) -> Deployed | None:
        """The last allowed revision; None before the first."""
        value = self._store.get(DEPLOYED)
        return None if value is None else Deployed(value["revision"], tuple(value["paths"]), value["governed_by"])

    @property
    def judged(self) -> str | None:
        """The last revision that was judged, allowed or not."""
        value = self._store.get(JUDGED)
        return None if value is None else str(value)

    @property
    def charged_until(self) -> str | None:
        """The end of the last interval that was charged, RFC 3339."""
        value = self._store.get(CHARGED)
        return None if value is None else str(value)

    def put(self, values: Mapping[str, Any]) -> None:
        """Store documents in one transaction; None deletes."""
        self._store.put(values)

    def get(self, key: str) -> Any:
        """One document."""
        return self._store.get(key)

    def all(self, prefix: str) -> dict[str, Any]:
        """Every document under a prefix, by key."""
        return {key: self._store.get(key) for key in self._store.keys(prefix)}

    def keys(self, prefix: str) -> Sequence[str]:
        """The keys under a prefix."""
        return self._store.keys(prefix)


def key_of(prefix: str, ref: ResourceRef) -> str:
    """The key of a document about one resource."""
    return f"{prefix}{ref.kind}/{ref.namespace}/{ref.name}"


def ref_of(value: Mapping[str, str]) -> ResourceRef:
    """The inverse of `ResourceRef.to_json`."""
    return ResourceRef(value["apiVersion"], value["kind"], value["namespace"], value["name"])
