"""What the scheduler's extender knows of nodes and pods: their facts, and what is taken of each node.

Two watches fill it (`nodes_sink`, `pods_sink`), the extender's own reservations go before them: a pod that was scored a
moment ago is bound a moment later, and the next one is asked for in between. Any thread may call it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from customhouse._kit.clock import Clock
from customhouse._kit.quantity import QuantityError, parse_bytes, parse_count, parse_milli
from customhouse.core.cluster import ApiKind, ClusterEvent, EventKind
from customhouse.core.devices import UNKNOWN_ACCELERATOR, classes, is_accelerator, is_spot
from customhouse.core.errors import DeclarationError
from customhouse.core.fields import amount, items, mapping
from customhouse.core.resource import Manifest

NODES = ApiKind("", "v1", "Node", "nodes", namespaced=False)
PODS = ApiKind("", "v1", "Pod", "pods", namespaced=True)
CPU, MEMORY = "cpu", "memory"
ASSUMED_S = 30.0
"""How long a reservation lasts for a pod that nobody sees bound: the scheduler may have given up."""
_ENDED = frozenset({"Succeeded", "Failed"})
_REGION = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_MACHINE = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_CLOUDS = {"aws": "aws", "gce": "gcp", "azure": "azure"}
"""The scheme of `spec.providerID`, and what price books call that cloud."""
_LABELLED_DEVICE = "nvidia.com/gpu"
"""One whose class is what a label says."""
_MOST_PENDING = 5_000
_MOST_GROUPS = 100_000


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says of itself. Amounts are millicores, bytes and counts of what pods may have (`allocatable`)."""

    name: str
    labels: Mapping[str, str]
    spot: bool = False
    accelerator: str | None = None
    """The class of its accelerators, `unknown` where no label names one; None where it has none."""
    amounts: Mapping[str, int] = field(default_factory=dict)
    provider: str = ""
    region: str = ""
    machine: str = ""
    problem: str = ""
    """What of it cannot be read."""

    @property
    def sort(self) -> object:
        """What nodes have in common that differ in their name alone, as far as money goes."""
        product = self.labels.get("nvidia.com/gpu.product", "")
        amounts = tuple(sorted(self.amounts.items()))
        return self.provider, self.region, self.machine, self.spot, self.accelerator, product, amounts

    @property
    def devices(self) -> tuple[str, ...]:
        """The accelerators that it has, by resource name."""
        return tuple(name for name, number in self.amounts.items() if number and is_accelerator(name))

    def class_of(self, device: str) -> str:
        """The class of one of its devices, read as the rules read a pod that asks for these very labels."""
        found = classes({"nodeSelector": self.labels}, (device,))
        return found[0] if found else UNKNOWN_ACCELERATOR

    @property
    def claimable(self) -> tuple[str, ...]:
        """The classes of which a claim may get a device: what a driver hands out need not be among the amounts."""
        found = {self.class_of(device) for device in self.devices}
        labelled = self.class_of(_LABELLED_DEVICE)
        return tuple(sorted(found | {labelled} if labelled != UNKNOWN_ACCELERATOR or not found else found))


def facts_of(manifest: Manifest) -> NodeFacts:
    """Read a Node. What it says wrongly is nothing, and `problem` says what."""
    metadata, spec, status = (_mapping(manifest, key) for key in ("metadata", "spec", "status"))
    labels = {str(key): str(value) for key, value in _mapping(metadata, "labels").items()}
    amounts: dict[str, int] = {}
    problem = ""
    for name, value in _mapping(status, "allocatable").items():
        try:
            amounts[str(name)] = max(0, _amount(str(name), value))
        except (QuantityError, TypeError, ValueError) as error:
            problem = problem or f"allocatable {name}: {error}"
    devices = tuple(name for name, number in amounts.items() if number and is_accelerator(name))
    found = classes({"nodeSelector": labels}, devices)
    return NodeFacts(
        name=str(metadata.get("name") or ""),
        labels=labels,
        spot=is_spot({"nodeSelector": labels}),
        accelerator=found[0] if found else None,
        amounts=amounts,
        provider=_CLOUDS.get(str(spec.get("providerID") or "").partition(":")[0], ""),
        region=next((labels[key] for key in _REGION if key in labels), ""),
        machine=next((labels[key] for key in _MACHINE if key in labels), ""),
        problem=problem,
    )


