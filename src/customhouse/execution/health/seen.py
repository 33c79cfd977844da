"""What rules read of an object, and how they read it: an object of strangers may hold anything anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customhouse.core.plan import HealthStatus
from customhouse.core.resource import Manifest

HEALTHY, PROGRESSING = HealthStatus.HEALTHY, HealthStatus.PROGRESSING
DEGRADED, SUSPENDED = HealthStatus.DEGRADED, HealthStatus.SUSPENDED
UNKNOWN, MISSING = HealthStatus.UNKNOWN, HealthStatus.MISSING

NOT_SEEN = "the controller has not seen the latest change"
"""Said of an object whose status is about an older generation."""
MAX_CONDITIONS = 2_000
"""Of one object; a controller writes a dozen."""
_MAX_MESSAGE = 4096
_STATES = {"true": "True", "false": "False", "unknown": "Unknown", "TRUE": "True", "FALSE": "False"}
"""What some controllers write for the three words of the API."""
_LARGEST = 1 << 63
"""Kubernetes' numbers have 64 bits; Python refuses to write out one of more than 4,300 digits."""
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Seen:
    """The parts of an object that rules read; each is a mapping, also where the object has something else there."""

    group: str
    kind: str
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    manifest: Manifest


def seen(manifest: Manifest) -> Seen:
    """The parts of a manifest."""
    group, slash, _ = text(manifest, "apiVersion").partition("/")
    return Seen(
        group if slash else "",
        text(manifest, "kind"),
        mapping(manifest, "metadata"),
        mapping(manifest, "spec"),
        # Some write one word: what others call the phase.
        {"phase": status} if isinstance(status := manifest.get("status"), str) else mapping(manifest, "status"),
        manifest,
    )


def mapping(values: Any, key: str) -> Mapping[str, Any]:
    """The mapping at a key; an empty one where there is none."""
    value = values.get(key) if isinstance(values, Mapping) else None
    return value if isinstance(value, Mapping) else _NOTHING


def items(values: Any, key: str) -> list[Mapping[str, Any]]:
    """The mappings in the list at a key."""
    value = values.get(key) if isinstance(values, Mapping) else None
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def number(values: Any, key: str, default: int = 0) -> int:
    """The whole number at a key, also where it is written as text."""
    value = values.get(key) if isinstance(values, Mapping) else None
    if isinstance(value, bool):
        return default
    if isinstance(value, int):
        return value if abs(value) < _LARGEST else default
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19 else default


def text(values: Any, key: str) -> str:
    """The text at a key; empty where there is none."""
    value = values.get(key) if isinstance(values, Mapping) else None
    return value[:_MAX_MESSAGE] if isinstance(value, str) else ""


def word(value: Any) -> str:
    """A text or a number as text, shortened; empty for anything else."""
    if isinstance(value, str):
        return value[:200]
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGEST):
        return str(value)
    return ""


def at(values: Any, path: str) -> Any:
    """What is at a dotted path, None where there is nothing."""
    for key in path.split("."):
        if not isinstance(values, Mapping):
            return None
        values = values.get(key)
    return values


def conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The conditions by their type; of two of one type the last counts."""
    found = status.get("conditions")
    if not isinstance(found, list):
        return {}
    return {word(item["type"]): item for item in found[:MAX_CONDITIONS] if isinstance(item, Mapping) and "type" in item}


def state(condition: Mapping[str, Any]) -> str:
    """True, False or Unknown of a condition; some controllers write a boolean."""
    value = condition.get("status")
    if isinstance(value, bool):
        return "True" if value else "False"
    return _STATES.get(value, value[:_MAX_MESSAGE]) if isinstance(value, str) else ""


def holds(found: Mapping[str, Mapping[str, Any]], kind: str) -> bool:
    """Whether a condition is there and True."""
    return kind in found and state(found[kind]) == "True"


def said(condition: Mapping[str, Any]) -> str:
    """The message of a condition, else its reason."""
    return text(condition, "message").strip() or text(condition, "reason")


def behind(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether the controller has seen only an older generation."""
    generation, observed = metadata.get("generation"), status.get("observedGeneration")
    if isinstance(observed, str) and observed.isascii() and observed.isdigit() and len(observed) < 19:
        observed = int(observed)
    return isinstance(generation, int) and isinstance(observed, int) and 0 <= observed < generation
