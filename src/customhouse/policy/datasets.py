"""What Facts say of datasets: what a tier asks of them, and a bounded summary of their validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse.policy.tiers import TierSpec

_MAX_ITEMS = 64
_MAX_TEXT = 512


def asked_of_datasets(spec: TierSpec) -> dict[str, Any]:
    """What the tier asks for, in Facts only where it asks for something."""
    wanted = spec.required_dataset_evidence
    return {"required_dataset_evidence": list(wanted)} if wanted else {}


def validation_summary(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a data validation; a field that is missing or of a wrong type is null, which no rule accepts.

    Where sensitive columns are not listed as they have to be, `sensitive` is null, and nothing is taken for protected.
    """
    findings = predicate.get("findings")
    names = sorted(str(key)[:128] for key in findings) if isinstance(findings, Mapping) else []
    schema = predicate.get("schema")
    storage = predicate.get("storage")
    place = storage if isinstance(storage, Mapping) else {}
    rows = predicate.get("rows")
    return {
        "passed": _truth(predicate.get("passed")),
        "rows": rows if isinstance(rows, int) and not isinstance(rows, bool) else None,
        "schema": schema if isinstance(schema, str) and is_digest(schema) else None,
        "validator": _text(predicate.get("validator")),
        "errors": [name.removeprefix("error:") for name in names if name.startswith("error:")][:_MAX_ITEMS],
        "sensitive": _sensitive(predicate.get("sensitive")),
        "encrypted": _truth(place.get("encrypted")),
        "access_controlled": _truth(place.get("access_controlled")),
    }


def _sensitive(value: Any) -> list[dict[str, Any]] | None:
    if not isinstance(value, (list, tuple)):
        return None
    found = []
    for item in value[:_MAX_ITEMS]:
        if not isinstance(item, Mapping):
            return None
        # By its name alone a column only may be sensitive.
        sure = item.get("by") != "name"
        found.append({"column": _text(item.get("column")) or "", "kind": _text(item.get("kind")) or "", "sure": sure})
    return found


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value[:_MAX_TEXT] if isinstance(value, str) else None
