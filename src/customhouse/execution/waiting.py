"""Why the pods of a workload do not run: what its own status never says.

A Deployment knows how many of its pods are available; that no node has room, or that the image is not there, stands in
the pods (Kubernetes API, `PodStatus`: the condition `PodScheduled`, and `state` and `lastState` of each container).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from customhouse.core.resource import Manifest
from customhouse.execution.health.seen import items, mapping

_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_ON_ITS_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})
_LONGEST = 240
"""Characters of somebody else's message that are told."""
_TOLD = 2
_SELF_SELECTED = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout"})
_SELECTED_BY_NAME = {"Job": "batch.kubernetes.io/job-name", "InferenceService": "serving.kserve.io/inferenceservice"}


def pods_of(manifest: Manifest) -> str:
    """The label selector of a workload's pods; empty where its kind has none that is known."""
    kind, name = str(manifest.get("kind", "")), str(mapping(manifest, "metadata").get("name", ""))
    if kind in _SELECTED_BY_NAME:
        return f"{_SELECTED_BY_NAME[kind]}={name}" if name else ""
    if kind not in _SELF_SELECTED:
        return ""
    selector = mapping(mapping(manifest, "spec"), "selector")
    terms = [f"{key}={value}" for key, value in sorted(mapping(selector, "matchLabels").items())]
    for item in items(selector, "matchExpressions"):
        key, operator = item.get("key"), item.get("operator")
        listed = item.get("values")
        values = ",".join(map(str, listed)) if isinstance(listed, list) else ""
        written = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})"}
        written |= {"Exists": f"{key}", "DoesNotExist": f"!{key}"}
        if operator not in written:
            return ""
        terms.append(written[operator])
    return ",".join(terms)


def why_waiting(pods: Iterable[Manifest]) -> str:
    """What keeps the pods from running, the most frequent first, two at most; empty where nothing is said to."""
    found = Counter(text for pod in pods if (text := _why(pod)))
    told = [f"{text}{f' ({count} pods)' if count > 1 else ''}" for text, count in _ordered(found)[:_TOLD]]
    return "; ".join(told)


def _ordered(found: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def _why(pod: Manifest) -> str:
    status = mapping(pod, "status")
    if mapping(pod, "metadata").get("deletionTimestamp") or status.get("phase") == "Succeeded":
        return ""
    if status.get("phase") == "Failed":
        return _short(status.get("message")) or _short(status.get("reason")) or _ended(status)
    for item in items(status, "conditions"):
        if item.get("type") == "PodScheduled" and item.get("status") == "False":
            return f"no node for it: {_short(item.get('message')) or item.get('reason') or 'no reason is given'}"
    for key in ("initContainerStatuses", "containerStatuses"):
        for item in items(status, key):
            if text := _container(item):
                return text
    return ""


def _container(item: Mapping[str, Any]) -> str:
    name, last = item.get("name"), mapping(mapping(item, "lastState"), "terminated")
    waiting = mapping(mapping(item, "state"), "waiting")
    reason = str(waiting.get("reason") or "")
    if reason in _IMAGE:  # of which two take turns, each with a pause in its words that grows
        return f"container {name}: the image {_short(item.get('image'))} cannot be pulled"
    if reason == "CrashLoopBackOff":
        return f"container {name} ends again and again{_exit(last)}"
    if reason not in _ON_ITS_WAY:
        return f"container {name}: {reason}{f': {_short(said)}' if (said := waiting.get('message')) else ''}"
    if last and not item.get("ready"):
        return f"container {name} ended{_exit(last)} and is not ready again"
    if "running" in mapping(item, "state") and not item.get("ready"):
        return f"container {name} runs and is not ready"
    return ""


def _ended(status: Mapping[str, Any]) -> str:
    for item in items(status, "containerStatuses"):
        if ended := mapping(mapping(item, "state"), "terminated"):
            return f"container {item.get('name')} ended{_exit(ended)}"
    return "it failed"


def _exit(ended: Mapping[str, Any]) -> str:
    if not ended:
        return ""
    reason = ended.get("reason")
    code = f" with exit code {ended.get('exitCode')}"
    return f"{code} ({reason})" if reason and reason != "Error" else code


def _short(text: object) -> str:
    said = " ".join(str(text or "").split())
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"
