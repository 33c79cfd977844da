"""`schedule simulate`: a list of pods placed on a list of nodes by a policy, and what comes of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit import progress
from customhouse._kit.clock import Clock, SystemClock
from customhouse._kit.money import Money
from customhouse.app.scheduling_files import read_nodes, read_pods, read_prices
from customhouse.app.wholefile import write_whole
from customhouse.core.errors import UsageError
from customhouse.execution.placement.arrivals import TooManyArrivalsError, arrivals
from customhouse.execution.placement.room import Room
from customhouse.execution.placement.simulation import POLICIES, Rules, Run, simulate
from customhouse.execution.placement.slices import start_of
from customhouse.execution.placement.workload import WHOLE, Node, Pod

PLACEMENTS = ("arrival", "pod", "node", "gpus", "state", "mig")
MOVES = ("arrival", "pod", "from", "from_gpus", "to", "to_gpus")
CURVE = (0.25, 0.5, 0.75, 1.0, 1.3)


@dataclass(frozen=True, slots=True)
class Experiment:
    """What `schedule simulate` is asked for; files are paths."""

    nodes: str
    pods: str
    policy: str
    seed: int = 42
    demand: float = 1.3
    ties: str = "drawn"
    moves: float = 0.0
    window: int = 0
    prices: str | None = None
    spot_percent: int = 0
    dear: float | None = None


def simulated(asked: Experiment, clock: Clock | None = None) -> tuple[dict[str, Any], Run]:
    """The answer of `schedule simulate`, and the run it tells of. Raises UsageError."""
    clock = clock or SystemClock()
    if asked.policy not in POLICIES:
        raise UsageError(f"no policy is called {asked.policy!r}", hint=f"one of {', '.join(POLICIES)}")
    prices = read_prices(asked.prices) if asked.prices else None
    nodes = read_nodes(asked.nodes, prices, asked.spot_percent)
    cuts = {node.mig for node in nodes if node.mig}
    pods = read_pods(asked.pods, spot=any(node.spot for node in nodes), cuts=cuts)
    if not any(node.gpus for node in nodes):
        raise UsageError("no node has a GPU", where=asked.nodes, hint="the demand is measured in GPUs: list GPU nodes")
    try:
        order = arrivals(nodes, pods, seed=asked.seed, demand=asked.demand, ties=asked.ties)
    except TooManyArrivalsError as error:
        raise UsageError(str(error), where=asked.pods, hint="lower --demand, or list pods that ask for more") from error
    if not order.pods:
        raise UsageError(
            f"none of the pods is left at a demand of {asked.demand:g}: the smallest asks for more",
            where=asked.pods,
            hint="raise --demand, or list more nodes or smaller pods",
        )
    dear = asked.dear if asked.dear is not None else DEAR_WHEN_PRICED if prices else 0.0
    rules = Rules(asked.policy, asked.seed, asked.moves, asked.window, dear)
    begun = clock.monotonic()
    run = simulate(order.nodes, pods, order.pods, rules, lambda done, all_: progress.tell("pods placed", done, all_))
    seconds = clock.monotonic() - begun
    return _answer(asked, run, seconds, nodes, pods), run


DEAR_WHEN_PRICED = 0.5
"""How much our policy weighs a price that it is given: in fragments of a GPU, for a GPU of twice the mean price."""


def _answer(asked: Experiment, run: Run, seconds: float, nodes: Sequence[Node], pods: Sequence[Pod]) -> dict[str, Any]:
    placed = sum(place is not None for place in run.places)
    capacity = sum(node.gpus for node in nodes) * WHOLE
    given = sum(pod.shape.gpu_total for pod, place in zip(run.pods, run.places, strict=True) if place is not None)
    cost = costs(run, nodes)
    return {
        "policy": asked.policy,
        "seed": asked.seed,
        "demand": asked.demand,
        "gpu_allocation_percent": round(run.percent_at(asked.demand), 3),
        "gpu_allocation_percent_at": {f"{at:g}": round(run.percent_at(at), 3) for at in CURVE if at <= asked.demand},
        "unallocated_gpus": (capacity - given) / WHOLE,
        "gpus": capacity // WHOLE,
        "arrived": len(run.pods),
        "placed": placed,
        "failed": len(run.pods) - placed,
        "moves": len(run.moves),
        "seconds_per_decision": round(seconds / max(1, len(run.pods)), 9),
        **cost,
        "impossible": impossible(nodes, pods),
    }


def costs(run: Run, nodes: Sequence[Node]) -> dict[str, Any]:
    """What the run's GPUs cost an hour, in two readings, as decimal text; null where a price is missing.

    Held: the parts of GPUs that pods hold. In use: every GPU of each node that has a pod, as a bill has it where empty
    nodes are given back. `cost_per_hour` (held) and `cost_per_hour_of_nodes_in_use` are at the end of the run;
    `cost_per_allocated_gpu_hour` has both by the GPUs that pods hold, at points of the demand, at the `end`, and as
    `mean` over the run, in which each arrival counts as one hour: what was paid while the cluster filled.
    """
    unpriced = sorted({node.model for node in nodes if node.gpus and node.price is None})
    names = ("cost_per_hour", "cost_per_hour_of_nodes_in_use", "cost_per_allocated_gpu_hour")
    if unpriced:
        return {**dict.fromkeys(names), "unpriced": unpriced}
    now, hours = Bill(), Bill()
    points: dict[str, dict[str, str]] = {}
    waiting = list(CURVE)
    for i, now in enumerate(bills(run)):
        hours.add(now)
        while waiting and run.arrived[i] >= waiting[0] * 100:
            points[f"{waiting.pop(0):g}"] = now.each()
    each = {**points, "end": now.each(), "mean": hours.each()}
    ends = (_usd(now.spent // WHOLE), _usd(now.standing // WHOLE), each)
    return {**dict(zip(names, ends, strict=True)), "unpriced": []}


def bills(run: Run) -> Iterator[Bill]:
    """After each arrival what an hour costs then; always the same object. A pod that was moved counts where it went."""
    now = Bill()
    used: set[int] = set()
    for pod, place in zip(run.pods, run.places, strict=True):
        if place is not None:
            price = run.nodes[place.row].price or 0
            now.held += pod.shape.gpu_total
            now.spent += pod.shape.gpu_total * price
            if place.row not in used:
                used.add(place.row)
                now.standing += run.nodes[place.row].gpus * WHOLE * price
        yield now


@dataclass(slots=True)
class Bill:
    """Thousandths of GPUs that pods hold, and what they and the nodes in use cost (10⁻¹² of a dollar, thousandfold)."""

    held: int = 0
    spent: int = 0
    standing: int = 0

    def add(self, other: Bill) -> None:
        """Sum up hours."""
        self.held += other.held
        self.spent += other.spent
        self.standing += other.standing

    def each(self) -> dict[str, str]:
        """Both by the GPUs that pods hold, in dollars."""
        held = max(1, self.held)
        return {"held": _usd(self.spent // held), "in_use": _usd(self.standing // held)}


def _usd(pico: int) -> str:
    return Money(pico).rounded(6)


def impossible(nodes: Sequence[Node], pods: Sequence[Pod]) -> int:
    """How many of the listed pods no node has room for, even when all are empty."""
    import numpy as np

    room = Room(nodes)
    fits: dict[Any, bool] = {}
    for pod in pods:
        if pod.shape not in fits:
            fits[pod.shape] = bool(room.fits(pod.shape, np.flatnonzero(room.allowed(pod.shape))).any())
    return sum(not fits[pod.shape] for pod in pods)


def write_placements(run: Run, path: str) -> None:
    """One row an arrival: where the pod is at the end of the run, or that it failed; GPUs by number, `;` between."""
    rows = (
        (i, pod.name, run.nodes[place.row].name, ";".join(map(str, place.gpus)), "placed", _part(pod, place.part))
        if place is not None
        else (i, pod.name, "", "", "failed", pod.shape.mig)
        for i, (pod, place) in enumerate(zip(run.pods, run.places, strict=True))
    )
    _write(path, PLACEMENTS, rows)


def _part(pod: Pod, part: int) -> str:
    """`2g.20gb@4`: the profile, and the memory slice at which it begins."""
    return f"{pod.shape.mig}@{start_of(part)}" if part else ""


def write_moves(run: Run, path: str) -> None:
    """One row a moved pod: the arrival for which it made room, from where and to where it went."""
    _write(
        path,
        MOVES,
        (
            (
                arrival,
                run.pods[moved].name,
                run.nodes[move.old.row].name,
                ";".join(map(str, move.old.gpus)),
                run.nodes[move.new.row].name,
                ";".join(map(str, move.new.gpus)),
            )
            for arrival, moved, move in run.moves
        ),
    )


def _write(path: str, columns: Sequence[str], rows: Any) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_whole(Path(path), text.getvalue().encode())
