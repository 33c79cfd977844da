"""Timings as ratios beside a peer in the same run: a machine's speed and its neighbours cancel out.

`make bench` runs all; `python benchmarks/run.py NAME…` some; `--json` for scripts. Each pair is run in turns, and the
ratio is that of the medians. A row that has a bound says so, and the exit status is 1 when a bound is passed.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 15


@dataclass(frozen=True, slots=True)
class Result:
    """Median seconds of ours and of the peer, and what is promised (`bound`: of the ratio, or of our CPU seconds)."""

    name: str
    peer: str
    ours_s: float
    peer_s: float
    ratio_bound: float | None = None
    ours_bound_s: float | None = None

    @property
    def ratio(self) -> float:
        """How many times the peer's time ours is."""
        return self.ours_s / self.peer_s

    @property
    def kept(self) -> bool:
        """Whether the promise, if there is one, is kept."""
        return (self.ratio_bound is None or self.ratio <= self.ratio_bound) and (
            self.ours_bound_s is None or self.ours_s <= self.ours_bound_s
        )


def in_turns(ours: Callable[[], float], peer: Callable[[], float], rounds: int = ROUNDS) -> tuple[float, float]:
    """The medians of two measurements that take turns, after one round that does not count."""
    ours(), peer()
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """Wall seconds of a call."""

    def measure() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return measure


def child_cpu(arguments: Sequence[str]) -> Callable[[], float]:
    """CPU seconds (user and system) of a program and its children."""

    def measure() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return measure


def canonical() -> Result:
    """Canonical JSON of a hundred manifests beside json.dumps with sorted keys (which is not canonical)."""
    from customhouse._kit.canonical import canonical_json

    chance = random.Random(1)
    documents = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"d{number}", "labels": {f"l{index}": str(chance.random()) for index in range(8)}},
            "spec": {"replicas": number, "template": {"spec": {"containers": [{"name": "c", "cpu": chance.random()}]}}},
        }
        for number in range(100)
    ]
    ours, peer = in_turns(
        timed(lambda: [canonical_json(document) for document in documents]),
        timed(lambda: [json.dumps(document, sort_keys=True).encode() for document in documents]),
    )
    return Result("canonical JSON", "json.dumps(sort_keys)", ours, peer, ratio_bound=4.0)


def folder_digest() -> Result:
    """The digest of a folder of 32 MB in 40 files beside sha256 over the same bytes in memory."""
    import hashlib
    import tempfile

    from customhouse._kit.digest import tree

    data = random.Random(1).randbytes(800_000)
    with tempfile.TemporaryDirectory(prefix="customhouse-bench-") as name:
        for number in range(40):
            (Path(name) / f"{number}.bin").write_bytes(data)
        ours, peer = in_turns(
            timed(lambda: tree(Path(name))), timed(lambda: [hashlib.sha256(data).digest() for _ in range(40)])
        )
    return Result("folder digest", "sha256 in memory", ours, peer, ratio_bound=2.0)


def start_up() -> Result:
    """`customhouse --help` beside a bare interpreter: CPU seconds, at most 150 ms."""
    program = Path(sys.executable).with_name("customhouse")
    ours, peer = in_turns(child_cpu([str(program), "--help"]), child_cpu([sys.executable, "-c", "pass"]))
    return Result("customhouse --help", "python -c pass", ours, peer, ours_bound_s=0.150)


def money_split() -> Result:
    """Splitting a bill over 10,000 weights beside the same division in floats (which loses money)."""
    from customhouse._kit.money import Money

    chance = random.Random(1)
    weights = [chance.randrange(1, 10**6) for _ in range(10_000)]
    whole, bill = sum(weights), Money.parse("123456.78")
    ours, peer = in_turns(
        timed(lambda: bill.split(weights)), timed(lambda: [123456.78 * weight / whole for weight in weights])
    )
    return Result("money split", "float division", ours, peer)


BENCHMARKS: dict[str, Callable[[], Result]] = {
    "canonical": canonical,
    "digest": folder_digest,
    "start": start_up,
    "money": money_split,
}


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for and print a table, or JSON."""
    names = [name for name in arguments if not name.startswith("-")] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.stderr.write(f"no benchmark is called {unknown[0]!r}; there are {', '.join(BENCHMARKS)}\n")
        return 2
    results = [BENCHMARKS[name]() for name in names]
    if "--json" in arguments:
        rows = [
            {"name": r.name, "peer": r.peer, "ours_s": r.ours_s, "peer_s": r.peer_s, "ratio": r.ratio, "kept": r.kept}
            for r in results
        ]
        print(json.dumps({"benchmarks": rows}, indent=2))
    else:
        print(f"{'what':<22}{'beside':<24}{'ours':>10}{'peer':>10}{'ratio':>8}  promise")
        for result in results:
            promise = (
                f"ratio ≤ {result.ratio_bound}"
                if result.ratio_bound is not None
                else f"≤ {result.ours_bound_s * 1000:.0f} ms"
                if result.ours_bound_s is not None
                else ""
            )
            print(
                f"{result.name:<22}{result.peer:<24}{result.ours_s * 1000:>7.1f} ms{result.peer_s * 1000:>7.1f} ms"
                f"{result.ratio:>8.2f}  {promise}{'' if result.kept else '  NOT KEPT'}"
            )
    return 0 if all(result.kept for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