def requests_of(pod: Mapping[str, Any]) -> dict[str, int]:
    """What a PodSpec asks for as the scheduler counts it: millicores, bytes, and counts of everything else.

    The containers together with the init containers that stay (`restartPolicy: Always`), or the largest init container
    with those that stay and were started before it, whichever is more; what `spec.resources` says of the pod as a whole
    goes before both; and the overhead of its runtime class. Raises DeclarationError.
    """
    running: dict[str, int] = {}
    most: dict[str, int] = {}
    for index, container in enumerate(items(pod, "initContainers", "/spec")):
        own = _container(container, f"/spec/initContainers/{index}")
        if isinstance(container, Mapping) and container.get("restartPolicy") == "Always":
            _add(running, own)
            _largest(most, running)
        else:
            _largest(most, _sum(running, own))
    for index, container in enumerate(items(pod, "containers", "/spec")):
        _add(running, _container(container, f"/spec/containers/{index}"))
    _largest(running, most)
    running.update(_container(pod, "/spec"))
    _add(running, _amounts(mapping(pod, "overhead", "/spec"), "/spec/overhead"))
    return {name: number for name, number in running.items() if number}


def _container(container: Any, pointer: str) -> dict[str, int]:
    if not isinstance(container, Mapping):
        raise DeclarationError("a container is not a mapping", where=pointer)
    resources = mapping(container, "resources", pointer)
    # The API server fills requests in from limits; a dump of a pod that it never saw has only these.
    wanted = {**mapping(resources, "limits", pointer), **mapping(resources, "requests", pointer)}
    return _amounts(wanted, f"{pointer}/resources")


def _amounts(wanted: Mapping[str, Any], pointer: str) -> dict[str, int]:
    parsers: Mapping[str, Callable[[Any], int]] = {CPU: parse_milli, MEMORY: parse_bytes}
    return {name: amount(parsers.get(name, _whole), wanted, name, pointer) for name in wanted}


def _whole(value: Any) -> int:
    return parse_bytes(value)


def _amount(name: str, value: Any) -> int:
    if name == CPU:
        return parse_milli(value)
    return parse_count(value) if is_accelerator(name) else parse_bytes(value)


def _add(held: dict[str, int], more: Mapping[str, int]) -> None:
    for name, number in more.items():
        held[name] = held.get(name, 0) + number


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    both = dict(one)
    _add(both, other)
    return both


def _largest(held: dict[str, int], other: Mapping[str, int]) -> None:
    for name, number in other.items():
        held[name] = max(held.get(name, 0), number)


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


@dataclass(slots=True)
class NodeState:
    """A node, and what is taken of it. Verdicts and group are kept until something changes."""

    facts: NodeFacts
    used: dict[str, int] = field(default_factory=dict)
    pods: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """Uid → what it takes."""
    verdicts: dict[object, str] = field(default_factory=dict)
    _group: int | None = None

    def put(self, uid: str, amounts: Mapping[str, int]) -> None:
        """A pod takes so much of it."""
        self.remove(uid)
        self.pods[uid] = amounts
        _add(self.used, amounts)
        self._group = None

    def remove(self, uid: str) -> None:
        """A pod takes nothing of it any more."""
        gone = self.pods.pop(uid, None)
        if gone is not None:
            for name, number in gone.items():
                self.used[name] -= number
            self._group = None

    def take(self, facts: NodeFacts) -> None:
        """It says something else of itself."""
        self.facts = facts
        self.verdicts.clear()
        self._group = None

    def group(self, numbers: dict[object, int], counted: Iterator[int]) -> int:
        """The number of its group: nodes of a sort of which the same is taken are worth the same to any pod."""
        if self._group is None:
            key = (self.facts.sort, tuple(sorted([item for item in self.used.items() if item[1]])))
            number = numbers.get(key)
            if number is None:
                number = numbers[key] = next(counted)
            self._group = number
        return self._group


