"""A worse version on KServe: how soon nobody is served by it any more, and how soon Git says so.

    python benchmarks/kserve_way_back.py [VERSIONS]

It starts a control plane, KServe's controller and a Prometheus (`make parts`) and `customhouse up`; Knative is played,
as in the tests. Each version fails a quarter of its answers from its first one on. Times are from the first of these.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "integration"))

from control_repository import git
from kubernetes_floor import control_plane
from test_kserve_kubernetes import Shop, Traffic

from conftest import locate_part
from kserve_controller import LABEL, Knative, kserve_on
from kubernetes_plane import ControlPlane
from prometheus_server import prometheus_of

PATIENCE_S = 600


def part(name: str) -> Path:
    """A program that `make parts` builds."""
    found = locate_part(name)
    if found is None:
        raise SystemExit(f"{name} is missing: run `make parts`")
    return found


def walk(world: Shop, knative: Knative, traffic: Traffic, model: str) -> tuple[float, float]:
    """Seconds until nobody is served by a bad model, and until the revert is in Git; from its first answers on."""
    traffic.bad.add(model)
    bad = world.push({"score.yaml": world.declared(model)}, f"Serve {model}")
    world.until(lambda: knative.shares[-1].get(model), PATIENCE_S)
    began = time.monotonic()
    safe = reverted = 0.0
    while not safe or not reverted:
        now = time.monotonic() - began
        safe = safe or (now if not knative.shares[-1].get(model) else 0.0)
        reverted = reverted or (now if git(world.remote, "rev-parse", "main") != bad else 0.0)
        if now > PATIENCE_S:
            raise SystemExit(f"{model} did not go back: {world.said()[-500:]}")
        time.sleep(0.02)
    world.until(lambda: world.promoted(world.head), PATIENCE_S)
    had = [split.get(model, 0) for split in knative.shares]
    last = max(index for index, share in enumerate(had) if share)
    if 0 in had[had.index(20) : last]:
        raise SystemExit(f"{model} had traffic again: {knative.shares}")
    return safe, reverted


def measure(plane: ControlPlane, folder: Path, versions: int) -> None:
    """Print a line a version."""
    namespace = plane.namespace("kserve", {LABEL: "yes"})
    knative = Knative(plane, namespace)
    traffic = Traffic(knative, namespace)
    (folder / "prometheus").mkdir()
    with prometheus_of(part("prometheus"), folder / "prometheus", traffic.text) as address:
        world = Shop(folder, plane, address, namespace)
        try:
            first = world.push({"score.yaml": world.declared("v1")}, "Serve v1")
            world.start()
            world.until(lambda: world.promoted(first), PATIENCE_S)
            for number in range(2, versions + 2):
                safe, reverted = walk(world, knative, traffic, f"v{number}")
                print(
                    f"v{number}: nobody is served by it after {safe:.2f} s, its revert is in Git after {reverted:.2f} s"
                )
        finally:
            world.close()
            knative.close()


def main() -> None:
    """Measure as many bad versions as are asked for."""
    versions = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    with tempfile.TemporaryDirectory() as name, control_plane() as plane:
        folder = Path(name)
        (folder / "kserve").mkdir()
        (folder / "shop").mkdir()
        with kserve_on(plane, part("kserve-manager"), folder / "kserve"):
            measure(plane, folder / "shop", versions)


if __name__ == "__main__":
    main()
