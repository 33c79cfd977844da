"""The decisions of the scheduler's extender: which nodes a pod's tier forbids, and which of the others is worth most.

`filter` only takes away what a tier's rules forbid, never what is full: counting is the scheduler's own work, on newer
knowledge. `prioritise` asks for money: what a pod's share of a node costs an hour, with what stays idle beside it. The
scheduler takes whole numbers from 0 to 10, so nodes are ranked: the cheapest get 10, the next price 9, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from customhouse.core.devices import UNKNOWN_ACCELERATOR, is_accelerator
from customhouse.execution.extender_fragments import stranded, usual
from customhouse.execution.extender_nodes import NodeFacts, NodeState, Occupancy
from customhouse.execution.placement.fragments import Typical

HIGHEST = 10
"""MaxExtenderPriority of k8s.io/kube-scheduler/extender/v1."""
IDLE_WEIGHT = 0.5
"""What an idle part of a node counts, beside 1 for the part that the pod takes: half is usually taken by the next."""
_MOST_SHAPES = 64
_MOST_GROUPS = 20_000
LEARNED_AGAIN = 500
"""After so many more pods what usually comes is looked at anew."""
LEARNED_FIRST = 20
"""The same while no pod with an accelerator is known."""
Cost = tuple[bool, bool, bool, float, bool]
"""(it stands in the way of accelerators, it says what cannot be, it has no price, money, on-demand where spot would
do): the least is best."""


@dataclass(frozen=True, slots=True)
class TierPlacing:
    """What a tier says about nodes. `gpu_classes` None: any; `dedicated` and `reserved` are (label, value)."""

    name: str
    gpu_classes: tuple[str, ...] | None = None
    spot: str = "allowed"
    dedicated: tuple[str, str] | None = None
    reserved: tuple[tuple[str, str], ...] = ()
    fallback_s: int | None = None
    """Of spot `required`: for how many seconds a pod is held to it; None: always."""

    def after(self, seconds: float) -> TierPlacing:
        """What holds for a pod that has waited so long."""
        if self.spot != "required" or self.fallback_s is None or seconds < self.fallback_s:
            return self
        return replace(self, spot="allowed")


@dataclass(frozen=True, slots=True)
class PodNeeds:
    """One pod as it is placed: what it asks for (`extender_nodes.requests_of`) and under which tier's rules."""

    uid: str
    amounts: Mapping[str, int]
    tier: TierPlacing
    claims: bool = False
    """Whether it asks for devices by claims (`spec.resourceClaims`): of which kind they are stands elsewhere."""
    shape: tuple[tuple[str, int], ...] = field(init=False)
    devices: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(sorted(self.amounts.items())))
        object.__setattr__(self, "devices", tuple(name for name, _ in self.shape if is_accelerator(name)))


@dataclass(frozen=True, slots=True)
class Filtered:
    """The nodes that are left, in the order in which they were named, and why each of the others is not."""

    left: tuple[str, ...]
    forbidden: Mapping[str, str]
    """By the tier: no eviction would change that."""
    unknown: Mapping[str, str]
    """Not seen here: a moment later they may be."""


Price = Callable[[NodeFacts], float | None]
"""What a node costs an hour, in any one unit; None where nobody knows."""


