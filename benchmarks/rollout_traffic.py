"""A slow version in a plain Deployment: how soon nobody asks it, how soon Git says so, and what fails meanwhile.

    python benchmarks/rollout_traffic.py [VERSIONS]

It starts a control plane and a Prometheus (`make parts`) and `customhouse up`. Requests are real, over HTTP, to the
stand-ins of `tests/integration/rollout_traffic.py`, through a proxy that follows HTTPRoutes and EndpointSlices. Each
version answers 80 ms late from its first answer on. `seen`: from then to the decision; `safe`: from the decision to the
last request that such a version got; `revert`: from the decision to the commit in the remote.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "integration"))

from kserve_way_back import part
from kubernetes_floor import control_plane
from rollout_shop import BLUE_GREEN, CANARY, Shop, open_shop
from rollout_traffic import Traffic

from customhouse.core.release import RolloutPhase
from kubernetes_plane import ControlPlane

PATIENCE_S = 600
WAYS = (("HTTPRoute", CANARY, True), ("replicas", CANARY, False), ("blue-green", BLUE_GREEN, False))


def walk(world: Shop, traffic: Traffic, annotations: dict[str, str], version: int) -> tuple[float, float, float]:
    """Seconds: from the first slow answer to the decision, and from there to the last one, and to the revert."""
    traffic.slow = {version}
    bad = world.deploy(version, annotations)
    world.until(lambda: traffic.answered[version], PATIENCE_S)
    first = time.time()
    world.until(lambda: world.head != bad, PATIENCE_S)
    reverted = time.time()
    world.until(lambda: world.overview().get("deployed") == world.head and world.settled(1), PATIENCE_S)
    gone = [item for item in world.releases() if item.revision == bad and item.phase is RolloutPhase.ROLLED_BACK]
    decided = gone[0].at.timestamp()
    return decided - first, max(0.0, traffic.last[version] - decided), reverted - decided


def measure(plane: ControlPlane, folder: Path, way: tuple[str, dict[str, str], bool], versions: int) -> None:
    """Print a line a version, and one of all requests."""
    name, annotations, routed = way
    with open_shop(plane, part("prometheus"), folder, routed=routed) as (world, traffic):
        world.deploy(1, annotations)
        world.start()
        world.until(lambda: world.settled(1), PATIENCE_S)
        traffic.begin()
        for version in range(2, versions + 2):
            seen, safe, revert = walk(world, traffic, annotations, version)
            print(f"{name:<11} seen {seen:5.2f} s   safe {safe:5.2f} s   revert {revert:5.2f} s", flush=True)
        slow = sum(count for version, count in traffic.answered.items() if version > 1)
        asked = sum(traffic.answered.values())
        print(f"{name:<11} requests {asked}, to slow versions {slow}, failed {len(traffic.failed)}", flush=True)
        world.end()


def main() -> None:
    """See the module."""
    versions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as root, control_plane() as plane:
        for way in WAYS:
            place = Path(root) / way[0]
            place.mkdir()
            measure(plane, place, way, versions)


if __name__ == "__main__":
    main()
