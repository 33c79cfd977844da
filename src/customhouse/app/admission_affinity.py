"""What a tier says of nodes, put on its pods as required node affinity (`scheduling.nodeAffinity`).

The scheduler keeps it by itself, so it holds while the extender is down. A term of the pod's own stays and gets ours
besides: with alternatives on both sides, each of the pod's with each of ours. Twice is as once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from customhouse.core.errors import DeclarationError
from customhouse.core.node_terms import Term

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_MOST = 500
"""Alternatives of one pod: who asks chooses how many there are."""


def required_nodes(pod: Mapping[str, Any], terms: Sequence[Term]) -> Iterator[Mapping[str, Any]]:
    """The patch that makes one of the terms hold for a pod's node. Raises DeclarationError for too many of them."""
    affinity = pod.get("affinity")
    node = affinity.get("nodeAffinity") if isinstance(affinity, Mapping) else None
    required = node.get(_REQUIRED) if isinstance(node, Mapping) else None
    own = required.get("nodeSelectorTerms") if isinstance(required, Mapping) else None
    present = [item for item in own if isinstance(item, Mapping)] if isinstance(own, list) else []
    if not terms or (present and all(_held(item, terms) for item in present)):
        return
    made: list[Mapping[str, Any]] = []
    for item in present or [{}]:
        if present and _held(item, terms):
            made.append(item)
            continue
        said = item.get("matchExpressions")
        kept = said if isinstance(said, list) else []
        made += [{**item, "matchExpressions": [*kept, *(one for one in term if one not in kept)]} for term in terms]
        if len(made) > _MOST:
            raise DeclarationError(
                f"node affinity would have more than {_MOST} alternatives with those of its tier",
                where="/spec/affinity/nodeAffinity",
            )
    value = {"nodeSelectorTerms": made}
    if not affinity:
        yield {"op": "add", "path": "/spec/affinity", "value": {"nodeAffinity": {_REQUIRED: value}}}
    elif not node:
        yield {"op": "add", "path": "/spec/affinity/nodeAffinity", "value": {_REQUIRED: value}}
    else:
        yield {"op": "add", "path": f"/spec/affinity/nodeAffinity/{_REQUIRED}", "value": value}


def _held(item: Mapping[str, Any], terms: Sequence[Term]) -> bool:
    """Whether every node that a term of the pod's matches is one of ours. One that says nothing matches no node."""
    nothing = not item.get("matchExpressions") and not item.get("matchFields")
    return nothing or any(_has(item, term) for term in terms)


def _has(item: Mapping[str, Any], term: Term) -> bool:
    said = item.get("matchExpressions")
    return isinstance(said, list) and all(one in said for one in term)
