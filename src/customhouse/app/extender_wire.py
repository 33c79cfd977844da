"""What kube-scheduler and its extender say to each other (k8s.io/kube-scheduler/extender/v1), read with care.

Go writes these fields without JSON names, so they begin with a capital; other schedulers write them small, as Go reads
both. `nodeCacheCapable: true` is asked for: names come, not whole nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from customhouse.core.errors import UsageError
from customhouse.core.resource import Manifest
from customhouse.execution.extender import Filtered

MAX_NODES = 20_000
"""Kubernetes is made for 5,000."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A pod, as the API has it, and the nodes in question; `victims` by node when it is about eviction."""

    pod: Manifest
    names: tuple[str, ...]
    victims: Mapping[str, Any]


def read_arguments(body: bytes, *, eviction: bool) -> Asked:
    """ExtenderArgs, or ExtenderPreemptionArgs. Raises UsageError for anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"this is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise UsageError("these are no arguments of an extender: no JSON object")
    fields = {str(key).lower(): value for key, value in document.items()}
    pod = fields.get("pod")
    if not isinstance(pod, dict) or not all(isinstance(pod.get(key), dict) for key in ("metadata", "spec")):
        raise UsageError("Pod is no pod")
    manifest: Manifest = {**pod, "apiVersion": "v1", "kind": "Pod"}
    if eviction:
        victims = fields.get("nodenametometavictims")
        if not isinstance(victims, dict):
            raise UsageError("NodeNameToMetaVictims is missing", hint="set nodeCacheCapable: true for this extender")
        return Asked(manifest, tuple(victims), victims)
    names = fields.get("nodenames")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError("NodeNames is no list of names", hint="set nodeCacheCapable: true for this extender")
    if len(names) > MAX_NODES:
        raise UsageError(f"more than {MAX_NODES} nodes")
    return Asked(manifest, tuple(names), {})


def filter_result(found: Filtered) -> bytes:
    """ExtenderFilterResult. What a tier forbids no eviction would change: the scheduler tries none there."""
    return orjson.dumps(
        {
            "NodeNames": found.left,
            "FailedNodes": found.unknown,
            "FailedAndUnresolvableNodes": found.forbidden,
            "Error": "",
        }
    )


def priorities(scores: Sequence[tuple[str, int]]) -> bytes:
    """HostPriorityList."""
    return orjson.dumps([{"Host": name, "Score": score} for name, score in scores])


def preemption_result(victims: Mapping[str, Any]) -> bytes:
    """ExtenderPreemptionResult: the nodes that are left, with the victims that the scheduler chose."""
    return orjson.dumps({"NodeNameToMetaVictims": victims})
