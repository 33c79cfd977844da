"""Import of advisories and matching of packages: seconds, megabytes, and ratios beside a script and osv-scanner.

    python benchmarks/vulnerabilities.py                        # the given PyPI and Go sets
    python benchmarks/vulnerabilities.py --osv-scanner PROGRAM  # and Google's scanner, offline, on the same records

The promises: the given PyPI set is imported in 5 s, and 500 packages, drawn at random from those that something is
wrong with, are matched against everything in 0.1 s of CPU once it is loaded. The script beside it does what one writes
in an afternoon: all records in a list, each package against each, versions compared by `packaging`. The exit status is
1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
GIVEN = Path(os.environ.get("CUSTOMHOUSE_SHARED_DATA", HERE.parent / "shared" / "data")) / "advisories"
ROUNDS = 9
IMPORT_S, MATCH_S = 5.0, 0.1


def median(call: Callable[[], object], rounds: int = ROUNDS, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median seconds, of the wall or of another clock; the first round does not count."""
    call()
    taken = []
    for _ in range(rounds):
        start = clock()
        call()
        taken.append(clock() - start)
    return statistics.median(taken)


def once(call: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    done = call()
    return time.perf_counter() - start, done


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def records(name: str) -> list[dict[str, Any]]:
    with gzip.open(GIVEN / f"{name}.jsonl.gz") as lines:
        return [json.loads(line) for line in lines]


def chosen(known: Any, count: int, *, worst: bool) -> list[Any]:
    """Packages of the store itself, each at a version that something is wrong with: nobody has it harder."""
    from customhouse.core.vulnerability import Package

    chance = random.Random(1)
    names = sorted(known, key=lambda key: (-len(known[key]), key))
    if not worst:
        chance.shuffle(names)
    found = []
    for key in names[:count]:
        affected = known[key][0].affected[0]
        events = [text for one in affected.ranges for _, text in one.events if one.type != "GIT" and text != "0"]
        version = chance.choice(list(affected.versions) or events or ["0.0.1"])
        found.append(Package(affected.name, version, affected.ecosystem))
    return found


def naive(packages: list[Any], given: list[dict[str, Any]]) -> int:
    """What a script does; Go's versions as PEP 440 reads them, and those that it cannot read are passed over."""
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    hits = 0
    for package in packages:
        for record in given:
            if "withdrawn" in record:
                continue
            for item in record["affected"]:
                name = item["package"]["name"]
                if item["package"]["ecosystem"] != package.ecosystem:
                    continue
                if name != package.name and canonicalize_name(name) != canonicalize_name(package.name):
                    continue
                if package.version in item.get("versions", ()):
                    hits += 1
                    continue
                try:
                    own, inside = Version(package.version), False
                    for one in item.get("ranges", ()):
                        for event in one["events"] if one["type"] != "GIT" else ():
                            kind, text = next(iter(event.items()))
                            above = text == "0" or own >= Version(text)
                            inside = (kind == "introduced" and above) or (inside and not (kind == "fixed" and above))
                        hits += inside
                except InvalidVersion:
                    continue
    return hits


def osv_scanner(program: str, packages: list[Any], given: list[dict[str, Any]], folder: Path) -> dict[str, str]:
    """Google's osv-scanner, a whole process offline, on the same records and the same packages in a bill."""
    for ecosystem in ("PyPI", "Go"):
        place = folder / "osv-scanner" / ecosystem
        place.mkdir(parents=True)
        with zipfile.ZipFile(place / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for record in given:
                if any(item["package"]["ecosystem"] == ecosystem for item in record["affected"]):
                    archive.writestr(f"{record['id']}.json", json.dumps(record))
    kinds = {"PyPI": "pypi", "Go": "golang"}
    components = [
        {"type": "library", "name": one.name, "version": one.version,
         "purl": f"pkg:{kinds[one.ecosystem]}/{one.name}@{one.version}"}
        for one in packages
    ]  # fmt: skip
    bill = folder / "bench.cdx.json"
    document = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}
    bill.write_text(json.dumps(document))
    asked = [
        program,
        "--experimental-offline",
        "--experimental-local-db-path",
        str(folder),
        "--format",
        "json",
        f"--sbom={bill}",
    ]
    seconds, done = once(lambda: subprocess.run(asked, capture_output=True, check=False))
    said = json.loads(done.stdout or b"{}")  # type: ignore[attr-defined]
    theirs = {
        (row["package"]["name"], one["id"])
        for result in said.get("results", ())
        for row in result["packages"]
        for one in row["vulnerabilities"]
    }
    ours_s, mine = once(
        lambda: subprocess.run(
            [sys.executable, "-c", "import sys; from customhouse.cli import main; sys.exit(main())", "vuln", "scan",
             str(bill), "--db", str(folder / "a.sqlite"), "-o", "json"],
            capture_output=True, check=False,
        )
    )  # fmt: skip
    report = json.loads(mine.stdout)  # type: ignore[attr-defined]
    ours = {(row["package"]["name"], row["id"]) for row in report["findings"]}
    names = {(row["package"]["name"], other) for row in report["findings"] for other in (row["id"], *row["aliases"])}
    alone = [row for row in report["findings"] if (row["package"]["name"], row["id"]) not in theirs]
    capitals = [row for row in alone if row["package"]["name"] != row["package"]["name"].lower()]
    ranged = [row for row in alone if row not in capitals and row["why"].startswith("introduced")]
    return {
        "whole process": f"{ours_s:.2f} s beside {seconds:.2f} s",
        "findings": f"{len(ours)} beside {len(theirs)}",
        "only theirs": f"{len(theirs - names)}",
        "only ours, names with capitals": f"{len(capitals)}",
        "only ours, in a range and not in the list beside it": f"{len(ranged)}",
        "only ours, otherwise": f"{len(alone) - len(capitals) - len(ranged)}",
    }


def main() -> int:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--osv-scanner", metavar="PROGRAM")
    program = options.parse_args().osv_scanner
    from customhouse.app.advisory_import import import_advisories
    from customhouse.app.settings import Settings
    from customhouse.store.advisories import open_advisories
    from customhouse.trust.vulnerabilities.matching import keys, match

    kept = True
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="customhouse-bench-") as name:
        folder = Path(name)
        settings, db = Settings(folder / "state"), str(folder / "a.sqlite")
        for source in ("pypi", "go"):
            path = GIVEN / f"{source}.jsonl.gz"
            seconds, rows = once(lambda path=path: import_advisories(settings, [str(path)], db=db))
            again, _ = once(lambda path=path: import_advisories(settings, [str(path)], db=db))
            count = rows[0]["records"]  # type: ignore[index]
            kept &= source != "pypi" or seconds <= IMPORT_S
            print(f"import {source}: {count} records in {seconds:.2f} s; once more {again:.2f} s")
        print(f"file {(folder / 'a.sqlite').stat().st_size / 1e6:.1f} MB; most memory so far {memory():.0f} MB")
        with open_advisories(Path(db)) as store:
            seconds, known = once(store.everything)
            print(f"load everything: {seconds:.2f} s, {memory():.0f} MB")
            given = [*records("pypi"), *records("go")]
            for label, worst in (("at random", False), ("with the most advisories", True)):
                packages = chosen(known, 500, worst=worst)
                asked = keys(packages)
                fresh = once(lambda packages=packages: match(packages, known, now))
                ours = median(lambda packages=packages: match(packages, known, now), clock=time.process_time)
                found = median(lambda asked=asked: store.find(asked), 3)
                kept &= worst or ours <= MATCH_S
                print(f"500 packages {label}: {len(fresh[1].findings)} findings")  # type: ignore[attr-defined]
                print(f"  matched in {ours * 1000:.1f} ms of CPU (the first time {fresh[0] * 1000:.1f} ms of the wall)")
                print(f"  or without loading all: {found * 1000:.1f} ms to look them up")
                if not worst:
                    begun = time.process_time()
                    hits = naive(packages, given)
                    script = time.process_time() - begun
                    print(f"  a script: {script:.2f} s of CPU, {hits} hits; ratio {ours / script:.4f}")
            if program:
                packages = chosen(known, 500, worst=False)
                for key, value in osv_scanner(program, packages, given, folder).items():
                    print(f"osv-scanner: {key}: {value}")
        lock = HERE / "uv.lock"
        command = [sys.executable, "-c", "import sys; from customhouse.cli import main; sys.exit(main())"]
        whole = median(
            lambda: subprocess.run(
                [*command, "vuln", "scan", str(lock), "--db", db, "-o", "json"], capture_output=True, check=False
            ),
            5,
        )
        bare = median(lambda: subprocess.run([*command, "--version"], capture_output=True, check=False), 5)
        print(f"vuln scan uv.lock, a whole process: {whole:.2f} s (`customhouse --version` {bare:.2f} s)")
    print("promises kept" if kept else "a promise is broken")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
