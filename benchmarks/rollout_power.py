"""How often a canary that is no worse is rolled back, and how often a worse one is found, by simulation.

`python benchmarks/rollout_power.py [RUNS]` (1,000 by default; seeds are fixed). Both arms get half of the traffic and
are looked at after every 250 requests each. A worse candidate counts as found when it is rolled back, by the measure
that is worse, before either arm has had the sample of its row; one that is no worse is followed until it is promoted.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from customhouse.control.rollout import ArmStats, Move, RolloutPlan, advance, begin
from customhouse.core.resource import ResourceRef

REF = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "fraud", "fraud-detection")
NOW = datetime(2026, 11, 22, tzinfo=UTC)
LOCAL = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bucket bounds of the local target, in seconds."""
BATCH = 250
FINE = RolloutPlan(
    steps=(50,), max_duration_s=1e9, error_increase=0.005, latency_ratio=1.1, latency_increase_s=0.0,
    log_loss_increase=0.02, cost_ratio=1.07, accuracy_drop=0.01, drift=0.03,
)  # fmt: skip
"""Bounds at half of the differences that are to be found."""


@dataclass(frozen=True)
class Behaviour:
    """How one arm behaves: rates are shares, `median` seconds, `spread` that of its logarithm.

    `slow` stretches every answer, `tail` only the slowest tenth; `burst` answers in a row share half of their spread.
    """

    errors: float = 0.01
    wrong: float = 0.05
    median: float = 0.008
    spread: float = 0.6
    slow: float = 1.0
    tail: float = 1.0
    price: float = 1.0
    burst: int = 1
    score: float = 0.0


