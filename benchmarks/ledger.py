"""The ledger: durable appends, opening, proofs and verification, beside pymerkle's SQLite tree in the same run.

    python benchmarks/ledger.py --peer-python PYTHON      # PYTHON: of a venv of its own with `pip install pymerkle`
    python benchmarks/ledger.py --entries 1000000         # the figures of the large ledger; some two minutes
    python benchmarks/ledger.py --postgres postgresql+pg8000://user@/db?unix_sock=…    # beside a server's

pymerkle is GPL, so it is no dependency: it is measured in a process of its own. Both write to the same disk, both with
SQLite. Ours: synchronous=FULL, canonical JSON, keys that are unique, tiles, and an Ed25519 checkpoint with each batch.
The peer's: leaf data and leaf hash alone, one entry a transaction (`append_entry`, what a receipt at once costs), its
bulk call (`append_entries`), and its bulk call with the root after each batch, as ours signs one.
"""

from __future__ import annotations

import argparse
import base64
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from customhouse._kit.clock import SystemClock
from customhouse.core.ledger import Entry
from customhouse.store import open_store
from customhouse.trust.keys import generate
from customhouse.trust.ledger import Ledger
from customhouse.trust.merkle import inclusion_proof

AT = datetime(2026, 3, 1, tzinfo=UTC)
PEER = """
import json, os, sys, time
from pymerkle import SqliteTree
folder, count, batch, single = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
data = [line.rstrip(b"\\n") for line in open(folder + "/entries", "rb")]
found = {}
def opened(name):
    tree = SqliteTree(folder + "/" + name)
    tree.con.execute("PRAGMA synchronous=FULL")
    return tree
tree = opened("single.db")
start = time.perf_counter()
for item in data[:single]:
    tree.append_entry(item)
found["one a transaction"] = single / (time.perf_counter() - start)
tree = opened("bulk.db")
start = time.perf_counter()
for first in range(0, count, batch):
    tree.append_entries(data[first:first + batch])
found["bulk"] = count / (time.perf_counter() - start)
tree = opened("rooted.db")
start = time.perf_counter()
for first in range(0, count, batch):
    tree.append_entries(data[first:first + batch])
    tree.get_state()
found["bulk, with the root"] = count / (time.perf_counter() - start)
start = time.perf_counter()
for index in range(1, 201):
    tree.prove_inclusion(index * (count // 200))
found["proof, ms"] = (time.perf_counter() - start) / 200 * 1000
json.dump(found, sys.stdout)
"""


def entries(start: int, end: int) -> list[Entry]:
    """Of the size of real ones: some 380 bytes."""
    body = {"text": "allow InferenceService shop/score: every rule is met", "verdict": "allow"}
    return [
        Entry(
            f"decision:{n:040x}",
            "decision",
            AT,
            "ada@example.com",
            (f"model:sha256:{n:064x}", "commit:" + "a" * 40),
            {**body, "n": n},
        )
        for n in range(start, end)
    ]


KEY = generate()


def appended(place: object, count: int, batch: int) -> tuple[float, Ledger]:
    """Entries a second, writing them out included."""
    store = open_store(place)  # type: ignore[arg-type]
    ledger = Ledger(store.ledger, KEY, "bench.example/ledger", SystemClock())
    taken = 0.0
    for first in range(0, count, batch):
        items = entries(first, min(first + batch, count))
        start = time.perf_counter()
        ledger.append(items)
        taken += time.perf_counter() - start
    return count / taken, ledger


def threads(place: Path, workers: int, each: int) -> tuple[float, int]:
    """Single appends a second of several threads, and how many transactions took them."""
    store = open_store(place)
    ledger = Ledger(store.ledger, KEY, "bench.example/ledger", SystemClock())
    parts = [entries(worker * each, (worker + 1) * each) for worker in range(workers)]

    def work(items: list[Entry]) -> None:
        for item in items:
            ledger.append([item])

    running = [threading.Thread(target=work, args=(items,)) for items in parts]
    start = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    taken = time.perf_counter() - start
    return workers * each / taken, len(store.ledger.checkpoints())


