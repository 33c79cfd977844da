"""`data.storage` of customhouse.yaml: what is known of StorageClasses that no object in Git tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from customhouse.policy.storage import ClassStatement, StorageStatements


def storage_of(document: Mapping[str, Any]) -> StorageStatements:
    """Read `data.storage`, which fits the schema."""
    given = (document.get("data") or {}).get("storage") or {}
    classes = {
        name: ClassStatement((said or {}).get("encrypted"), (said or {}).get("accessControlled"))
        for name, said in (given.get("classes") or {}).items()
    }
    return StorageStatements(classes, given.get("providerKeys", False))


def storage_json(stated: StorageStatements) -> dict[str, Any]:
    """As customhouse.yaml says it."""
    classes = {
        name: {
            key: value
            for key, value in (("encrypted", one.encrypted), ("accessControlled", one.access_controlled))
            if value is not None
        }
        for name, one in stated.classes.items()
    }
    return {"providerKeys": stated.provider_keys, "classes": classes}
