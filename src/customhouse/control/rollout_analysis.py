"""Statistics of a canary: whether the candidate is worse than the stable version, looked at as often as one likes.

Every test here is an e-process: a number that starts at 1 and whose expectation never grows while the candidate is no
worse. By Ville's inequality it ever reaches 1/α with probability at most α, however often one looks, so repeated looks
need no correction. Sources: Robbins 1970 (mixtures), Johari et al. 2017 "Always valid inference", Ramdas et al. 2023
"Game-theoretic statistics and safe anytime-valid inference".

May live here: pure functions of counts. May not: time, weights, plans (that is `rollout`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

_RATIOS = tuple(1.0 + 0.03 * (399.0 / 0.03) ** (index / 27) for index in range(28))
"""Alternatives that the rate test bets on: the candidate's rate is 1.03 to 400 times the stable one's."""
BURST = 4.0
"""Requests in one burst are slow together; the latency bet is tempered as if four of them were one (Λ^(1/4))."""
ENOUGH_LABELS = 30
"""Below this many labelled predictions per arm the normal approximation of a mean loss is not looked at."""
ENOUGH_COSTED = 200
"""The same for what a prediction costs: times of service have longer tails than losses."""


@dataclass(frozen=True, slots=True)
class ArmStats:
    """What one version did: counts that only grow. Subtract two to get what happened between them.

    `latency` maps a bucket's upper bound in seconds (`inf` for the last) to the *cumulative* count of requests at or
    below it, as Prometheus histograms do. `outcomes` counts tp, fp, tn, fn. `log_loss` and `log_loss_squares` are sums
    over the `labelled` predictions, in nats; `cost` and `cost_squares` over the `costed` ones, in micro-units of the
    billing currency (a statistic, not money that is charged). `scores` counts predictions by what they said, by bin.
    """

    requests: int = 0
    errors: int = 0
    latency: Mapping[float, int] = field(default_factory=dict)
    labelled: int = 0
    log_loss: float = 0.0
    log_loss_squares: float = 0.0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    costed: int = 0
    cost: float = 0.0
    cost_squares: float = 0.0
    scores: Mapping[str, int] = field(default_factory=dict)

    def minus(self, earlier: ArmStats) -> ArmStats:
        """What happened since `earlier`."""
        return ArmStats(
            requests=self.requests - earlier.requests,
            errors=self.errors - earlier.errors,
            latency={bound: count - earlier.latency.get(bound, 0) for bound, count in self.latency.items()},
            labelled=self.labelled - earlier.labelled,
            log_loss=self.log_loss - earlier.log_loss,
            log_loss_squares=self.log_loss_squares - earlier.log_loss_squares,
            outcomes={name: count - earlier.outcomes.get(name, 0) for name, count in self.outcomes.items()},
            costed=self.costed - earlier.costed,
            cost=self.cost - earlier.cost,
            cost_squares=self.cost_squares - earlier.cost_squares,
            scores={name: count - earlier.scores.get(name, 0) for name, count in self.scores.items()},
        )

    def went_back(self, earlier: ArmStats) -> bool:
        """Whether a counter is smaller than before: its process began again, so a difference means nothing."""
        return (
            self.requests < earlier.requests
            or self.errors < earlier.errors
            or self.labelled < earlier.labelled
            or self.costed < earlier.costed
            or any(self.scores.get(name, 0) < count for name, count in earlier.scores.items())
            or any(self.latency.get(bound, 0) < count for bound, count in earlier.latency.items())
        )

    @property
    def error_rate(self) -> float:
        """Errors per request; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def mean_log_loss(self) -> float:
        """Nats per labelled prediction; 0 without labels."""
        return self.log_loss / self.labelled if self.labelled else 0.0

    def quantile(self, level: float) -> float | None:
        """Latency in seconds by linear interpolation inside its bucket; None without requests.

        A quantile in the open last bucket is given as the last finite bound: the histogram knows no more.
        """
        bounds = sorted(self.latency)
        if not bounds or self.latency[bounds[-1]] <= 0:
            return None
        rank = level * self.latency[bounds[-1]]
        lower, below = 0.0, 0
        for bound in bounds:
            count = self.latency[bound]
            if count >= rank and count > below:
                if math.isinf(bound):
                    return lower
                return lower + (bound - lower) * (rank - below) / (count - below)
            lower, below = (lower if math.isinf(bound) else bound), count
        return lower


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of candidate against stable: the figures, and the evidence that the candidate is worse.

    `log_evidence` is the natural logarithm of the e-process. `beyond` says whether the estimate itself is outside the
    declared bound; a breach needs both. `unit` is `1` (a rate), `s`, `nat` or `u` (micro-units of the currency).
    """

    measure: str
    unit: str
    candidate: float
    stable: float
    log_evidence: float
    beyond: bool

    def breaches(self, alpha: float) -> bool:
        """Whether the candidate is worse beyond the bound, at false-alarm rate `alpha` over all looks."""
        return self.beyond and self.log_evidence >= -math.log(alpha)


def compare_errors(candidate: ArmStats, stable: ArmStats, *, increase: float) -> Comparison:
    """Error rates. Exact: given that an error happened, whose is it? Valid from the first request on.

    `increase` is the tolerated absolute increase of the rate (0.01: one percentage point).
    """
    return Comparison(
        "errors",
        "1",
        candidate.error_rate,
        stable.error_rate,
        _log_rate_evidence(candidate.errors, candidate.requests, stable.errors, stable.requests, 1.0),
        candidate.error_rate - stable.error_rate > increase,
    )


def compare_latency(
    candidate: ArmStats, stable: ArmStats, *, quantile: float, ratio: float, increase_s: float
) -> Comparison | None:
    """Latency at a quantile (0.95), from histograms with the same buckets; None when either has none.

    The evidence is the mean over all bucket bounds of the bet "more of the candidate's requests are slower than this
    bound": no bound is picked by looking at the data. Beyond: more than `ratio` times AND `increase_s` seconds slower.
    """
    theirs, ours = stable.quantile(quantile), candidate.quantile(quantile)
    if theirs is None or ours is None:
        return None
    finite = [bound for bound in stable.latency if not math.isinf(bound) and bound in candidate.latency]
    candidate_total, stable_total = max(candidate.latency.values()), max(stable.latency.values())
    bets = [
        _log_rate_evidence(
            candidate_total - candidate.latency[bound],
            candidate_total,
            stable_total - stable.latency[bound],
            stable_total,
            1.0 / BURST,
        )
        for bound in finite
    ]
    evidence = _log_mean_exp(bets) if bets else 0.0
    beyond = ours > theirs * ratio and ours - theirs > increase_s
    return Comparison(f"latency p{quantile * 100:g}", "s", ours, theirs, evidence, beyond)


def compare_quality(candidate: ArmStats, stable: ArmStats, *, increase: float) -> Comparison | None:
    """Mean log-loss on labelled traffic; None until both arms have ENOUGH_LABELS.

    One-sided normal mixture (half-normal prior of scale 5 × `increase` above the bound) for H0: the candidate's mean
    loss exceeds the stable one's by at most `increase` nats.
    """
    n, m = candidate.labelled, stable.labelled
    if min(n, m) < ENOUGH_LABELS:
        return None
    ours, theirs = candidate.mean_log_loss, stable.mean_log_loss
    variance = _variance((n, ours, candidate.log_loss_squares), (m, theirs, stable.log_loss_squares))
    excess = ours - theirs - increase
    scale = 5.0 * increase if increase > 0 else 0.05
    return Comparison("log-loss", "nat", ours, theirs, _log_normal_evidence(excess, variance, scale), excess > 0)


def compare_accuracy(candidate: ArmStats, stable: ArmStats, *, drop: float) -> Comparison | None:
    """Share of wrong predictions among the labelled; None until both arms have ENOUGH_LABELS outcomes.

    `drop` is the tolerated fall of the accuracy (0.01: one percentage point). Exact, as `compare_errors` is.
    """
    (bad, all_ours), (other_bad, all_theirs) = _wrong(candidate.outcomes), _wrong(stable.outcomes)
    if min(all_ours, all_theirs) < ENOUGH_LABELS:
        return None
    ours, theirs = bad / all_ours, other_bad / all_theirs
    evidence = _log_rate_evidence(bad, all_ours, other_bad, all_theirs, 1.0)
    return Comparison("wrong predictions", "1", ours, theirs, evidence, ours - theirs > drop)


def compare_cost(candidate: ArmStats, stable: ArmStats, *, ratio: float) -> Comparison | None:
    """Cost per 1,000 predictions; None until both arms have ENOUGH_COSTED predictions whose cost is known.

    The evidence is that the candidate is dearer at all (half-normal prior of a tenth of the stable cost), tempered as
    that of latency is: what a prediction costs follows how long it took. Beyond: more than `ratio` times as dear.
    """
    n, m = candidate.costed, stable.costed
    if min(n, m) < ENOUGH_COSTED or stable.cost <= 0:
        return None
    ours, theirs = candidate.cost / n, stable.cost / m
    variance = _variance((n, ours, candidate.cost_squares), (m, theirs, stable.cost_squares))
    evidence = _log_normal_evidence(ours - theirs, variance * BURST, 0.1 * theirs)
    return Comparison("cost per 1,000 predictions", "u", ours * 1000, theirs * 1000, evidence, ours > theirs * ratio)


def compare_drift(candidate: ArmStats, stable: ArmStats, *, distance: float) -> Comparison | None:
    """How differently the two arms predict on the same traffic, no labels needed; None until both have ENOUGH_LABELS.

    Total variation distance between their scores by bin (0 the same, 1 nothing in common), less what chance alone would
    show. The evidence is the mean over bins of the bets "more" and "less of the candidate's predictions are in this
    bin": a mean of e-processes is one.
    """
    n, m = sum(candidate.scores.values()), sum(stable.scores.values())
    if min(n, m) < ENOUGH_LABELS:
        return None
    moved, chance = 0.0, 0.0
    bets = []
    for name in sorted({*candidate.scores, *stable.scores}):
        ours, theirs = candidate.scores.get(name, 0), stable.scores.get(name, 0)
        share = (ours + theirs) / (n + m)
        moved += abs(ours / n - theirs / m) / 2
        chance += math.sqrt(share * (1.0 - share) * (1 / n + 1 / m) / (2.0 * math.pi))
        bets.append(_log_rate_evidence(ours, n, theirs, m, 1.0))
        bets.append(_log_rate_evidence(theirs, m, ours, n, 1.0))
    shown = max(0.0, moved - chance)
    return Comparison("drift of predictions", "1", shown, 0.0, _log_mean_exp(bets), shown > distance)


def _wrong(outcomes: Mapping[str, int]) -> tuple[int, int]:
    """Wrong predictions, and all whose outcome is known."""
    bad = sum(outcomes.get(name, 0) for name in ("fp", "fn", "wrong"))
    return bad, bad + sum(outcomes.get(name, 0) for name in ("tp", "tn", "correct"))


def _variance(ours: tuple[int, float, float], theirs: tuple[int, float, float]) -> float:
    """Of the difference of two means, from (count, mean, sum of squares): the larger of Welch's and the pooled one.

    Losses and costs are skewed, and an arm that has not met its rare large ones yet would otherwise look too certain.
    """
    n, mean_n, squares_n = ours
    m, mean_m, squares_m = theirs
    spread_n = max(squares_n / n - mean_n**2, 0.0) * n / (n - 1)
    spread_m = max(squares_m / m - mean_m**2, 0.0) * m / (m - 1)
    pooled = (spread_n * (n - 1) + spread_m * (m - 1)) / (n + m - 2)
    return max(spread_n / n + spread_m / m, pooled * (1 / n + 1 / m), 1e-18)


def _log_rate_evidence(events: int, trials: int, other_events: int, other_trials: int, temper: float) -> float:
    """Logarithm of the mixture bet that the events of the first arm are more frequent.

    Under equal rates each event belongs to the first arm with probability share = trials / all trials; the bet
    multiplies (q/share) for its own event and (1-q)/(1-share) for the other's, with q from each ratio of _RATIOS.
    """
    if trials <= 0 or other_trials <= 0 or events + other_events <= 0:
        return 0.0
    share = trials / (trials + other_trials)
    logs = []
    for ratio in _RATIOS:
        q = ratio * share / (ratio * share + 1.0 - share)
        bet = events * math.log(q / share) + other_events * math.log((1.0 - q) / (1.0 - share))
        logs.append(temper * bet)
    return _log_mean_exp(logs)


def _log_normal_evidence(excess: float, variance: float, scale: float) -> float:
    """Logarithm of ∫ N(excess; δ, variance) / N(excess; 0, variance) over a half-normal δ > 0 of the given scale."""
    total = variance + scale**2
    shrink = 0.5 * math.log(variance / total)
    exponent = excess**2 * scale**2 / (2.0 * variance * total)
    return math.log(2.0) + shrink + exponent + _log_phi(excess * scale / math.sqrt(variance * total))


def _log_phi(z: float) -> float:
    """Logarithm of Φ(z); by its tail expansion where Φ underflows."""
    if z > -30.0:
        return math.log(0.5 * math.erfc(-z / math.sqrt(2.0)))
    return -0.5 * z * z - math.log(-z) - 0.5 * math.log(2.0 * math.pi)


def _log_mean_exp(logs: list[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(value - top) for value in logs) / len(logs))
