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

_RATIOS = tuple(1.25 * (400.0 / 1.25) ** (index / 23) for index in range(24))
"""Alternatives that the rate test bets on: the candidate's rate is 1.25 to 400 times the stable one's."""
BURST = 4.0
"""Requests in one burst are slow together; the latency bet is tempered as if four of them were one (Λ^(1/4))."""
ENOUGH_LABELS = 30
"""Below this many labelled predictions per arm the normal approximation of a mean loss is not looked at."""


@dataclass(frozen=True, slots=True)
class ArmStats:
    """What one version did: counts that only grow. Subtract two to get what happened between them.

    `latency` maps a bucket's upper bound in seconds (`inf` for the last) to the *cumulative* count of requests at or
    below it, as Prometheus histograms do. `outcomes` counts tp, fp, tn, fn. `log_loss` and `log_loss_squares` are sums
    over the `labelled` predictions, in nats. `cost_per_1000` is in micro-units of the billing currency, None: unknown.
    """

    requests: int = 0
    errors: int = 0
    latency: Mapping[float, int] = field(default_factory=dict)
    labelled: int = 0
    log_loss: float = 0.0
    log_loss_squares: float = 0.0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    cost_per_1000: int | None = None

    def minus(self, earlier: ArmStats) -> ArmStats:
        """What happened since `earlier`. The price is that of now."""
        return ArmStats(
            requests=self.requests - earlier.requests,
            errors=self.errors - earlier.errors,
            latency={bound: count - earlier.latency.get(bound, 0) for bound, count in self.latency.items()},
            labelled=self.labelled - earlier.labelled,
            log_loss=self.log_loss - earlier.log_loss,
            log_loss_squares=self.log_loss_squares - earlier.log_loss_squares,
            outcomes={name: count - earlier.outcomes.get(name, 0) for name, count in self.outcomes.items()},
            cost_per_1000=self.cost_per_1000,
        )

    def went_back(self, earlier: ArmStats) -> bool:
        """Whether a counter is smaller than before: its process began again, so a difference means nothing."""
        return (
            self.requests < earlier.requests
            or self.errors < earlier.errors
            or self.labelled < earlier.labelled
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
    declared bound; a breach needs both. `unit` is `1` (a rate), `s` or `nat`.
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
    loss exceeds the stable one's by at most `increase` nats. The variance is the larger of Welch's and the pooled one:
    losses are skewed, and an arm that has not met its rare frauds yet would otherwise look too certain.
    """
    n, m = candidate.labelled, stable.labelled
    if min(n, m) < ENOUGH_LABELS:
        return None
    ours, theirs = candidate.mean_log_loss, stable.mean_log_loss
    spread_n = max(candidate.log_loss_squares / n - ours**2, 0.0) * n / (n - 1)
    spread_m = max(stable.log_loss_squares / m - theirs**2, 0.0) * m / (m - 1)
    pooled = (spread_n * (n - 1) + spread_m * (m - 1)) / (n + m - 2)
    variance = max(spread_n / n + spread_m / m, pooled * (1 / n + 1 / m), 1e-18)
    excess = ours - theirs - increase
    scale = 5.0 * increase if increase > 0 else 0.05
    return Comparison("log-loss", "nat", ours, theirs, _log_normal_evidence(excess, variance, scale), excess > 0)


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
