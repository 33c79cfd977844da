"""How fast the gate starts: one file, as a pre-commit hook asks it, beside conftest on the same file.

    python benchmarks/gate_start.py            # conftest from PATH, or where `make parts` put it

Both judge the same Deployment from a cold process; conftest with four rules of its own that fire on it, the gate with
its whole bundle and prices. Wall and CPU seconds are medians of runs that take turns; the exit status is 1 when the
wall time is over 0.6 s, or the machine was too busy to tell.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROUNDS = 15
BOUND_S = 0.6
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: nginx:1.25
          resources:
            requests: {cpu: 500m, memory: 512Mi}
"""
RULES = """\
package main

deny contains sprintf("%s may run as root", [container.name]) if {
	some container in input.spec.template.spec.containers
	not container.securityContext.runAsNonRoot
}

deny contains sprintf("%s is not pinned", [container.image]) if {
	some container in input.spec.template.spec.containers
	not contains(container.image, "@sha256:")
}

deny contains sprintf("%s has no limits", [container.name]) if {
	some container in input.spec.template.spec.containers
	not container.resources.limits
}

deny contains "labels are missing" if not input.metadata.labels
"""


def run(arguments: Sequence[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one whole process; it must deny (exit status 1)."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 1:
        sys.exit(f"{arguments[0]} ended with {done.returncode}, not with a denial")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def find(name: str) -> str | None:
    """A program on PATH or among the parts."""
    place = Path("~/.cache/customhouse/parts/bin").expanduser() / name
    return shutil.which(name) or (str(place) if place.exists() else None)


def main() -> int:
    """Print a line a program, then the ratio."""
    peer = find("conftest")
    with tempfile.TemporaryDirectory(prefix="customhouse-bench-") as name:
        folder = Path(name)
        (folder / "web.yaml").write_text(MANIFEST)
        (folder / "policy").mkdir()
        (folder / "policy" / "main.rego").write_text(RULES)
        program = str(Path(sys.executable).with_name("customhouse"))
        commands = {"customhouse gate": [program, "gate", "web.yaml", "--engine", "embedded"]}
        if peer is not None:
            commands["conftest test"] = [peer, "test", "web.yaml", "--policy", "policy"]
        for arguments in commands.values():
            run(arguments, folder)
        measured: dict[str, list[tuple[float, float]]] = {label: [] for label in commands}
        for _ in range(ROUNDS):
            for label, arguments in commands.items():
                measured[label].append(run(arguments, folder))
    walls = {label: statistics.median(wall for wall, _ in runs) for label, runs in measured.items()}
    for label, runs in measured.items():
        cpu, best = statistics.median(cpu for _, cpu in runs), min(wall for wall, _ in runs)
        print(f"{label:18} wall {walls[label]:.3f} s (best {best:.3f}), CPU {cpu:.3f} s")
    if peer is None:
        print("conftest is not there: `make parts` installs it")
    else:
        print(f"ratio of the wall times {walls['customhouse gate'] / walls['conftest test']:.2f}")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; bound {BOUND_S} s")
    return int(walls["customhouse gate"] > BOUND_S)


if __name__ == "__main__":
    sys.exit(main())
