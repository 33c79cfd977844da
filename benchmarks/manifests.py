"""5,000 manifests (40 MB): reading them, and judging them, beside conftest on the same files in the same run.

`python benchmarks/manifests.py SOURCE [FILES]`: SOURCE is the folder `manifests` of the given data, `conftest` is
taken from PATH. conftest judges three rules (tag latest, no limits, privileged); `customhouse gate` its whole bundle,
which has these among its rules, with prices. CPU seconds are those of a program and its children, memory is the
largest process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from manifest_corpus import write

RULES = """\
package main
import rego.v1
pods contains input.spec.template.spec
pods contains input.spec if input.kind == "Pod"
containers contains container if some container in pods[_].containers
deny contains sprintf("%s: the tag latest", [c.name]) if { some c in containers; endswith(c.image, ":latest") }
deny contains sprintf("%s: no limits", [c.name]) if { some c in containers; not c.resources.limits }
deny contains sprintf("%s: privileged", [c.name]) if { some c in containers; c.securityContext.privileged == true }
"""
READ = """\
import sys
from pathlib import Path
from customhouse.control import render, yaml_quick
if sys.argv[2] == "whole":
    render.quick_documents = lambda text, limits: None
for path in sorted(Path(sys.argv[1]).rglob("*.yaml")):
    render.read_file(path.name, path.read_bytes(), render.LIMITS, path.read_bytes)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What one program took."""

    name: str
    cpu_s: float
    wall_s: float
    mebibytes: float
    status: int


def measured(name: str, command: Sequence[str], folder: Path) -> Run:
    """Run a program to its end."""
    started = time.perf_counter()
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=folder)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        raise SystemExit(f"{name} ended with {code}: {(folder / 'err').read_text()[-500:]}")
    return Run(name, used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024, code)


def main(arguments: Sequence[str]) -> None:
    """Make the files, run all, print a table."""
    conftest = shutil.which("conftest")
    if conftest is None:
        raise SystemExit("conftest is not on PATH")
    python, program = sys.executable, str(Path(sys.executable).with_name("customhouse"))
    with tempfile.TemporaryDirectory(prefix="customhouse-bench-") as name:
        folder = Path(name)
        size = write(Path(arguments[0]), folder / "files", *map(int, arguments[1:2]))
        (folder / "rules.rego").write_text(RULES)
        (folder / "read.py").write_text(READ)
        runs = [
            measured("conftest, three rules", [conftest, "test", "files", "-p", "rules.rego", "-o", "json"], folder),
            measured("read, quick", [python, "read.py", "files", "quick"], folder),
            measured("read, whole reader", [python, "read.py", "files", "whole"], folder),
            measured("customhouse gate, whole bundle", [program, "gate", "files", "-o", "json", "--quiet"], folder),
        ]
    print(f"{size} bytes; load {os.getloadavg()[0]:.1f}")
    print(f"{'':<32}{'CPU s':>8}{'ratio':>7}{'wall s':>8}{'ratio':>7}{'MiB':>7}{'ratio':>7}")
    peer = runs[0]
    for run in runs:
        cpu, wall, memory = run.cpu_s / peer.cpu_s, run.wall_s / peer.wall_s, run.mebibytes / peer.mebibytes
        print(
            f"{run.name:<32}{run.cpu_s:>8.2f}{cpu:>7.2f}{run.wall_s:>8.2f}{wall:>7.2f}"
            f"{run.mebibytes:>7.0f}{memory:>7.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