class Arm:
    """Cumulative counters of one arm."""

    def __init__(self, rng: np.random.Generator, behaviour: Behaviour) -> None:
        self.rng, self.behaviour = rng, behaviour
        self.count = self.errors = self.wrong = 0
        self.loss, self.cost = np.zeros(2), np.zeros(2)
        self.buckets = np.zeros(len(LOCAL) + 1, dtype=int)
        self.scores = np.zeros(10, dtype=int)

    def send(self, count: int) -> None:
        rng, how = self.rng, self.behaviour
        own = rng.normal(0.0, 1.0, count)
        if how.burst > 1:
            shared = np.repeat(rng.normal(0.0, 1.0, count // how.burst + 1), how.burst)[:count]
            own = np.sqrt(0.5) * own + np.sqrt(0.5) * shared
        usual = how.median * np.exp(how.spread * own)
        seconds = usual * how.slow
        seconds = np.where(own > 1.2816, seconds * how.tail, seconds)
        wrong = rng.random(count) < how.wrong
        # What a calibrated model is sure of it is rarely wrong about: losses are skewed.
        loss = np.where(wrong, rng.exponential(1.5, count) + 0.7, rng.exponential(0.06, count))
        cost = usual * how.price  # by itself, so that each row below is found by its own measure
        self.count += count
        self.errors += int(rng.binomial(count, how.errors))
        self.wrong += int(wrong.sum())
        self.loss += (loss.sum(), (loss**2).sum())
        self.cost += (cost.sum(), (cost**2).sum())
        self.buckets += np.histogram(seconds, (0.0, *LOCAL, np.inf))[0]
        said = np.clip(1.0 / (1.0 + np.exp(-(rng.normal(-2.0 + how.score, 1.3, count)))), 0.0, 0.999)
        self.scores += np.bincount((said * 10).astype(int), minlength=10)

    def stats(self) -> ArmStats:
        bounds = (*LOCAL, float("inf"))
        return ArmStats(
            requests=self.count,
            errors=self.errors,
            latency=dict(zip(bounds, np.cumsum(self.buckets).tolist(), strict=True)),
            labelled=self.count,
            log_loss=float(self.loss[0]),
            log_loss_squares=float(self.loss[1]),
            outcomes={"wrong": self.wrong, "correct": self.count - self.wrong},
            costed=self.count,
            cost=float(self.cost[0]),
            cost_squares=float(self.cost[1]),
            scores={str(index): int(count) for index, count in enumerate(self.scores)},
        )


def followed(
    rng: np.random.Generator, plan: RolloutPlan, stable: Behaviour, candidate: Behaviour, most: int
) -> tuple[Move, str, int]:
    """The last move, its reason and the requests an arm had by then; at most `most` of them."""
    state = begin(plan, REF, stable="old", candidate="new", now=NOW)
    ours, theirs = Arm(rng, candidate), Arm(rng, stable)
    look = 0
    while True:
        state, verdict = advance(state, ours.stats(), theirs.stats(), NOW + timedelta(seconds=look))
        if verdict.move in (Move.PROMOTE, Move.ABORT) or ours.count >= most:
            return verdict.move, verdict.reason, ours.count
        ours.send(BATCH)
        theirs.send(BATCH)
        look += 1


CASES: tuple[tuple[str, str, int, Behaviour, dict[str, Any]], ...] = (
    ("accuracy 95 % -> 93 %", "wrong predictions", 12_000, Behaviour(), {"wrong": 0.07}),
    ("accuracy 80 % -> 78 %", "wrong predictions", 40_000, Behaviour(wrong=0.20), {"wrong": 0.22}),
    ("log-loss +0.07 nats (5 % wrong -> 8 %)", "log-loss", 20_000, Behaviour(), {"wrong": 0.08}),
    ("p95 +20 %, every answer slower", "latency", 20_000, Behaviour(), {"slow": 1.2}),
    ("p95 +20 %, the slowest tenth slower", "latency", 30_000, Behaviour(), {"tail": 1.2}),
    ("p95 +20 %, in bursts of 8", "latency", 30_000, Behaviour(burst=8), {"slow": 1.2}),
    ("cost per 1,000 +15 %", "cost", 12_000, Behaviour(), {"price": 1.15}),
    ("errors 1 % -> 2 %", "errors", 12_000, Behaviour(), {"errors": 0.02}),
    ("scores shifted by a quarter of their spread", "drift", 6_000, Behaviour(), {"score": 0.325}),
)
"""What is worse, the measure that is to say so, the sample of each arm, the stable arm, what the candidate changes."""
SAME = (
    ("no worse", Behaviour()),
    ("no worse, bursts of 8", Behaviour(burst=8)),
    ("no worse, long tails", Behaviour(spread=1.2)),
)


def false_aborts(runs: int, stable: Behaviour, sample: int, seed: int) -> tuple[int, int]:
    """Of so many runs: rolled back, and not promoted by four times the sample."""
    plan = replace(FINE, min_requests=sample, min_labelled=sample)
    rng = np.random.default_rng(seed)
    moves = [followed(rng, plan, stable, stable, 4 * sample)[0] for _ in range(runs)]
    return moves.count(Move.ABORT), sum(move not in (Move.ABORT, Move.PROMOTE) for move in moves)


def found(runs: int, case: int, seed: int) -> tuple[int, float]:
    """Of so many runs: rolled back for the right reason within the sample; the median requests of an arm by then."""
    _, measure, sample, stable, worse = CASES[case]
    plan = replace(FINE, min_requests=sample, min_labelled=sample)
    if measure == "wrong predictions":
        plan = replace(plan, log_loss_increase=10.0)  # else that would sometimes be first to tell
    if measure == "log-loss":
        plan = replace(plan, accuracy_drop=0.5)
    rng = np.random.default_rng(seed)
    ends = [followed(rng, plan, stable, replace(stable, **worse), sample) for _ in range(runs)]
    caught = [count for move, reason, count in ends if move is Move.ABORT and measure in reason]
    return len(caught), float(np.median(caught)) if caught else float("nan")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{runs} runs each; false-abort 1 %; a look after every {BATCH} requests of an arm")
    for index, (name, behaviour) in enumerate(SAME):
        aborted, open_ = false_aborts(runs, behaviour, 12_000, 100 + index)
        print(f"{name:45} sample 12,000  rolled back {aborted / runs:6.2%}  undecided at 48,000 {open_ / runs:6.2%}")
    for index, (name, measure, sample, _, _) in enumerate(CASES):
        count, median = found(runs, index, 200 + index)
        print(f"{name:45} sample {sample:6,}  found {count / runs:6.2%}  half of them by {median:7,.0f}  ({measure})")


if __name__ == "__main__":
    main()
