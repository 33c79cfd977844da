"""5,000 manifests (40 MB): reading them, and judging them, beside conftest on the same files in the same run.

`python benchmarks/manifests.py SOURCE [FILES [ROUNDS]]`: SOURCE is the folder `manifests` of the given data, `conftest`
is taken from PATH. Rules that fire (tag latest, no limits, privileged) are judged by conftest and, from the very same
file, by `customhouse policy verify --conftest`; both must say the same of the same files. `customhouse gate` judges its
whole bundle, which has these among its rules, with prices and budgets. The programs take turns; ratios are medians over
the rounds. CPU seconds are those of a program and its children; memory is the most that it and its children held at a
time (proportional set size, looked at twenty times a second).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
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
    """Run a program to its end; what it says is in `out`."""
    started, most = time.perf_counter(), 0
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=folder)
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            most = max(most, sum(map(_held, _family(process.pid))))
            time.sleep(0.05)
    wall = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        raise SystemExit(f"{name} ended with {code}: {(folder / 'err').read_text()[-500:]}")
    return Run(name, used.ru_utime + used.ru_stime, wall, most / 1024, code)


def _family(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [member for child in children.read_text().split() for member in _family(int(child))]
        except OSError:
            continue
    return found


def _held(pid: int) -> int:
    """KiB of a process, what it shares counted in parts; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def said_by_conftest(folder: Path) -> dict[str, list[str]]:
    """File → messages."""
    rows = json.loads((folder / "out").read_text())
    found = ((row["filename"], sorted(item["msg"] for item in row.get("failures", []))) for row in rows)
    return {file: messages for file, messages in found if messages}


def said_by_us(folder: Path) -> dict[str, list[str]]:
    """File → messages, of one object a file."""
    found: dict[str, list[str]] = {}
    for row in json.loads((folder / "out").read_text())["failed"]:
        found.setdefault(row["file"].rpartition(":")[0], []).append(row["message"])
    return {file: sorted(messages) for file, messages in found.items()}


def main(arguments: Sequence[str]) -> None:
    """Make the files, run all, print a table."""
    conftest = shutil.which("conftest")
    if conftest is None:
        raise SystemExit("conftest is not on PATH")
    python, program = sys.executable, str(Path(sys.executable).with_name("customhouse"))
    with tempfile.TemporaryDirectory(prefix="customhouse-bench-") as name:
        folder = Path(name)
        size = write(Path(arguments[0]), folder / "files", *map(int, arguments[1:2]))
        (folder / "rules").mkdir()
        (folder / "rules" / "rules.rego").write_text(RULES)
        (folder / "read.py").write_text(READ)
        verify = [program, "policy", "verify", "--conftest", "rules", "files", "-o", "json", "--quiet"]
        commands = {
            "conftest, three rules": [conftest, "test", "files", "-p", "rules", "-o", "json"],
            "policy verify, the same rules": [*verify, "--engine", "embedded"],
            "gate, whole bundle, prices": [program, "gate", "files", "-o", "json", "--quiet", "--engine", "embedded"],
            "read alone, quick": [python, "read.py", "files", "quick"],
            "read alone, whole reader": [python, "read.py", "files", "whole"],
        }
        rounds = []
        for _ in range(int(arguments[2]) if len(arguments) > 2 else 3):
            runs: dict[str, Run] = {}
            said: list[dict[str, list[str]]] = []
            for title, command in commands.items():
                runs[title] = measured(title, command, folder)
                if len(said) < 2:
                    said.append((said_by_us if said else said_by_conftest)(folder))
            if not said[0] or said[0] != said[1]:
                raise SystemExit("conftest and policy verify do not say the same")
            rounds.append(runs)
        findings = sum(map(len, said[0].values()))
    print(
        f"{size} bytes; {findings} findings in {len(said[0])} files, the same from both; load {os.getloadavg()[0]:.1f}"
    )
    show(rounds)


def show(rounds: Sequence[Mapping[str, Run]]) -> None:
    """Medians over the rounds, and of the ratios to the first program of each round."""
    print(f"{'':<32}{'CPU s':>8}{'ratio':>7}{'wall s':>8}{'ratio':>7}{'MiB':>7}{'ratio':>7}")
    peer = next(iter(rounds[0]))
    for title in rounds[0]:
        cells = []
        for field, digits in (("cpu_s", 2), ("wall_s", 2), ("mebibytes", 0)):
            taken = [getattr(runs[title], field) for runs in rounds]
            ratios = [getattr(runs[title], field) / getattr(runs[peer], field) for runs in rounds]
            width = 7 if digits == 0 else 8
            cells.append(f"{statistics.median(taken):>{width}.{digits}f}{statistics.median(ratios):>7.2f}")
        print(f"{title:<32}{''.join(cells)}")


if __name__ == "__main__":
    main(sys.argv[1:])
