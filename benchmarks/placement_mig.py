"""MIG parts on a made-up cluster: 100 nodes of eight H100 that are cut as pods come, four mixes of profiles.

    python benchmarks/placement_mig.py [--seeds 42-51]

Pods arrive until 130 % of the GPUs are asked for (in memory slices), as in the published experiment; nobody leaves.
Printed is what is allocated: `random` and `best-fit` take the lowest start on a card, as the driver does, `customhouse`
the one after which most is left of use. Mixes: how often 1g.10gb, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb and 7g.80gb come.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from pathlib import Path

from customhouse.app.scheduling import Experiment, simulated

PROFILES = ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")
MIXES = {
    "even": (1, 1, 1, 1, 1, 1),
    "small": (30, 20, 20, 15, 10, 5),
    "large": (5, 10, 10, 20, 25, 30),
    "both": (30, 15, 5, 5, 15, 30),
}
POLICIES = ("random", "best-fit", "customhouse")
PODS = 1500


def lists(folder: Path) -> None:
    """Write the nodes, and the pods of each mix."""
    nodes = "".join(f"n{i:03},192000,2000000,8,H100,dynamic\n" for i in range(100))
    (folder / "nodes.csv").write_text(f"sn,cpu_milli,memory_mib,gpu,model,mig\n{nodes}")
    for mix, weights in MIXES.items():
        drawn = random.Random(7)
        rows = (
            f"p{i:05},{drawn.choice((1000, 2000, 4000))},8192,1,0,{drawn.choices(PROFILES, weights)[0]}\n"
            for i in range(PODS)
        )
        (folder / f"{mix}.csv").write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli,mig\n" + "".join(rows))


def main() -> None:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="42-51")
    first, _, last = parser.parse_args().seeds.partition("-")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lists(folder)
        for mix in MIXES:
            for policy in POLICIES:
                found = [
                    simulated(Experiment(str(folder / "nodes.csv"), str(folder / f"{mix}.csv"), policy, seed))[0]
                    for seed in range(int(first), int(last or first) + 1)
                ]
                points = {
                    at: statistics.mean(one["gpu_allocation_percent_at"][at] for one in found)
                    for at in ("0.75", "1", "1.3")
                }
                print(
                    f"{mix:6} {policy:12} " + "  ".join(f"{at}: {part:.2f}" for at, part in points.items()), flush=True
                )


if __name__ == "__main__":
    main()
