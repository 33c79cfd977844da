"""Custody: a trace in a graph of 100,000 nodes, an export, its verification, and changed bytes of it.

    python benchmarks/custody.py                          # all of it, some two minutes
    python benchmarks/custody.py --flips 4000             # more changed bytes
    python benchmarks/custody.py --state DIR --trace REF  # export, verification and flips of your own state

Whole processes are timed (`customhouse trace`, `customhouse verify`), from their start to their end, as the median of
five, and their CPU seconds, which say more where others work on the same machine; the beside is a Python that starts
and imports sqlite3, json and click (what no command can do without).
Peak memory is that of the process. The state is built first: 200 releases in 160 hours, each hour with usage,
predictions and a charge, every release with a run, a model, five statements, a commit, a decision and three pods.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from customhouse.app import wiring
from customhouse.app.custody import governing
from customhouse.app.settings import Settings
from customhouse.core.ledger import Entry
from customhouse.trust.custody import Link, Node, entry
from customhouse.trust.custody_check import Trusted, verify_export
from customhouse.trust.custody_check_parts import check_parts
from customhouse.trust.note import NoteKey

AT = datetime(2026, 3, 1, tzinfo=UTC)
RELEASES, HOURS = 200, 160
PROGRAM = str(Path(sys.executable).parent / "customhouse")
BESIDE = [sys.executable, "-c", "import sqlite3, json, click"]


def digest(*parts: object) -> str:
    import hashlib

    return "sha256:" + hashlib.sha256(repr(parts).encode()).hexdigest()


def story() -> Iterator[Entry]:
    """The entries, as `app.journal` writes them."""
    for number in range(RELEASES):
        data = Node.of("dataset", digest("data", number // 10), f"transactions/{number // 10}")
        run = Node("training-run", f"team/train-{number}", aliases=(f"train-{number}",))
        model = Node.of("model", digest("model", number), f"pvc://models/m{number}")
        commit = Node("commit", digest("commit", number)[7:47])
        decision = Node.of("decision", digest("decision", number))
        running = Node("deployment", f"team/m{number}@{digest('r', number)[7:19]}", aliases=(f"team/m{number}",))
        links = [Link.between(data, run, "input-of"), Link.between(run, model, "produced")]
        yield entry("training-run", f"run-{number}", AT, "up", nodes=[data, run, model], links=links)
        said = [Node.of("evidence", digest("evidence", number, kind), f"{kind}/m{number}") for kind in range(5)]
        for item in said:
            links = [Link.between(model, item, "attested-by")]
            yield entry("evidence", item.id, AT, "up", nodes=[model, item], links=links)
        links = [Link.between(commit, decision, "judged-by"), Link.between(model, commit, "declared-in")]
        links += [Link(item.id, decision.id, "considered-in") for item in said]
        links += [Link(f"policy-bundle:{digest('bundle')}", decision.id, "judged-under")]
        yield entry("decision", f"decision-{number}", AT, "ada", nodes=[commit, decision, model], links=links)
        links = [Link.between(decision, running, "allowed"), Link.between(model, running, "served-as")]
        yield entry("deployment", f"deployment-{number}", AT, "up", nodes=[running], links=links)
    for hour in range(HOURS):
        at = AT + timedelta(hours=hour)
        for number in range(RELEASES):
            name = f"team/m{number}@{digest('r', number)[7:19]}"
            running = Node("deployment", name)
            money, used = Node("charge", f"{name}:{hour}", aliases=("0.0125 USD",)), Node("usage", f"{name}:{hour}")
            asked = Node("predictions", f"{name}:{hour}", aliases=("1234 predictions, 0 errors",))
            pods = [Node("pod", f"team/m{number}-{pod}") for pod in range(3)]
            links = [Link.between(running, pod, "ran-as") for pod in pods]
            links += [Link.between(pod, asked, "answered") for pod in pods]
            links += [Link.between(asked, used, "measured"), Link.between(used, money, "charged")]
            yield entry("usage", f"usage-{number}-{hour}", at, "up", nodes=[used, asked, *pods], links=links)
            links = [Link.between(running, money, "charged")]
            yield entry("charge", f"charge:{number}-{hour}", at, "up", nodes=[running, money], links=links)


def build(state: Path) -> int:
    settings = Settings(state=state, environment={})
    state.mkdir(parents=True)
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=True)
        batch: list[Entry] = []
        for item in story():
            batch.append(item)
            if len(batch) == 5000:
                ledger.append(batch)
                batch = []
        ledger.append(batch)
        return ledger.size


@dataclass(frozen=True, slots=True)
class Timed:
    """Medians of whole processes: wall and CPU seconds; the peak of memory in MiB, and what was printed."""

    wall: float
    cpu: float
    peak: int
    out: str

    def beside(self, other: Timed) -> str:
        return (
            f"{self.wall:.2f} s, {self.cpu:.2f} s of CPU ({self.cpu / other.cpu:.1f} x the beside's), {self.peak} MiB"
        )


def timed(arguments: list[str], rounds: int = 5) -> Timed:
    taken, worked, out = [], [], ""
    for _ in range(rounds):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(time.perf_counter() - start)
        worked.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        out = done.stdout
        if done.returncode not in (0, 3):
            raise SystemExit(f"{' '.join(arguments)}: {done.stderr}")
    watched = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
    watched += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    peak = subprocess.run([sys.executable, "-c", watched, *arguments], capture_output=True, text=True, check=True)
    return Timed(statistics.median(taken), statistics.median(worked), int(peak.stdout.split()[-1]) >> 10, out)


def flips(data: bytes, count: int) -> None:
    """Change single bytes; every one must be found, and a member named."""
    key = NoteKey.from_vkey(json.loads(data)["keys"][0])
    chance, missed, start = random.Random(6), 0, time.perf_counter()
    for number in range(count):
        changed = bytearray(data)
        changed[int((number + chance.random()) * len(data) / count)] ^= 1 << number % 8
        found = verify_export(
            bytes(changed), Trusted(keys=(key,)), lambda ground, findings: check_parts(ground, findings, governing)
        )
        missed += found.ok or not found.broken[0].name
    each = (time.perf_counter() - start) / count
    print(f"changed bytes      {count} of {len(data)}, {missed} not found, {1000 * each:.1f} ms each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--trace", default="team/m7")
    parser.add_argument("--repo")
    parser.add_argument("--flips", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="custody-") as folder:
        state = given.state or Path(folder) / "state"
        if given.state is None:
            start = time.perf_counter()
            size = build(state)
            nodes = RELEASES * (HOURS * 3 + 13) + RELEASES // 10 + 1
            print(f"state              {size} entries, {nodes} nodes, built in {time.perf_counter() - start:.1f} s")
            start = time.perf_counter()
            subprocess.run(
                [PROGRAM, "trace", given.trace, "--state", str(state), "-q"], check=True, capture_output=True
            )
            print(f"first trace        {time.perf_counter() - start:.2f} s, with the making of the index")
        beside = timed(BESIDE)
        references = [given.trace]
        if given.state is None:
            charge = f"charge:team/m7@{digest('r', 7)[7:19]}:12"
            references += ["pvc://models/m7", charge, digest("evidence", 7, 0)[7:19], "transactions/0"]
        for reference in references:
            found = timed([PROGRAM, "trace", reference, "-o", "json", "--state", str(state)])
            shown = json.loads(found.out)
            print(
                f"trace              {found.beside(beside)}: {reference[:40]},"
                f" {len(shown['nodes'])} nodes, {len(shown['edges'])} links, {len(shown['proofs'])} proofs"
            )
        file = Path(folder) / "export.json"
        export = [PROGRAM, "trace", given.trace, "--export", str(file), "--state", str(state)]
        start = time.perf_counter()
        subprocess.run([*export, *(["--repo", given.repo] if given.repo else [])], check=True, capture_output=True)
        print(f"export             {time.perf_counter() - start:.2f} s, {file.stat().st_size} bytes")
        key = json.loads(file.read_bytes())["keys"][0]
        found = timed([PROGRAM, "verify", str(file), "--key", key, "-o", "json"])
        print(f"verify             {found.beside(beside)}")
        flips(file.read_bytes(), given.flips)
    print(f"peak of this       {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    main()
