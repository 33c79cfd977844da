"""What Kueue makes of an object that names one of its queues: it waits (`suspend`), and runs where a flavor sends it.

Kueue's webhook suspends it as it comes, before anybody judges it, and its controller lets it go on with the node labels
and tolerations of a flavor. Only what the queues that Git declares would give is taken for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from customhouse.core.fields import at, items, look, mapping
from customhouse.core.podsets import pod_sets
from customhouse.core.queues import Place, Queues, queue_of
from customhouse.core.resource import Declaration, Manifest

_MOST = 16
"""Places that are looked at: each is an object to be compared."""


def queued(declaration: Declaration, queues: Queues) -> Iterator[Manifest]:
    """The forms that a queue gives an object; none for what names no queue, or has no `suspend` that is known."""
    ref, manifest = declaration.ref, declaration.manifest
    if not queue_of(manifest, ref):
        return
    sets = pod_sets(manifest, ref.api_version, ref.kind)
    holder = "/spec/runPolicy" if ref.api_version.startswith("kubeflow.org/") else "/spec"
    if not isinstance(look(manifest, "/spec"), Mapping) or not sets:
        return
    for waits in (True, False):
        yield _made(manifest, holder, waits)
    found = queues.landing(manifest, ref, sets) if len(sets) == 1 else None
    # Of several sets each has flavors of its own; those are judged as what they are.
    for place in islice(found.places[0] if found is not None and found.places else (), _MOST):
        yield _made(manifest, holder, False, sets[0].pointer, place, queues)


def _made(
    manifest: Manifest,
    holder: str,
    waits: bool,
    pointer: str = "",
    place: Place | None = None,
    queues: Queues | None = None,
) -> Manifest:
    made: Any = copy.deepcopy(dict(manifest))
    spec = made["spec"]
    if holder == "/spec":
        spec["suspend"] = waits
    else:
        spec["runPolicy"] = {**mapping(spec, "runPolicy", "/spec"), "suspend": waits}
    if place is not None and queues is not None:
        pod: Any = at(made, pointer)
        pod["nodeSelector"] = {**mapping(pod, "nodeSelector", pointer), **place.labels}
        given = [
            dict(item) for name in place.flavors if name in queues.flavors for item in queues.flavors[name].tolerations
        ]
        if given:
            pod["tolerations"] = [*items(pod, "tolerations", pointer), *given]
    result: Manifest = made
    return result