class Placer:
    """Decides by what an `Occupancy` knows."""

    def __init__(
        self, occupancy: Occupancy, price: Price, doubts: Callable[[NodeFacts], bool] = lambda _: False
    ) -> None:
        """`doubts`: whether a node says of itself what cannot be."""
        self._occupancy, self._doubts = occupancy, doubts
        self.price = price
        self._costs: dict[object, dict[int, Cost]] = {}
        """By what is asked for, then by what nodes have in common: most of a cluster is alike."""
        self._common: tuple[Typical, ...] = ()
        self._learned = -LEARNED_AGAIN

    def forget(self) -> None:
        """Prices are others now. Verdicts stay: they are kept by the rules themselves."""
        with self._occupancy.lock:
            self._costs.clear()

    def filter(self, pod: PodNeeds, names: Sequence[str]) -> Filtered:
        """Take away the nodes that the pod's tier forbids."""
        left: list[str] = []
        barred: dict[str, str] = {}
        unknown: dict[str, str] = {}
        key = (pod.tier, pod.devices, pod.claims)
        with self._occupancy.lock:
            nodes = self._occupancy.nodes
            for name in names:
                state = nodes.get(name)
                if state is None:
                    unknown[name] = "this node has not been seen yet, so whether the tier allows it is not known"
                    continue
                reason = state.verdicts.get(key)
                if reason is None:
                    if len(state.verdicts) >= _MOST_SHAPES:  # who asks chooses them
                        state.verdicts.clear()
                    reason = state.verdicts[key] = forbidden(state.facts, pod.devices, pod.tier, pod.claims)
                if reason:
                    barred[name] = reason
                else:
                    left.append(name)
        return Filtered(tuple(left), barred, unknown)

    def prioritise(self, pod: PodNeeds, names: Sequence[str]) -> list[tuple[str, int]]:
        """A score from 0 to `HIGHEST` for each node; the best one is kept for this pod until it is seen bound."""
        with self._occupancy.lock:
            self._occupancy.expire()
            self._learn()
            costs = self._of(pod, names)
            ranks = {cost: max(HIGHEST - rank, 0) for rank, cost in enumerate(sorted(set(costs.values())))}
            scores = [(name, ranks[costs[name]] if name in costs else 0) for name in names]
            if costs:
                # Of equals the scheduler draws one: whichever it takes, the watch will say.
                best = min(costs, key=lambda name: (costs[name], name))
                self._occupancy.assume(pod.uid, best, pod.amounts)
        return scores

    def spared(self, pod: PodNeeds, names: Iterable[str]) -> frozenset[str]:
        """The nodes on which nothing may be evicted for the pod, since it may not run there."""
        return frozenset(set(names) - set(self.filter(pod, tuple(names)).left))

    def _of(self, pod: PodNeeds, names: Sequence[str]) -> dict[str, Cost]:
        """The cost of the pod on each node that is known."""
        key = (pod.shape, pod.tier.spot, pod.claims)
        if key not in self._costs and len(self._costs) >= _MOST_SHAPES:
            self._costs.clear()
        kept = self._costs.setdefault(key, {})
        if len(kept) > _MOST_GROUPS:
            kept.clear()
        nodes = self._occupancy.nodes
        groups = self._occupancy.groups(names)
        new = {group: nodes[name] for name, group in groups.items() if group not in kept}
        lost = stranded(pod.amounts, tuple(new.values()), self._common)
        for (group, state), pieces in zip(new.items(), lost, strict=True):
            kept[group] = cost(pod, state, self.price(state.facts), pieces, doubted=self._doubts(state.facts))
        return {name: kept[group] for name, group in groups.items()}

    def _learn(self) -> None:
        """What usually comes, of the pods that run now."""
        if self._occupancy.placed - self._learned < (LEARNED_AGAIN if self._common else LEARNED_FIRST):
            return
        self._learned = self._occupancy.placed
        common = usual(amounts for state in self._occupancy.nodes.values() for amounts in state.pods.values())
        if common != self._common:
            self._common = common
            self._costs.clear()


def forbidden(node: NodeFacts, devices: Sequence[str], tier: TierPlacing, claims: bool = False) -> str:
    """Why a tier forbids a node to a pod that asks for these devices, or by claims; empty where it does not."""
    if tier.spot == "forbidden" and node.spot:
        return f"tier {tier.name} forbids spot capacity"
    if tier.spot == "required" and not node.spot:
        return f"tier {tier.name} runs on spot capacity alone"
    if tier.dedicated is not None and node.labels.get(tier.dedicated[0]) != tier.dedicated[1]:
        return f"tier {tier.name} runs on nodes with {tier.dedicated[0]}={tier.dedicated[1]} alone"
    for label, value in tier.reserved:
        if node.labels.get(label) == value:
            return f"nodes with {label}={value} are kept for another tier than {tier.name}"
    if tier.gpu_classes is not None:
        asked = [(device, node.class_of(device)) for device in devices]
        if claims:
            asked += [("devices", name) for name in node.claimable]
        for device, name in asked:
            if name == UNKNOWN_ACCELERATOR:
                its = "its devices are" if device == "devices" else f"its {device} is"
                return f"the node does not say of which class {its}, and tier {tier.name} may not use every one"
            if name not in tier.gpu_classes:
                allowed = ", ".join(tier.gpu_classes) or "none"
                return f"tier {tier.name} may not use {name} (allowed: {allowed})"
    return ""


def cost(pod: PodNeeds, state: NodeState, price: float | None, pieces: float = 0.0, *, doubted: bool = False) -> Cost:
    """What the pod costs on the node, for an order among nodes. `pieces`: devices that it would leave in pieces there.

    1. The share of the node that it takes from others: its largest part of anything that the node has.
    2. What stays idle beside it then: accelerators where it asks for some, else the lesser used of CPU and memory.
    3. price × (share + `IDLE_WEIGHT` × idle), and the price of what is left in pieces (`extender_fragments`). A node
       without a price comes after all that have one; among those the rest decides alone.
    4. Before any money: a pod that needs no accelerator goes where there is none, while there is room. Beside one that
       is in use now it would hold the CPUs that the next user of it needs.
    5. A node that says what cannot be (`doubted`) comes after all others: by what it says, its share would be small.
    6. At the same money spot is taken, where the tier allows it: what needs on-demand capacity has no choice.
    """
    amounts, used = state.facts.amounts, state.used
    share = max((number / amounts[name] for name, number in pod.amounts.items() if amounts.get(name)), default=0.0)
    measured = pod.devices or ("cpu", "memory")
    taken = [(used.get(name, 0) + pod.amounts.get(name, 0)) / amounts[name] for name in measured if amounts.get(name)]
    idle = 1.0 - min(1.0, max(taken, default=0.0))
    whole = sum(amounts[name] for name in state.facts.devices)
    rough = share + IDLE_WEIGHT * idle + (pieces / whole if whole else 0.0)
    blocking = bool(state.facts.devices) and not pod.devices and not pod.claims
    kept = pod.tier.spot != "forbidden" and not state.facts.spot
    return blocking, doubted, price is None, round(rough * (1.0 if price is None else price), 9), kept