@dataclass(frozen=True, slots=True)
class PendingPod:
    """A pod for which the scheduler found no node: since when (RFC 3339), and what it said."""

    manifest: Manifest
    since: str
    message: str


class Occupancy:
    """The nodes and pods of a cluster as two watches tell of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lock = threading.RLock()
        """Held while a decision looks at several nodes."""
        self.nodes: dict[str, NodeState] = {}
        self._numbers: dict[object, int] = {}
        self._counted = count()
        self.placed = 0
        """How many pods have got a node since the beginning."""
        self._where: dict[str, tuple[str, float | None]] = {}
        """Uid → its node, and until when that is only assumed (None: the API says so)."""
        self._homeless: dict[str, dict[str, Mapping[str, int]]] = {}
        """Node → the pods on it, while the node itself is not known (yet, or any more)."""
        self._pending: dict[str, PendingPod] = {}
        self._retold: dict[str, set[str] | None] = {"nodes": None, "pods": None}
        self._synced: set[str] = set()
        self._failing: dict[str, tuple[float, str]] = {}

    # what is told
    def nodes_sink(self, events: Sequence[ClusterEvent]) -> None:
        """What the watch of nodes tells."""
        self._take("nodes", events, self._node)

    def pods_sink(self, events: Sequence[ClusterEvent]) -> None:
        """What the watch of pods tells."""
        self._take("pods", events, self._pod)

    def _take(self, sort: str, events: Sequence[ClusterEvent], take: Callable[[Manifest, bool], str]) -> None:
        with self.lock:
            for event in events:
                if event.event is EventKind.RESTARTED:
                    self._retold[sort] = set()
                elif event.event is EventKind.SYNCED:
                    self._forget(sort)
                    self._synced.add(sort)
                    self._failing.pop(sort, None)
                elif event.event is EventKind.FAILED:
                    since = self._failing.get(sort, (self._clock.monotonic(), ""))[0]
                    self._failing[sort] = (since, event.problem)
                elif event.manifest is not None:
                    self._failing.pop(sort, None)
                    key = take(event.manifest, event.event is EventKind.DELETED)
                    retold = self._retold[sort]
                    if retold is not None:
                        retold.add(key)

    def _forget(self, sort: str) -> None:
        """What went while nobody looked."""
        retold, self._retold[sort] = self._retold[sort], None
        if retold is None:
            return
        if sort == "nodes":
            for name in self.nodes.keys() - retold:
                self._lose(name)
            return
        for uid, (_, until) in list(self._where.items()):
            if uid not in retold and until is None:
                self._remove(uid)
        for uid in self._pending.keys() - retold:
            del self._pending[uid]

    def _node(self, manifest: Manifest, gone: bool) -> str:
        facts = facts_of(manifest)
        if gone:
            self._lose(facts.name)
            return facts.name
        state = self.nodes.get(facts.name)
        if state is None:
            state = self.nodes[facts.name] = NodeState(facts)
            for uid, amounts in self._homeless.pop(facts.name, {}).items():
                state.put(uid, amounts)
        elif state.facts != facts:  # most of what a node says is that it is still there
            state.take(facts)
        return facts.name

    def _lose(self, name: str) -> None:
        state = self.nodes.pop(name, None)
        if state is not None and state.pods:
            self._homeless[name] = dict(state.pods)

    def _pod(self, manifest: Manifest, gone: bool) -> str:
        metadata, spec, status = (_mapping(manifest, key) for key in ("metadata", "spec", "status"))
        uid, node = str(metadata.get("uid") or ""), str(spec.get("nodeName") or "")
        if gone or str(status.get("phase")) in _ENDED:
            self._remove(uid)
            self._pending.pop(uid, None)
        elif node:
            self._pending.pop(uid, None)
            if self._where.get(uid) != (node, None):
                try:
                    self._place(uid, node, requests_of(spec), None)
                except DeclarationError:  # what it takes cannot be told; the scheduler counts it, this only scores
                    self._place(uid, node, {}, None)
        else:
            self._wait(uid, manifest, status)
        return uid

    def _wait(self, uid: str, manifest: Manifest, status: Mapping[str, Any]) -> None:
        conditions = status.get("conditions")
        for item in conditions if isinstance(conditions, list) else ():
            if (
                isinstance(item, Mapping)
                and (item.get("type"), item.get("status")) == ("PodScheduled", "False")
                and item.get("reason") == "Unschedulable"
                and len(self._pending) < _MOST_PENDING
            ):
                since, message = str(item.get("lastTransitionTime") or ""), str(item.get("message") or "")
                self._pending[uid] = PendingPod(manifest, since, message)

    def _place(self, uid: str, node: str, amounts: Mapping[str, int], until: float | None) -> None:
        self._remove(uid)
        self._where[uid] = (node, until)
        self.placed += 1
        state = self.nodes.get(node)
        if state is None:
            self._homeless.setdefault(node, {})[uid] = amounts
        else:
            state.put(uid, amounts)

    def _remove(self, uid: str) -> None:
        before = self._where.pop(uid, None)
        if before is None:
            return
        state = self.nodes.get(before[0])
        if state is not None:
            state.remove(uid)
        elif before[0] in self._homeless:
            self._homeless[before[0]].pop(uid, None)
            if not self._homeless[before[0]]:
                del self._homeless[before[0]]

    # what is asked
    def groups(self, names: Sequence[str]) -> dict[str, int]:
        """Node → the number of its group, for the nodes that are known. Call it with `lock` held."""
        if len(self._numbers) > _MOST_GROUPS:
            self._numbers.clear()  # numbers are never given twice, so what goes by the old ones is only not found again
        nodes, numbers, counted = self.nodes, self._numbers, self._counted
        return {name: nodes[name].group(numbers, counted) for name in names if name in nodes}

    def assume(self, uid: str, node: str, amounts: Mapping[str, int]) -> None:
        """Count with a pod that will probably be bound there, for `ASSUMED_S`; what the watch tells goes before it."""
        with self.lock:
            known = self._where.get(uid)
            if uid and (known is None or known[1] is not None):
                self._place(uid, node, amounts, self._clock.monotonic() + ASSUMED_S)

    def expire(self) -> None:
        """Give up reservations that nobody saw come true."""
        now = self._clock.monotonic()
        with self.lock:
            for uid in [uid for uid, (_, until) in self._where.items() if until is not None and until <= now]:
                self._remove(uid)

    @property
    def assumed(self) -> int:
        """How many reservations stand: pods that were scored, and not seen bound yet."""
        with self.lock:
            return sum(until is not None for _, until in self._where.values())

    def unreadable(self) -> tuple[str, ...]:
        """What nodes say that cannot be read, as `NAME: what`."""
        with self.lock:
            return tuple(f"{name}: {state.facts.problem}" for name, state in self.nodes.items() if state.facts.problem)

    @property
    def synced(self) -> bool:
        """Whether both watches have told what exists."""
        return len(self._synced) == len(self._retold)

    def failing(self) -> tuple[float, str]:
        """For how many seconds a watch has failed, and why; (0, "") while both go on."""
        with self.lock:
            now = self._clock.monotonic()
            return max(
                ((now - since, f"{sort}: {why}") for sort, (since, why) in self._failing.items()), default=(0.0, "")
            )

    def pending(self) -> tuple[PendingPod, ...]:
        """The pods that no node was found for, the oldest first."""
        with self.lock:
            return tuple(sorted(self._pending.values(), key=lambda item: item.since))
