"""What the rules see of Kueue's queues: of a workload, where its queue lets it run, and what it can never get there.

Amounts are quantities as people write them (`asked`, `most`); they are compared in `core.queues`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from customhouse.core.devices import classes
from customhouse.core.kinds import kind_of
from customhouse.core.podsets import PodSet, pod_sets
from customhouse.core.queues import GROUP, Lack, Landing, Place, Queues, queues, shown
from customhouse.core.resource import Declaration, Manifest, ResourceRef

_DEFAULT = "default"
"""The LocalQueue that Kueue takes when a workload names none and its namespace has one of this name."""
_MOST_TOLD = 20


class QueueIndex:
    """The queues among some Declarations."""

    def __init__(self) -> None:
        self._found: list[tuple[ResourceRef, Manifest]] = []

    def add(self, item: Declaration) -> None:
        """Take in a Declaration."""
        if item.ref.api_version.startswith(f"{GROUP}/"):
            self._found.append((item.ref, item.manifest))

    @cached_property
    def _queues(self) -> Queues:
        return queues(self._found)

    def about(self, item: Declaration) -> dict[str, Any]:
        """`queue`, only of what names one, or would get the default one of its namespace."""
        row = kind_of(item.ref.api_version, item.ref.kind)
        if row is None or not row.pods or row.template:
            return {}
        sets = pod_sets(item.manifest, item.ref.api_version, item.ref.kind)
        found = self._queues.landing(item.manifest, item.ref, sets)
        if found is None and row.batch and (item.ref.namespace, _DEFAULT) in self._queues.local:
            found = self._queues.landing_in(_DEFAULT, item.manifest, item.ref, sets)
        return {} if found is None else {"queue": _facts(found, sets)}


def _facts(found: Landing, sets: tuple[PodSet, ...]) -> dict[str, Any]:
    places = [
        {"pods": one.name, "flavors": list(place.flavors), "accelerator_classes": _classes(one, place)}
        for one, ways in zip(sets, found.places, strict=False)
        for place in ways
    ]
    return {
        "name": found.queue,
        "cluster_queue": found.cluster_queue,
        "problem": found.problem,
        "places": _told(places),
        "lacks": [_lack(item) for item in found.lacks[:_MOST_TOLD]],
    }


def _told(places: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first places, and of the others those with a class that these have not: rules ask whether there is any."""
    told, known = places[:_MOST_TOLD], set[str]()
    for place in told:
        known.update(place["accelerator_classes"])
    for place in places[_MOST_TOLD:]:
        if not known.issuperset(place["accelerator_classes"]):
            known.update(place["accelerator_classes"])
            told.append(place)
    return told


def _classes(one: PodSet, place: Place) -> list[str]:
    own = one.pod.get("nodeSelector")
    selector = {**place.labels, **(own if isinstance(own, Mapping) else {})}
    devices = tuple(device for container in one.containers for device in container.devices)
    return list(classes({**one.pod, "nodeSelector": selector}, devices))


def _lack(item: Lack) -> dict[str, Any]:
    return {
        "pods": item.pods,
        "flavor": item.flavor,
        "resource": item.resource,
        "asked": shown(item.resource, item.asked),
        "most": None if item.most is None else shown(item.resource, item.most),
        "sure": item.sure,
    }
