"""Right-sizing: from observed windows to requests and limits, with the risk stated as a number.

What is promised is about windows (5 minutes unless said otherwise): at most `risk` of them above the limit. The limit
is an upper confidence bound of that quantile by order statistics (no distribution is assumed), times a margin. Windows
of one service resemble each other, so they are counted as fewer: n·(1-ρ)/(1+ρ), ρ the lag-1 autocorrelation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse._kit.quantity import format_bytes, format_milli, parse_bytes, parse_milli
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import Manifest
from customhouse.core.workload import Container, Workload

MIB = 1 << 20
MARGIN = 1.18
"""Limit over the 99 % quantile at which about 1 % of windows are violated out of sample (DESIGN section 6)."""
BURST = 2
"""A CPU limit is not lowered below this many requests: CPU can be throttled, and a mean does not show where."""
MIN_WINDOWS = 12
"""Below this many windows nothing is recommended: an hour at 5 minutes is not a workload's life."""


@dataclass(frozen=True, slots=True)
class UsageSeries:
    """What one container used, per window, all replicas pooled: peak bytes and mean millicores, in order of time."""

    window_s: int
    memory_bytes: tuple[int, ...]
    cpu_millicores: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RightsizePolicy:
    """What a tier wants. `risk` and `confidence` are shares; floors are the least that is ever recommended.

    `worth_changing`: smaller relative changes of every value are not worth a review.
    """

    risk: float = 0.01
    confidence: float = 0.95
    memory_floor: int = 64 * MIB
    cpu_floor: int = 50
    worth_changing: float = 0.10


@dataclass(frozen=True, slots=True)
class Bound:
    """An upper bound of one measure. `limit` is what may be declared; `observed` is the largest value seen.

    `risk` is the share of windows that may exceed the order statistic at the stated confidence: what was asked for, or
    more when there are too few windows for it; then `margin` is larger than MARGIN.
    """

    limit: int
    statistic: int
    observed: int
    windows: int
    effective: int
    risk: float
    confidence: float
    margin: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Recommendation:
    """New values of one container. `current` and `recommended` map `requests.memory` … to bytes or millicores."""

    container: Container
    memory: Bound
    cpu: Bound
    current: Mapping[str, int]
    recommended: Mapping[str, int]
    edits: tuple[FieldEdit, ...]
    risk: str

    def evidence(self) -> dict[str, Any]:
        """The figures behind it, as JSON values."""
        return {
            "container": self.container.name,
            "current": dict(self.current),
            "recommended": dict(self.recommended),
            "memory": _bound_json(self.memory),
            "cpu": _bound_json(self.cpu),
        }


def windows_needed(risk: float, confidence: float) -> int:
    """How many independent windows make the promise reachable: 299 for 1 % at 95 %."""
    return math.ceil(math.log(1.0 - confidence) / math.log(1.0 - risk))


def upper_bound(values: Sequence[int], *, risk: float, confidence: float) -> Bound:
    """An upper `confidence` bound of the (1-`risk`) quantile of `values` (any unit), times the margin.

    Rule when the effective number of windows n is below `windows_needed` (N): the largest value is taken; with the
    same confidence at most 1-(1-confidence)^(1/n) of windows exceed it, which is stated; and the margin grows to
    1 + 0.18·√(N/n), at most 2. Raises ValueError without values or for shares outside (0, 1).
    """
    if not values or not 0.0 < risk < 1.0 or not 0.0 < confidence < 1.0:
        raise ValueError("an upper bound needs values, and a risk and confidence between 0 and 1")
    ordered = sorted(values)
    effective = _effective_count(values)
    needed = windows_needed(risk, confidence)
    reached = effective >= needed
    if reached:
        # The r-th smallest of n is above the quantile with probability P(Binomial(n, 1-risk) <= r-1); take the least r.
        rank = _binomial_rank(effective, 1.0 - risk, confidence)
        statistic = ordered[min(len(ordered), math.ceil(rank / effective * len(ordered))) - 1]
        margin = MARGIN
    else:
        statistic = ordered[-1]
        margin = min(2.0, 1.0 + (MARGIN - 1.0) * math.sqrt(needed / effective))
        risk = 1.0 - (1.0 - confidence) ** (1.0 / effective)
    return Bound(
        limit=math.ceil(statistic * margin),
        statistic=statistic,
        observed=ordered[-1],
        windows=len(ordered),
        effective=effective,
        risk=risk,
        confidence=confidence,
        margin=margin,
        reached=reached,
    )


