"""The inventory: which objects this source put into a target. Nothing outside it is ever deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse.control.render import identity
from customhouse.core.errors import StateError
from customhouse.core.ports import StateStore
from customhouse.core.resource import ResourceRef

SCHEMA = "customhouse.dev/inventory/v1"
_PREFIX = "inventory/"


@dataclass(frozen=True, slots=True)
class InventoryEntry:
    """One object. `digest` is that of the manifest last applied with success; empty while that is not known."""

    ref: ResourceRef
    digest: str = ""
    keep: bool = False
    """Whether its last declaration carried `customhouse.dev/prune: disabled`."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The objects of one source in one target, and the revision that was last applied whole (empty: none)."""

    target: str
    source: str
    entries: tuple[InventoryEntry, ...] = ()
    revision: str = ""

    def find(self, ref: ResourceRef) -> InventoryEntry | None:
        """The entry of an object, whatever version of its API it was declared in."""
        return self.by_identity().get(identity(ref))

    def by_identity(self) -> dict[tuple[str, str, str, str], InventoryEntry]:
        """The entries by (group, kind, namespace, name)."""
        return {identity(entry.ref): entry for entry in self.entries}

    def replace(self, entries: Iterable[InventoryEntry], revision: str) -> Inventory:
        """The same inventory with other entries, sorted so that equal inventories are equal values."""
        ordered = sorted(entries, key=lambda entry: entry.ref)
        return Inventory(self.target, self.source, tuple(ordered), revision)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "schema": SCHEMA,
            "target": self.target,
            "source": self.source,
            "revision": self.revision,
            "objects": [{**entry.ref.to_json(), "digest": entry.digest, "keep": entry.keep} for entry in self.entries],
        }


def key_of(target: str, source: str) -> str:
    """Where an inventory is stored."""
    return f"{_PREFIX}{target}/{source}"


def load(store: StateStore, target: str, source: str) -> Inventory:
    """The stored inventory, an empty one when there is none. Raises StateError when it cannot be understood."""
    document = store.get(key_of(target, source))
    if document is None:
        return Inventory(target, source)
    return _read(document, key_of(target, source))


def save(store: StateStore, inventory: Inventory) -> None:
    """Store durably before anything is applied that it must remember."""
    store.put({key_of(inventory.target, inventory.source): inventory.to_json()})


def owners(store: StateStore, target: str, source: str) -> dict[tuple[str, str, str, str], str]:
    """The objects of the target that belong to other sources, with the name of each."""
    found: dict[tuple[str, str, str, str], str] = {}
    own = key_of(target, source)
    for key in store.keys(f"{_PREFIX}{target}/"):
        if key == own:
            continue
        document = store.get(key)
        if document is None:
            continue
        other = _read(document, key)
        found.update(dict.fromkeys(other.by_identity(), other.source))
    return found


def _read(document: Any, key: str) -> Inventory:
    schema = document.get("schema") if isinstance(document, Mapping) else None
    if schema != SCHEMA:
        raise StateError(
            f"the inventory has the schema {schema!r}, not {SCHEMA}", where=key, hint="upgrade customhouse"
        )
    try:
        return Inventory(
            str(document["target"]),
            str(document["source"]),
            tuple(_entry(item) for item in document["objects"]),
            str(document["revision"]),
        )
    except (KeyError, TypeError) as error:
        raise StateError(
            f"the inventory cannot be read: {error!r}",
            where=key,
            hint="restore the state directory; without the inventory nothing may be deleted",
        ) from error


def _entry(item: Mapping[str, Any]) -> InventoryEntry:
    ref = ResourceRef(item["apiVersion"], item["kind"], item["namespace"], item["name"])
    return InventoryEntry(ref, str(item["digest"]), bool(item["keep"]))
