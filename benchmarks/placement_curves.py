"""Pictures of placement on the public trace: what is allocated, and what a GPU-hour costs, over what was asked for.

    python benchmarks/placement_curves.py DATA FOLDER [--seeds 42-45]

Writes placement-allocation.svg and placement-cost.svg; DATA as for placement.py, whose prices and spot nodes the second
has. Lines are means of the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from placement import PRICES, SPOT

from customhouse.app.scheduling import Experiment, bills, simulated

Line = tuple[str, str, Any]
"""A name, a colour, and the values at `DEMAND`."""
DEMAND = np.arange(1.0, 130.0, 0.5)
POLICIES = (
    ("customhouse", "#0b7a3b", {"policy": "customhouse"}),
    ("customhouse --look-ahead 150", "#6cbf4b", {"policy": "customhouse", "window": 150}),
    ("fgd", "#c0392b", {"policy": "fgd"}),
    ("best-fit", "#2f6fb0", {"policy": "best-fit"}),
    ("random", "#8a8a8a", {"policy": "random"}),
)


def curve(data: str, seeds: range, more: dict[str, Any], value: Callable[[Any], Any]) -> Any:
    """The mean of the seeds of `value(run)`, which has one number an arrival, at `DEMAND`."""
    found = []
    for seed in seeds:
        nodes, pods = f"{data}/openb_node_list_gpu_node.csv", f"{data}/openb_pod_list_default.csv"
        _, run = simulated(Experiment(nodes=nodes, pods=pods, seed=seed, **more))
        at = np.minimum(np.searchsorted(run.arrived, DEMAND), len(run.arrived) - 1)
        found.append(np.asarray(value(run))[at])
    return np.mean(found, axis=0)


def panel(at: int, title: str, lines: Sequence[Line], x: tuple[int, int], y: tuple[float, float], step: float) -> str:
    """One diagram, 420 wide, that begins at `at`."""
    left, top, wide, high = at + 46, 44, 364, 250

    def place(one: float, two: float) -> tuple[float, float]:
        return left + (one - x[0]) / (x[1] - x[0]) * wide, top + (y[1] - two) / (y[1] - y[0]) * high

    parts = [f'<text x="{left}" y="30" font-weight="bold">{title}</text>']
    for tick in np.arange(y[0], y[1] + step / 2, step):
        height = place(x[0], tick)[1]
        parts.append(f'<path d="M{left} {height:.1f}h{wide}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{height + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for number in range(x[0], x[1] + 1, 10 if x[1] - x[0] < 60 else 20):
        across = place(number, y[0])[0]
        parts.append(f'<text x="{across:.1f}" y="{top + high + 16}" text-anchor="middle">{number}</text>')
    parts.append(f'<text x="{left + wide / 2}" y="{top + high + 34}" text-anchor="middle">GPUs asked for, %</text>')
    for _, colour, values in reversed(lines):
        points = " ".join(
            "{:.1f},{:.1f}".format(*place(one, two))
            for one, two in zip(DEMAND, values, strict=True)
            if x[0] <= one <= x[1] and y[0] <= two <= y[1]
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
    return "\n".join(parts)


def picture(panels: Sequence[str], lines: Sequence[Line]) -> str:
    """The panels beside each other, with the names of the lines below."""
    legend, across = [], 46
    for name, colour, _ in lines:
        legend.append(f'<path d="M{across} 352h22" stroke="{colour}" stroke-width="3"/>')
        legend.append(f'<text x="{across + 28}" y="356">{name}</text>')
        across += 46 + 7 * len(name)
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 370" font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="860" height="370" fill="#fff"/>', *panels, *legend, "</svg>", ""])


def in_use(run: Any) -> list[float]:
    """Dollars for the nodes in use, by the GPUs that pods hold."""
    return [bill.standing / max(1, bill.held) / 1e12 for bill in bills(run)]


def held(run: Any) -> list[float]:
    """Dollars for the GPUs that pods hold, by those GPUs."""
    return [bill.spent / max(1, bill.held) / 1e12 for bill in bills(run)]


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="42-45")
    asked = parser.parse_args()
    first, _, last = asked.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    lines = [
        (name, colour, curve(asked.data, seeds, more, lambda run: run.allocated)) for name, colour, more in POLICIES
    ]
    panels = [
        panel(0, "GPUs allocated, %", lines, (0, 130), (0, 100), 20),
        panel(430, "the same, where it decides", lines, (80, 130), (84, 97), 1),
    ]
    (asked.folder / "placement-allocation.svg").write_text(picture(panels, lines), encoding="utf-8")
    priced = {"prices": str(PRICES), "spot_percent": SPOT}
    shown = [one for one in POLICIES if one[0] in {"customhouse", "fgd", "best-fit"}]
    both = [
        [(name, colour, curve(asked.data, seeds, {**more, **priced}, value)) for name, colour, more in shown]
        for value in (in_use, held)
    ]
    panels = [
        panel(0, "$ per allocated GPU-hour: nodes in use", both[0], (0, 130), (0.6, 2.2), 0.2),
        panel(430, "what pods hold", both[1], (0, 130), (0.6, 2.2), 0.2),
    ]
    (asked.folder / "placement-cost.svg").write_text(picture(panels, both[0]), encoding="utf-8")


if __name__ == "__main__":
    main()
