"""Replica counts of an object of any kind: how many there are of how many that are wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from customhouse.core.plan import Health
from customhouse.execution.health.seen import HEALTHY, PROGRESSING, SUSPENDED, mapping, number

_REPLICAS = (
    ("updatedReplicas", "updatedReadyReplicas", "updatedAvailableReplicas"),
    ("readyReplicas", "readyInstances"),
    ("availableReplicas", "availableNodes"),
    ("numberReady", "numberAvailable", "updatedNumberScheduled"),
)
_WANTED = ("replicas", "instances", "size", "desiredReplicas", "desiredNumberScheduled")
_OF = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
"""Ready of wanted, as kubectl shows it."""


def replicas(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Health | None:
    """What the counts say; None where nothing is counted."""
    wanted, known = _known(spec, status)
    if wanted is not None and known:
        return _held_back(spec, wanted, known) or _all(status, wanted, known)
    if not known:
        # Go leaves out a count of zero: what is expected and not counted is not there yet.
        expected = next((key for key in status if str(key).startswith("expected") and number(status, key) > 0), None)
        if expected is not None:
            return Health(PROGRESSING, f"{expected} is {number(status, expected)}, and none is counted")
    return None


def _known(spec: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[int | None, list[tuple[str, int]]]:
    wanted = next(
        (number(place, key) for place in (spec, status) for key in _WANTED if isinstance(place.get(key), int)),
        None,
    )
    known = [(key, number(status, key)) for keys in _REPLICAS for key in keys if isinstance(status.get(key), int)]
    for key, value in status.items():
        if isinstance(value, str) and (match := _OF.fullmatch(value)):
            known.append((str(key), int(match[1])))
            wanted = wanted if wanted is not None else int(match[2])
        elif isinstance(value, int) and isinstance(key, str) and key.startswith("ready") and not known:
            # readyMembers of members
            whole = key[5:6].lower() + key[6:]
            if isinstance(status.get(whole), int):
                known.append((key, number(status, key)))
                wanted = number(status, whole)
    return wanted, known


def _held_back(spec: Mapping[str, Any], wanted: int, known: Sequence[tuple[str, int]]) -> Health | None:
    """Of a roll-out that leaves some replicas as they were (`partition`: Kubernetes' StatefulSet, OpenKruise)."""
    strategy = mapping(spec, "updateStrategy")
    held = number(mapping(strategy, "rollingUpdate"), "partition") or number(strategy, "partition")
    short = {key: count for key, count in known if count < wanted}
    if held <= 0 or not short or not all(key.startswith("updated") for key in short):
        return None
    if any(count < wanted - held for count in short.values()):
        return None
    return Health(SUSPENDED, f"spec.updateStrategy leaves {held} of {wanted} as they were")


def _all(status: Mapping[str, Any], wanted: int, known: Sequence[tuple[str, int]]) -> Health:
    for key, count in known:
        if count < wanted:
            return Health(PROGRESSING, f"{key}: {count} of {wanted}")
    left = number(status, "replicas") - number(status, "updatedReplicas")
    if isinstance(status.get("updatedReplicas"), int) and left > 0:
        return Health(PROGRESSING, f"{left} old replicas are still there")
    return Health(HEALTHY, f"{known[0][0]}: {known[0][1]} of {wanted}")