def peer(python: str, folder: Path, count: int, batch: int) -> dict[str, float]:
    (folder / "entries").write_bytes(b"\n".join(item.to_bytes() for item in entries(0, count)))
    arguments = [python, "-c", PEER, str(folder), str(count), str(batch), "1000"]
    return dict(json.loads(subprocess.run(arguments, check=True, capture_output=True).stdout))


def proof_bytes(size: int) -> tuple[int, int]:
    """(bytes, base64 lines' bytes) of the longest inclusion proof in a tree that is only simulated: hashes are zero."""
    proof = inclusion_proof(0, size, lambda _level, _index: bytes(32))
    return sum(map(len, proof)), sum(len(base64.b64encode(item)) + 1 for item in proof)


def large(folder: Path, count: int) -> None:
    """Opening, proving and verifying a ledger of `count` entries."""
    place = folder / "large.db"
    rate, _ = appended(place, count, 10_000)
    print(f"{count} entries in batches of 10,000: {rate:,.0f} durable appends/s, {place.stat().st_size / 1e6:.0f} MB")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with open_store(place) as store:
        again = Ledger(store.ledger, KEY, "bench.example/ledger", SystemClock())
        again.checkpoint()
        opened = time.perf_counter() - start
        start = time.perf_counter()
        for number in range(200):
            again.prove(number * (count // 200))
        proved = (time.perf_counter() - start) / 200
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"opened in {opened * 1000:.1f} ms, a proof in {proved * 1000:.2f} ms, +{(after - before) / 1024:.0f} MB")
        start = time.perf_counter()
        report = again.verify()
        taken = time.perf_counter() - start
        assert report.ok
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - after
        print(f"verified in {taken:.1f} s ({taken / count * 1e6:.1f} µs an entry), +{grown / 1024:.0f} MB")


def main() -> None:
    read = argparse.ArgumentParser()
    read.add_argument("--entries", type=int, default=0, help="the size of the large ledger; 0: none")
    read.add_argument("--batch", type=int, default=1000)
    read.add_argument("--count", type=int, default=20_000)
    read.add_argument("--rounds", type=int, default=3)
    read.add_argument("--peer-python", default="")
    read.add_argument("--postgres", default="")
    read.add_argument("--folder", type=Path, default=None, help="where to write: another disk")
    given = read.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder, prefix="ledger-bench-"))
    try:
        ours, theirs = [], []
        for number in range(given.rounds):  # in turns, so that both meet the same machine
            ours.append(appended(folder / f"ours-{number}.db", given.count, given.batch)[0])
            if given.peer_python:
                place = folder / f"peer-{number}"
                place.mkdir()
                theirs.append(peer(given.peer_python, place, given.count, given.batch))
        best = max(ours)
        print(f"durable appends/s in batches of {given.batch}: {best:,.0f} (rounds {[round(each) for each in ours]})")
        for name in theirs[0] if theirs else ():
            if "proof" in name:
                print(f"  pymerkle, {name}: {min(each[name] for each in theirs):.2f}")
                continue
            rate = max(each[name] for each in theirs)
            print(f"  pymerkle, {name}: {rate:,.0f}/s; ours is {best / rate:.1f} times that")
        for workers in (1, 8, 32):
            rate, transactions = threads(folder / f"threads-{workers}.db", workers, 1600 // workers)
            print(f"single appends by {workers} threads: {rate:,.0f}/s in {transactions} transactions of 1600 entries")
        if given.postgres:
            rate, _ = appended(given.postgres, given.count, given.batch)
            print(f"PostgreSQL, batches of {given.batch}: {rate:,.0f} durable appends/s")
        plain, text = proof_bytes(10**9)
        print(f"longest proof at 10^9 entries: {plain} bytes of hashes, {text} as the lines of a tlog-proof")
        if given.entries:
            large(folder, given.entries)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
