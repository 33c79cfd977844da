"""The published experiment on the given trace: our rebuilt policies beside the published means, and ours beside them.

One seed of ten, so that it is quick; `benchmarks/placement.py` runs all.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from customhouse.app.scheduling import Experiment, simulated


@pytest.fixture(scope="module")
def published(shared_data: Path) -> dict[tuple[str, str], tuple[float, float]]:
    with (shared_data / "placement" / "published.csv").open() as stream:
        return {
            (row["trace"], row["policy"]): (
                float(row["gpu_allocation_percent_at_130_demand"]),
                float(row["stdev_over_seeds"]),
            )
            for row in csv.DictReader(stream)
        }


def allocated(shared_data: Path, trace: str, policy: str, seed: int, window: int = 0) -> float:
    folder = shared_data / "placement"
    nodes, pods = folder / "openb_node_list_gpu_node.csv", folder / f"openb_pod_list_{trace}.csv"
    answer, _ = simulated(Experiment(str(nodes), str(pods), policy, seed, window=window))
    return float(answer["gpu_allocation_percent"])


@pytest.mark.parametrize(
    ("trace", "policy", "name"),
    [
        ("default", "best-fit", "BestFit"),
        ("default", "fgd", "FGD"),
        ("gpuspec25", "fgd", "FGD"),
    ],
)
def test_the_published_policies_come_to_the_published_parts(
    shared_data: Path, published: dict[tuple[str, str], tuple[float, float]], trace: str, policy: str, name: str
) -> None:
    mean, deviation = published[trace, name]
    assert allocated(shared_data, trace, policy, 42) == pytest.approx(mean, abs=max(0.25, 4 * deviation))


def test_ours_leaves_less_unused_than_the_best_published_policy(
    shared_data: Path, published: dict[tuple[str, str], tuple[float, float]]
) -> None:
    # FGD of the same seed comes to 95.32 here, see above; the mean of ten published seeds is 95.39.
    assert allocated(shared_data, "default", "customhouse", 42) > published["default", "FGD"][0] + 0.2


def test_looking_ahead_reaches_96_percent(shared_data: Path) -> None:
    assert allocated(shared_data, "default", "customhouse", 43, window=150) >= 96.0


def test_with_prices_the_nodes_in_use_cost_a_tenth_less_by_the_gpus_that_pods_hold(shared_data: Path) -> None:
    # Over the whole published run, in nearly half of whose GPU-hours every GPU is taken, and at more allocation.
    folder = shared_data / "placement"
    prices = Path(__file__).parents[2] / "benchmarks" / "placement_prices.csv"
    nodes, pods = folder / "openb_node_list_gpu_node.csv", folder / "openb_pod_list_default.csv"
    fgd, ours = (
        simulated(Experiment(str(nodes), str(pods), policy, 42, prices=str(prices), spot_percent=25))[0]
        for policy in ("fgd", "customhouse")
    )
    mean = [float(answer["cost_per_allocated_gpu_hour"]["mean"]["in_use"]) for answer in (fgd, ours)]
    assert mean[1] <= 0.9 * mean[0]
    assert ours["gpu_allocation_percent"] >= fgd["gpu_allocation_percent"]
