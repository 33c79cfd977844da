"""Node pools for pods that stay pending: which machines would hold them, and what these cost. A proposal, never a deed.

1. A pod counts that asks for accelerators, has no node, and that the scheduler has called unschedulable for `after`.
2. The accelerator classes are those that its own node selection requires, else those that its tier may use.
3. Of the machines of the region that carry whole accelerators of such a class and hold the pod, the one with the lowest
   bill for all alike pods is taken; of equals the one with fewer machines. A tenth of its CPU and memory is the node's.
4. Spot where the tier requires or allows it and the book has its price, else on-demand.
5. Machines of another platform than the usual ones of NVIDIA on x86 are not proposed: images may not run there.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.money import Money
from customhouse._kit.quantity import QuantityError, parse_count
from customhouse.app import wiring
from customhouse.app.extender import Extending, Generation
from customhouse.app.settings import Settings
from customhouse.core.cluster import Cluster
from customhouse.core.cost import HOURS_PER_MONTH
from customhouse.core.devices import UNKNOWN_ACCELERATOR, classes, is_accelerator
from customhouse.core.errors import CustomhouseError, TargetError
from customhouse.core.resource import Manifest
from customhouse.execution.extender import TierPlacing
from customhouse.execution.extender_nodes import CPU, MEMORY, NODES, PODS, requests_of
from customhouse.observability.hardware import price_class, same_platform
from customhouse.observability.prices import ON_DEMAND, PREEMPTIBLE, Machine

WHOLE = "nvidia.com/gpu"
_POOL = "karpenter.sh/nodepool"
"""The label by which Karpenter says whose a node is."""
_FOR_PODS = 0.9
_MIB = 2**20
_USUAL = "H100"
_CAPACITY = {ON_DEMAND: "on-demand", PREEMPTIBLE: "spot"}
_NODE_CLASS = {
    "aws": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
    "azure": {"group": "karpenter.azure.com", "kind": "AKSNodeClass", "name": "default"},
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """Alike pods that wait: what each asks for, since when the first of them does, what the scheduler says of it."""

    tier: TierPlacing
    amounts: Mapping[str, int]
    classes: tuple[str, ...]
    """Those that the pods require; empty: any that the tier may use."""
    pods: tuple[str, ...]
    since: datetime
    said: str


@dataclass(frozen=True, slots=True)
class Pool:
    """So many machines of a type for pods that wait; `machine` None: none was found, for `problem`."""

    waiting: Waiting
    machine: Machine | None = None
    pricing: str = ON_DEMAND
    count: int = 0
    problem: str = ""
    manifest: Manifest | None = None

    def to_json(self) -> dict[str, Any]:
        """As `schedule pools` prints it."""
        waiting, machine = self.waiting, self.machine
        value: dict[str, Any] = {
            "tier": waiting.tier.name,
            "pods": list(waiting.pods),
            "asks": dict(sorted(waiting.amounts.items())),
            "since": to_rfc3339(waiting.since),
            "said": waiting.said,
            "problem": self.problem,
        }
        if machine is not None:
            hourly = Money(machine.rate.per_hour.pico * self.count, machine.rate.per_hour.currency)
            value |= {
                "machine": machine.name,
                "accelerator": machine.accelerator,
                "accelerators": machine.devices,
                "capacity": _CAPACITY[self.pricing],
                "machines": self.count,
                "hourly": str(hourly),
                "monthly": str(Money(hourly.pico * HOURS_PER_MONTH, hourly.currency)),
                "priced": machine.rate.source,
                "as_of": machine.rate.as_of,
                "manifest": self.manifest,
            }
        return value


def waiting_pods(
    pods: Iterable[Manifest], generation: Generation, now: datetime, after: timedelta
) -> tuple[Waiting, ...]:
    """Steps 1 and 2: alike pods together, who waits longest first. One that cannot be read is left out."""
    found: dict[tuple[Any, ...], Waiting] = {}
    for pod in pods:
        since, said = _unschedulable(pod)
        if since is None or now - since < after:
            continue
        try:
            amounts = requests_of(pod["spec"])
            devices = tuple(sorted(name for name in amounts if is_accelerator(name)))
            named = tuple(name for name in classes(pod["spec"], devices) if name != UNKNOWN_ACCELERATOR)
        except CustomhouseError:
            continue
        if not devices:
            continue
        tier = generation.tier(pod)
        metadata = pod["metadata"]
        name = f"{metadata.get('namespace', 'default')}/{metadata.get('name', '')}"
        key = (tier, tuple(sorted(amounts.items())), named)
        known = found.get(key)
        names = (name,) if known is None else (*known.pods, name)
        first = known is None or since < known.since
        told = said if known is None or first else known.said
        start = since if known is None or first else known.since
        found[key] = Waiting(tier, amounts, named, names, start, told)
    return tuple(sorted(found.values(), key=lambda one: (one.since, one.pods)))


def _unschedulable(pod: Manifest) -> tuple[datetime | None, str]:
    spec, status = pod.get("spec"), pod.get("status")
    if not isinstance(spec, Mapping) or not isinstance(status, Mapping) or spec.get("nodeName"):
        return None, ""
    conditions = status.get("conditions")
    for item in conditions if isinstance(conditions, list) else ():
        if isinstance(item, Mapping) and item.get("type") == "PodScheduled" and item.get("reason") == "Unschedulable":
            try:
                return from_rfc3339(str(item.get("lastTransitionTime"))), str(item.get("message") or "")
            except ValueError:
                return None, ""
    return None, ""


def pools(waiting: Sequence[Waiting], generation: Generation) -> tuple[Pool, ...]:
    """Steps 3 to 5 for each. Raises PriceError when the book has no prices of the region at all."""
    configuration, book = generation.governing.configuration, generation.governing.book
    place = (configuration.provider, configuration.region)
    book.require(*place)
    found = []
    for one in waiting:
        others = [name for name in one.amounts if is_accelerator(name) and name != WHOLE]
        if others:
            problem = f"asks for {', '.join(others)}: how a machine is divided into these is not in the price book"
            found.append(Pool(one, problem=problem))
            continue
        spot = one.tier.spot != "forbidden" and book.has_spot(*place)
        if one.tier.spot == "required" and not spot:
            found.append(
                Pool(one, problem=f"the tier requires spot, and the book has no such price of {' '.join(place)}")
            )
            continue
        pricing = PREEMPTIBLE if spot else ON_DEMAND
        wanted = one.classes or one.tier.gpu_classes
        allowed = wanted if one.tier.gpu_classes is None else [n for n in wanted or () if n in one.tier.gpu_classes]
        names = book.accelerators(*place, pricing) if allowed is None else tuple(map(price_class, allowed))
        machines = [
            machine
            for name in names
            if same_platform(name, _USUAL)
            for machine in book.machines(*place, pricing, accelerator=name)
            if machine.share == "1" and _fitting(one, machine)
        ]
        if not machines:
            said = ", ".join(names) or "none: what the pods require is not what their tier may use"
            found.append(Pool(one, problem=f"no machine of {' '.join(place)} holds such a pod (classes: {said})"))
            continue
        counts = {machine: math.ceil(len(one.pods) / _fitting(one, machine)) for machine in machines}
        best = min(machines, key=lambda m: (counts[m] * m.rate.per_hour.pico, counts[m], m.name))
        made = _manifest(one, best, pricing, counts[best], configuration.provider)
        found.append(Pool(one, best, pricing, counts[best], manifest=made))
    return tuple(found)


def _fitting(one: Waiting, machine: Machine) -> int:
    """How many such pods a machine holds."""
    room = {
        CPU: int(machine.vcpu * 1000 * _FOR_PODS),
        MEMORY: int(machine.memory_mib * _MIB * _FOR_PODS),
        WHOLE: machine.devices,
    }
    return min(room[name] // number for name, number in one.amounts.items() if name in room and number)


def _manifest(one: Waiting, machine: Machine, pricing: str, count: int, provider: str) -> Manifest | None:
    """A NodePool of Karpenter (karpenter.sh/v1) to be committed; None for a cloud whose node pools are no objects."""
    if provider not in _NODE_CLASS:
        return None
    requirements = [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [machine.name]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": [_CAPACITY[pricing]]},
    ]
    template: dict[str, Any] = {"spec": {"nodeClassRef": _NODE_CLASS[provider], "requirements": requirements}}
    if one.tier.dedicated is not None:
        key, value = one.tier.dedicated
        template["metadata"] = {"labels": {key: value}}
        template["spec"]["taints"] = [{"key": key, "value": value, "effect": "NoSchedule"}]
    name = re.sub("[^a-z0-9]+", "-", f"{one.tier.name}-{machine.name}-{_CAPACITY[pricing]}".lower()).strip("-")
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": name},
        "spec": {
            "template": template,
            "limits": {WHOLE: str(count * machine.devices)},
            "disruption": {"consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "5m"},
        },
    }


def looked(
    cluster: Cluster, generation: Generation, now: datetime, after: timedelta
) -> tuple[tuple[Waiting, ...], Mapping[str, int]]:
    """The pods that wait, and what each pool has in accelerators already. Raises TargetError."""
    listed = {found.kind: found for found in cluster.list([PODS, NODES])}
    for kind, found in listed.items():
        if found.problem:
            raise TargetError(f"{kind.plural} cannot be listed: {found.problem}", where="the cluster")
    waiting = waiting_pods(listed[PODS].objects, generation, now, after)
    return waiting, gpus_by_pool(listed[NODES].objects)


def gpus_by_pool(nodes: Iterable[Manifest]) -> Mapping[str, int]:
    """NodePool of Karpenter → the whole accelerators that its nodes have."""
    found: Counter[str] = Counter()
    for node in nodes:
        labels, status = node.get("metadata", {}).get("labels") or {}, node.get("status")
        held = status.get("capacity") if isinstance(status, Mapping) else None
        name = labels.get(_POOL)
        if name is None or not isinstance(held, Mapping):
            continue
        try:
            found[str(name)] += max(0, parse_count(held.get(WHOLE, 0)))
        except (QuantityError, TypeError, ValueError):
            continue  # what it says is no number, so it counts for nothing: the limit is Karpenter's to hold
    return found


def proposed(settings: Settings, repo: str | None, kubeconfig: Path | None, after: timedelta) -> tuple[Pool, ...]:
    """Ask a cluster which pods wait, under the rules and prices in force.

    Raises TargetError, ConfigError, SourceError and PriceError.
    """
    time = wiring.clock()
    generation = Extending(settings, repo, time, lambda *_: None).generation
    with wiring.cluster(settings, kubeconfig) as cluster:
        waiting, _ = looked(cluster, generation, time.now(), after)
    return pools(waiting, generation)