def recommend(
    work: Workload, usage: UsageSeries, manifest: Manifest, policy: RightsizePolicy | None = None
) -> Recommendation | None:
    """What the workload's first running container should declare; None when there is nothing worth changing.

    Rules: memory limit and request = bound rounded up to 16 Mi (64 Mi from 1 Gi); CPU request = the 95 % quantile's
    bound; CPU limit = the bound at the policy's risk, and not less than BURST requests (a window's mean hides its
    bursts) unless less is declared now; rounded up to 10 m (50 m from one core). Only values that the manifest already
    declares are edited. More than is declared now is recommended too, when the bound says so: right-sizing is not only
    shrinking.
    """
    policy = policy or RightsizePolicy()
    container = next((item for item in work.containers if not item.init), None)
    if container is None or min(len(usage.memory_bytes), len(usage.cpu_millicores)) < MIN_WINDOWS:
        return None
    memory = upper_bound(usage.memory_bytes, risk=policy.risk, confidence=policy.confidence)
    cpu = upper_bound(usage.cpu_millicores, risk=policy.risk, confidence=policy.confidence)
    usual = upper_bound(usage.cpu_millicores, risk=max(policy.risk, 0.05), confidence=policy.confidence)
    new_memory = _round_bytes(max(memory.limit, policy.memory_floor))
    request = _round_milli(max(min(usual.limit, cpu.limit), policy.cpu_floor))
    current = _declared(manifest, container.pointer)
    ceiling = max(_round_milli(max(cpu.limit, policy.cpu_floor)), request)
    wanted = {
        "limits.memory": new_memory,
        "requests.memory": new_memory,
        "limits.cpu": max(ceiling, min(BURST * request, current.get("limits.cpu", 0))),
        "requests.cpu": request,
    }
    recommended = {name: wanted[name] for name in current}
    if all(abs(value - current[name]) <= policy.worth_changing * current[name] for name, value in recommended.items()):
        return None
    edits = tuple(
        FieldEdit(f"{container.pointer}/resources/{name.replace('.', '/')}", _written(name, value))
        for name, value in sorted(recommended.items())
        if value != current[name]
    )
    risk = risk_text(memory, usage.window_s, "memory", policy.risk)
    return Recommendation(container, memory, cpu, current, recommended, edits, risk)


def risk_text(bound: Bound, window_s: int, measure: str, asked: float) -> str:
    """The promise in words; `asked` is the share of windows that the policy wanted."""
    span = f"{window_s // 60}-minute" if window_s >= 60 and window_s % 60 == 0 else f"{window_s}-second"
    seen = f"{bound.windows} {span} windows, worth {bound.effective} independent ones"
    if bound.reached:
        return (
            f"at most {_percent(bound.risk)} of {span} windows above the new {measure} limit "
            f"({bound.confidence:.0%} confidence from {seen}), and a margin of {bound.margin:.2f} on top"
        )
    return (
        f"at most {_percent(asked)} of {span} windows above the new {measure} limit cannot be promised yet: {seen}, "
        f"only bound it at {_percent(bound.risk)} ({bound.confidence:.0%} confidence); so the limit is the largest "
        f"value seen times {bound.margin:.2f}"
    )


def _effective_count(values: Sequence[int]) -> int:
    """How many independent windows these are worth; at least 1, at most as many as there are."""
    count = len(values)
    mean = math.fsum(values) / count
    spread = math.fsum((value - mean) ** 2 for value in values)
    if count < 3 or spread == 0.0:
        return count
    pairs = itertools.pairwise(values)
    lag = math.fsum((early - mean) * (late - mean) for early, late in pairs) / spread
    lag = min(max(lag, 0.0), 0.99)  # negative correlation is not taken as a gift
    return max(1, int(count * (1.0 - lag) / (1.0 + lag)))


def _binomial_rank(count: int, level: float, confidence: float) -> int:
    """The least r with P(Binomial(count, level) <= r-1) >= confidence; `count` must be enough for r <= count."""
    tail = 0.0  # P(X >= r), summed downwards from r = count
    log_p, log_q = math.log(level), math.log(1.0 - level)
    for r in range(count, 0, -1):
        log_term = math.lgamma(count + 1) - math.lgamma(r + 1) - math.lgamma(count - r + 1)
        tail += math.exp(log_term + r * log_p + (count - r) * log_q)
        if tail > 1.0 - confidence:
            return min(r + 1, count)
    return 1


def _declared(manifest: Manifest, pointer: str) -> dict[str, int]:
    """The memory and CPU values that the manifest itself writes, by `requests.memory` and so on."""
    value: Any = manifest
    for part in pointer.split("/")[1:]:
        value = value[int(part)] if isinstance(value, (list, tuple)) else value[part]
    found: dict[str, int] = {}
    for group in ("requests", "limits"):
        entries = (value.get("resources") or {}).get(group) or {}
        if entries.get("memory") is not None:
            found[f"{group}.memory"] = parse_bytes(entries["memory"])
        if entries.get("cpu") is not None:
            found[f"{group}.cpu"] = parse_milli(entries["cpu"])
    return found


def _written(name: str, value: int) -> str:
    return format_bytes(value) if name.endswith("memory") else format_milli(value)


def _round_bytes(value: int) -> int:
    unit = 16 * MIB if value < 1024 * MIB else 64 * MIB
    return -(-value // unit) * unit


def _round_milli(value: int) -> int:
    unit = 10 if value < 1000 else 50
    return -(-value // unit) * unit


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 0.1 else f"{share * 100:.0f} %"


def _bound_json(bound: Bound) -> dict[str, Any]:
    return {
        "limit": bound.limit,
        "order_statistic": bound.statistic,
        "largest_seen": bound.observed,
        "windows": bound.windows,
        "effective_windows": bound.effective,
        "risk": round(bound.risk, 6),
        "confidence": bound.confidence,
        "margin": round(bound.margin, 4),
        "promise_reached": bound.reached,
    }
