"""Placement on the public trace: every policy on every list and seed, allocation curves, and what GPUs cost.

    python benchmarks/placement.py DATA [--traces default,cpu200] [--seeds 42-51] [--processes 2]
    python benchmarks/placement.py DATA --curve        allocation by demand, on `default`
    python benchmarks/placement.py DATA --cost         with prices and spot labels, on `default` (what pods hold/nodes
                                                       in use, a GPU-hour that pods hold; beside the policy before it)
    python benchmarks/placement.py DATA --cost --demand 0.98    the list once, without copies

DATA is the folder with openb_node_list_gpu_node.csv, openb_pod_list_*.csv and published.csv. All policies run in the
same program on the same arrivals. A row is the mean of the seeds (and the standard deviation); `decision` is the CPU
time of a whole run by the pods that arrived.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from customhouse.app.scheduling import Experiment, simulated

PRICES = Path(__file__).with_name("placement_prices.csv")
SPOT = 25
"""So many of a hundred nodes are spot, told by their names."""
POLICIES: dict[str, dict[str, Any]] = {
    "random": {"policy": "random"},
    "best-fit": {"policy": "best-fit"},
    "fgd": {"policy": "fgd"},
    "customhouse": {"policy": "customhouse"},
    "  --look-ahead 150": {"policy": "customhouse", "window": 150},
    "  --moves 1": {"policy": "customhouse", "moves": 1.0},
}
NAMES = {"random": "Random", "best-fit": "BestFit", "fgd": "FGD"}


def run(job: tuple[str, str, str, int, dict[str, Any]]) -> tuple[str, str, dict[str, Any], float]:
    """One policy on one list and seed."""
    data, trace, name, seed, more = job
    experiment = Experiment(
        nodes=f"{data}/openb_node_list_gpu_node.csv",
        pods=f"{data}/openb_pod_list_{trace}.csv",
        seed=seed,
        **{**POLICIES[name], **more},
    )
    begun = time.process_time()
    answer, _ = simulated(experiment)
    return trace, name, answer, (time.process_time() - begun) / answer["arrived"]


def published(data: str) -> dict[tuple[str, str], float]:
    """The published means."""
    with open(f"{data}/published.csv", encoding="utf-8") as stream:
        return {
            (row["trace"], row["policy"]): float(row["gpu_allocation_percent_at_130_demand"])
            for row in csv.DictReader(stream)
        }


def main() -> None:
    """Run it and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--traces", default="")
    parser.add_argument("--seeds", default="42-51")
    parser.add_argument("--policies", default="")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--demand", type=float, default=1.3)
    parser.add_argument("--spot", type=int, default=SPOT)
    asked = parser.parse_args()
    first, _, last = asked.seeds.partition("-")
    known = published(asked.data)
    traces = asked.traces.split(",") if asked.traces else list(dict.fromkeys(trace for trace, _ in known))
    if (asked.curve or asked.cost) and not asked.traces:
        traces = ["default"]
    policies = [name for name in POLICIES if not asked.policies or name.strip() in asked.policies.split(",")]
    more: dict[str, Any] = {"demand": asked.demand}
    if asked.cost:
        more |= {"prices": str(PRICES), "spot_percent": asked.spot}
    seeds = range(int(first), int(last or first) + 1)
    jobs = [(asked.data, trace, name, seed, more) for trace in traces for name in policies for seed in seeds]
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    spent: dict[str, list[float]] = defaultdict(list)
    with multiprocessing.Pool(asked.processes) as pool:
        for trace, name, answer, seconds in pool.imap(run, jobs):
            found[trace, name].append(answer)
            spent[name].append(seconds)
            if len(found[trace, name]) == len(seeds):
                show(trace, name, found[trace, name], known, asked)
                if asked.cost and (trace, "fgd") in found and name != "fgd":
                    beside(found[trace, name], found[trace, "fgd"])
    for name, times in spent.items():
        print(f"{name:20} {statistics.mean(times) * 1e6:7.0f} µs a decision, reading the lists included")


def show(trace: str, name: str, answers: list[dict[str, Any]], known: dict[tuple[str, str], float], asked: Any) -> None:
    """One row."""
    values = [answer["gpu_allocation_percent"] for answer in answers]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    text = f"{trace:11} {name:20} {statistics.mean(values):7.3f} ±{spread:.3f}"
    if (trace, NAMES.get(name, "")) in known and not asked.cost:
        text += f"  published {known[trace, NAMES[name]]:.3f}"
    if any(answer["moves"] for answer in answers):
        moved = sum(answer["moves"] for answer in answers) / sum(answer["placed"] for answer in answers)
        text += f"  moved {moved * 100:.2f} per hundred placed"
    if asked.curve:
        points = answers[0]["gpu_allocation_percent_at"]
        text += "  " + "  ".join(
            f"{at}: {statistics.mean(answer['gpu_allocation_percent_at'][at] for answer in answers):.2f}"
            for at in points
        )
    if asked.cost:
        points = _points(answers)
        text += "  " + "  ".join(
            f"{at}: " + "/".join(f"{_mean(answers, at, reading):.3f}" for reading in ("held", "in_use"))
            for at in points
        )
    print(text, flush=True)


def beside(answers: list[dict[str, Any]], fgd: list[dict[str, Any]]) -> None:
    """How much less that is than FGD's, at each point."""
    points = _points([*answers, *fgd])
    parts = {
        reading: "  ".join(f"{at}: {_mean(answers, at, reading) / _mean(fgd, at, reading) - 1:+.1%}" for at in points)
        for reading in ("held", "in_use")
    }
    for reading, text in parts.items():
        print(f"            beside fgd, {reading:8} {text}", flush=True)


def _points(answers: list[dict[str, Any]]) -> list[str]:
    """The points of the demand that every run came to: whether the last copies reach 130 % is a matter of the seed."""
    return [
        at
        for at in answers[0]["cost_per_allocated_gpu_hour"]
        if all(at in answer["cost_per_allocated_gpu_hour"] for answer in answers)
    ]


def _mean(answers: list[dict[str, Any]], at: str, reading: str) -> float:
    return statistics.mean(float(answer["cost_per_allocated_gpu_hour"][at][reading]) for answer in answers)


if __name__ == "__main__":
    main()
