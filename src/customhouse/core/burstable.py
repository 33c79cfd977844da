"""Burstable machines: whose CPUs are whole only while there are credits, by their names and by the labels of nodes.

AWS: the T families (EC2 user guide, "Burstable performance instances"). Google: shared cores (Compute Engine,
"Shared-core machine types"). Azure: the B series ("B-series burstable virtual machine sizes").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.core.fields import items, mapping

_MACHINES = re.compile(
    r"t[1-9][a-z]{0,3}\.[a-z0-9]{1,10}|(?:e2-(?:micro|small|medium)|f1-micro|g1-small)|Standard_B\d{1,3}[a-z]{0,4}(?:_v\d)?",
    re.ASCII,
)
_TYPES = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_FAMILIES: Mapping[str, re.Pattern[str]] = {
    "karpenter.k8s.aws/instance-family": re.compile(r"t[1-9][a-z]{0,3}", re.ASCII),
    "karpenter.k8s.aws/instance-category": re.compile(r"t", re.ASCII),
    "karpenter.azure.com/sku-family": re.compile(r"B", re.ASCII),
}


def is_burstable(machine: str) -> bool:
    """Whether a machine of that type is burstable."""
    return _MACHINES.fullmatch(machine) is not None


def burstable(pod: Mapping[str, Any]) -> list[str]:
    """The burstable machines, or families of them, that a PodSpec's node selection lets it run on by name; sorted."""
    found = set()
    for label, value in _named(pod):
        family = _FAMILIES.get(label)
        if label in _TYPES and is_burstable(value):
            found.add(value)
        elif family is not None and family.fullmatch(value):
            found.add(f"{label}={value}")
    return sorted(found)


def _named(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Labels and values of nodeSelector and of required affinity, also where they are one of several."""
    for key, value in mapping(pod, "nodeSelector", "").items():
        yield str(key), str(value)
    affinity = mapping(mapping(pod, "affinity", ""), "nodeAffinity", "")
    required = mapping(affinity, "requiredDuringSchedulingIgnoredDuringExecution", "")
    for term in items(required, "nodeSelectorTerms", ""):
        for expression in items(term, "matchExpressions", "") if isinstance(term, Mapping) else ():
            if isinstance(expression, Mapping) and expression.get("operator") == "In":
                for value in items(expression, "values", ""):
                    yield str(expression.get("key")), str(value)
