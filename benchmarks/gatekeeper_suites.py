"""The given half of Gatekeeper's library: `customhouse policy verify` beside `gator verify`, in turns.

    python benchmarks/gatekeeper_suites.py [ROUNDS]

Whole processes, wall seconds and CPU seconds (user + system of the process and its children); the ratio is of the
medians. Python's modules are compiled before, as an installer compiles them. Both have to pass every case, or there is
no figure. `gator` is taken from PATH or from the parts (`make parts`), the library from the given data
(CUSTOMHOUSE_SHARED_DATA).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CUSTOMHOUSE_SHARED_DATA") or ROOT.parent / "shared" / "data")
LIBRARY = DATA / "policies" / "gatekeeper-library" / "general"
PARTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "customhouse" / "parts" / "bin"


def measured(arguments: list[str], compiled: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command that has to succeed. `compiled` is the folder of Python's bytecode."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**kept, "PYTHONPYCACHEPREFIX": compiled}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(arguments, cwd=LIBRARY, env=environment, check=True, capture_output=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: list[str]) -> int:
    """Print one JSON document; status 1 when the bound of a quarter of the CPU time is passed."""
    rounds = int(arguments[0]) if arguments else 9
    gator = shutil.which("gator", path=f"{PARTS}{os.pathsep}{os.environ.get('PATH', '')}")
    if gator is None or not LIBRARY.is_dir():
        sys.stderr.write("gator or the given library is not here: see `make parts` and CUSTOMHOUSE_SHARED_DATA\n")
        return 2
    ours = Path(sys.executable).with_name("customhouse")
    own = [str(ours), "policy", "verify", ".", "--engine", "embedded", "--quiet"]
    peer = [gator, "verify", "./..."]
    with tempfile.TemporaryDirectory() as compiled:
        measured(own, compiled), measured(peer, compiled)
        pairs = [(measured(own, compiled), measured(peer, compiled)) for _ in range(rounds)]
    told = {}
    for index, name in enumerate(("wall", "cpu")):
        ours, theirs = (statistics.median(pair[side][index] for pair in pairs) for side in (0, 1))
        told[name] = {"ours_s": round(ours, 3), "gator_s": round(theirs, 3), "ratio": round(ours / theirs, 3)}
    sys.stdout.write(json.dumps({"rounds": rounds, "bound": 0.25, **told}, indent=2) + "\n")
    return 0 if told["cpu"]["ratio"] <= 0.25 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
