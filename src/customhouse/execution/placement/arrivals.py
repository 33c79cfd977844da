"""The order in which the published experiment lets pods arrive (Weng et al., USENIX ATC 2023; its simulator's steps).

1. `rand.Seed(seed)`, one `rand.Int()` thrown away.
2. The simulator puts a number from `rand.Perm` before each node's name, so "the smallest name" among equals is another
   node in each run: `ties`. (Without it FGD on gpuspec25 gives 94.4 % instead of the published 94.7 %.)
3. Pods sorted by name, then shuffled.
4. Inflation to `demand` times the GPUs of the nodes: copies drawn with replacement are added at the end until the next
   one would pass it (what is added there is the part of *one* GPU, so the last copies may pass it by a few); above it,
   pods drawn at random are taken out until it fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from customhouse.execution.placement.stream import GoRandom
from customhouse.execution.placement.workload import WHOLE, Node, Pod

MOST_ARRIVALS = 2_000_000


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Pods in the order of arrival, and the nodes in the order in which equals are preferred."""

    pods: tuple[Pod, ...]
    nodes: tuple[Node, ...]


class TooManyArrivalsError(ValueError):
    """The demand asks for more copies than a simulation may hold; the message says how many were drawn."""


def arrivals(nodes: Sequence[Node], pods: Sequence[Pod], *, seed: int, demand: float, ties: str = "drawn") -> Arrivals:
    """What arrives, and in which order. `ties`: `drawn` (step 2) or `name` (the nodes' own names).

    Raises TooManyArrivalsError.
    """
    stream = GoRandom(seed)
    stream.int63()
    named = sorted(nodes, key=lambda node: node.name)
    drawn = stream.permutation(len(named)) if ties == "drawn" else range(len(named))
    ranked = [node for _, node in sorted(zip(drawn, named, strict=True), key=lambda pair: pair[0])]
    listed = sorted(pods, key=lambda pod: pod.name)
    order = list(listed)
    stream.shuffle(order)
    target = demand * (sum(node.gpus for node in named) * WHOLE)
    asked = sum(pod.shape.gpu_total for pod in listed)
    if asked > target:
        while order and asked > target:
            asked -= order.pop(stream.below(len(order))).shape.gpu_total
    elif asked < target and asked:
        while True:
            pod = listed[stream.below(len(listed))]
            if asked + pod.shape.gpu_milli > target:
                break
            asked += pod.shape.gpu_total
            order.append(Pod(f"{pod.name}-tuned-{len(order) - len(listed)}", pod.shape))
            if len(order) > MOST_ARRIVALS:
                raise TooManyArrivalsError(f"more than {MOST_ARRIVALS:,} pods would have to arrive")
    return Arrivals(tuple(order), tuple(ranked))
