"""Sight: what is known of the live objects of a cluster that somebody reconciles, without asking it again.

A watch tells what happens; what is kept of an object is what decisions need: which one it is (uid), which state of it
(version, fingerprint) and how it is. `Sight` is the port; who reconciles takes from it what changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

from customhouse.core.plan import Health, LiveObject
from customhouse.core.resource import Manifest, ResourceRef

Key = tuple[str, str, str, str]
"""(group, kind, namespace, name): what makes two references one object, whatever version of the API they name."""

# What the server writes by itself with every change, or with none that anybody declares.
_SERVER = frozenset({"resourceVersion", "managedFields", "generation", "creationTimestamp", "uid", "selfLink"})
TOUCHED = "customhouse.dev/touched"
"""Set for a moment so that a controller looks again (`control.touching`)."""
_CONTROLLERS = frozenset({"deployment.kubernetes.io/revision", TOUCHED})
"""Annotations that a controller sets right after each change; nobody declares them."""


def key_of(ref: ResourceRef) -> Key:
    """The key of a reference."""
    group, slash, _ = ref.api_version.rpartition("/")
    return (group if slash else "", ref.kind, ref.namespace, ref.name)


def live_key(manifest: Manifest) -> Key:
    """The key of a live object: its namespace is the one that it says, none where it says none."""
    group, slash, _ = str(manifest["apiVersion"]).rpartition("/")
    metadata = manifest["metadata"]
    return (group if slash else "", str(manifest["kind"]), str(metadata.get("namespace") or ""), str(metadata["name"]))


def stripped(manifest: Manifest) -> dict[str, Any]:
    """A live object without its status and without what the server keeps about it."""
    kept = {name: value for name, value in manifest.items() if name not in ("status", "metadata")}
    metadata = {name: value for name, value in manifest["metadata"].items() if name not in _SERVER}
    annotations = metadata.get("annotations")
    if isinstance(annotations, Mapping) and not _CONTROLLERS.isdisjoint(annotations):
        metadata["annotations"] = {name: value for name, value in annotations.items() if name not in _CONTROLLERS}
        if not metadata["annotations"]:
            del metadata["annotations"]
    kept["metadata"] = metadata
    return kept


def fingerprint(manifest: Manifest) -> str:
    """A digest of what `stripped` leaves: two states of an object that differ in status alone have the same."""
    text = json.dumps(stripped(manifest), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Seen:
    """One live object. `leaving`: it is being deleted. `state` is its fingerprint, `version` orders its states."""

    ref: ResourceRef
    uid: str
    version: int
    state: str
    health: Health
    leaving: bool = False
    finished: bool = False
    """Whether it is a Job that has come to its end, well or badly."""


class Sight(Protocol):
    """The live objects that somebody asked for, kept up to date by a watch. Any thread may call it."""

    def follow(self, refs: Sequence[ResourceRef]) -> Sequence[ResourceRef]:
        """These are the objects of interest from now on, instead of those before. Their kinds are watched.

        Gives the references as the API has them, in order: one of a kind without namespaces loses the one that a file
        gave it. Of two references to one object the later one says in which version it is watched. Raises TargetError
        when the API is out of reach.
        """

    def news(self) -> set[Key]:
        """The objects of interest of which something changed since the last call (first: all that became known)."""

    def seen(self, key: Key) -> Seen | None:
        """What is known of one; None when it does not exist or is not known (`absent` tells which)."""

    def absent(self, key: Key, *, surely: bool = False) -> bool:
        """Whether it does not exist. False as well while its kind could not be read.

        A kind that the API does not serve has no objects; `surely` believes that only after a minute, since an API
        that has just been started does not yet serve all that it holds.
        """

    def live(self, key: Key) -> LiveObject | None:
        """An object of interest whole, as it was last told."""

    def told(self, manifest: Manifest) -> Seen:
        """Take what a write answered: it may be newer than what the watch has told."""
