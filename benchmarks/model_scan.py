"""The model scanner beside picklescan, fickling, modelscan and modelaudit, on the same files in the same run.

    python benchmarks/model_scan.py --hostile FOLDER --benign FOLDER --peer picklescan=PYTHON --peer modelaudit=PYTHON

Each scanner runs in an environment of its own, given by its Python; one that is not given is left out and said so.
`--hostile` and `--benign` may be repeated; what a folder is called is what its rows are called. Every file of a hostile
folder is hostile, of a benign one harmless.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RUNNER = Path(__file__).with_name("model_scan_runner.py")
PEERS = ("picklescan", "fickling", "modelscan", "modelaudit")
PLAIN = (".json", ".txt", ".md", ".csv")
"""Beside the models of a folder; their own file kinds are not what peers are for."""


def main() -> None:
    """Print a table a folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hostile", type=Path, action="append", default=[])
    parser.add_argument("--benign", type=Path, action="append", default=[])
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--every", type=int, default=1, help="take every n-th file of benign folders")
    options = parser.parse_args()
    pythons = {"customhouse": sys.executable, **dict(item.split("=", 1) for item in options.peer)}
    for name in PEERS:
        if name not in pythons:
            print(f"{name}: no environment given (--peer {name}=PYTHON), left out")
    for hostile, folders in ((True, options.hostile), (False, options.benign)):
        for folder in folders:
            files = sorted(str(p) for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
            files = [name for name in files if hostile or not name.endswith(PLAIN)]
            show(folder, files if hostile else files[:: options.every], hostile=hostile, pythons=pythons)


def show(folder: Path, files: list[str], *, hostile: bool, pythons: dict[str, str]) -> None:
    """One table: what each scanner made of the files."""
    what = "flagged | called clean" if hostile else "false alarms | clean"
    print(f"\n{folder.name}: {len(files)} {'hostile' if hostile else 'harmless'} files\n")
    print(f"| scanner | {what} | unscannable | median ms | p99 ms | max ms | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        listed, out = Path(place) / "files.json", Path(place) / "out.json"
        listed.write_text(json.dumps(files))
        for name, python in pythons.items():
            command = [python, str(RUNNER), name, str(listed), str(out)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"| {name} | {(done.stderr or 'ended').strip().splitlines()[-1][:90]} | | | | | | |")
                continue
            found = json.loads(out.read_text())
            verdicts = [row[0] for row in found["rows"]]
            times = sorted(row[1] for row in found["rows"])
            counts = [verdicts.count(verdict) for verdict in ("flagged", "clean", "unscannable")]
            shares = " | ".join(f"{count} ({count / len(files):.1%})" for count in counts)
            p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
            middle = statistics.median(times)
            print(
                f"| {name} | {shares} | {middle:.2f} | {p99:.1f} | {times[-1]:.0f} | {found['peak'] // 1024} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
