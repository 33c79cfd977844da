"""`customhouse cost serverless`: what a workload costs on a trace of requests, always on and scaled by them.

Numbered: (1) the workload and what it declares of its scaling; (2) its replica's price from the book; (3) the trace;
(4) each way is played; (5) replica time times price, exactly, for the trace and for a month of such time; (6) the
cheapest, and the load at which the declared way costs what being always on costs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from customhouse._kit.money import Money
from customhouse.app.declared import declarations_of
from customhouse.app.gatekeeping import GateRequest, question
from customhouse.app.requesttrace import Durations, read_trace
from customhouse.app.settings import Settings
from customhouse.core.beside import beside
from customhouse.core.cost import HOURS_PER_MONTH, WorkloadCost
from customhouse.core.errors import UsageError
from customhouse.core.fields import mapping
from customhouse.core.kpa import ScaleRule
from customhouse.core.resource import PREFIX, Declaration, Manifest, ResourceRef
from customhouse.core.serverless import COOLDOWN_S, POLLING_S, TARGET_DEFAULT, Elastic, elastic
from customhouse.core.workload import workload
from customhouse.observability.estimate import PREDICTIONS, TOKENS, declared_cost
from customhouse.observability.holdings import positive
from customhouse.optimisation.scalers import Always, Autoscaler, Keda, Knative, Policy
from customhouse.optimisation.serverless import DAY_S, Outcome, Pod, Trace, fewest, scaled, simulate

COLD_START = PREFIX + "cold-start-seconds"
"""Annotation: seconds from the creation of a replica until it answers, as measured."""
_MONTH_MS = HOURS_PER_MONTH * 3600 * 1000
_LEVEL = 90
_RESAMPLES = 500
_MOST_FOR_BREAK_EVEN = 300_000
_STEPS = 12


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; None: as the workload says."""

    requests: str
    workload: str | None = None
    cold_s: float | None = None
    seconds: float | None = None
    at_a_time: int | None = None
    always_on: int | None = None
    longest_s: float = 1.0


def compare(settings: Settings, paths: Sequence[str], asked: Question) -> dict[str, Any]:
    """The document of `cost serverless`; amounts are decimal strings. Raises UsageError and what estimating raises."""
    found = question(settings, GateRequest(paths=tuple(paths)), spend=False)
    governing = found.governing
    trusted = governing.configuration.trusted_registries
    declared = declarations_of(found.tree, found.head, (), trusted=trusted)
    item, scaling, is_declared = _chosen(declared, asked.workload)  # (1)
    cost = declared_cost(item, governing.book, governing.prices, beside(declared))  # (2)
    if cost is None or cost.replica is None:
        raise UsageError(f"{item.ref} runs nothing that has a price", hint="name an object that declares pods")
    limit = asked.at_a_time if asked.at_a_time is not None else scaling.concurrency
    pod = Pod(_cold(item, asked), limit)
    trace = read_trace(asked.requests, _durations(item.manifest, limit, asked))  # (3)
    always = asked.always_on or fewest(trace, pod, asked.longest_s)
    ways = [_way(trace, name, how, pod, cost.replica) for name, how in _ways(scaling, always, limit)]  # (4), (5)
    declared_way = next(way for way in ways if way["way"] == scaling.how)
    declared_way["declared"] = is_declared
    for way in ways:
        way["in_time"] = way["delay"]["p99"] <= asked.longest_s
    return {
        "currency": governing.prices.currency,
        "book": governing.book.reference(governing.prices.provider, governing.prices.region).digest,
        "workload": str(item.ref),
        "replica_monthly": str(cost.replica),
        "unpriced": list(cost.unpriced),
        "requests": len(trace.arrivals),
        "span_seconds": round(trace.span, 3),
        "requests_per_second": round(len(trace.arrivals) / trace.span, 6),
        "cold_start_seconds": pod.cold_s,
        "at_a_time": limit,
        "longest_wait_seconds": asked.longest_s,
        "level": _LEVEL,
        "ways": ways,
        "cheapest": _cheapest(ways, cost),
        "cheapest_in_time": _cheapest([way for way in ways if way["in_time"]], cost),
        "break_even": _break_even(trace, pod, scaling, always),  # (6)
        "notes": [*_parts(item), *_notes(ways, trace, pod, cost)],
    }


def _chosen(declared: Sequence[Declaration], name: str | None) -> tuple[Declaration, Elastic, bool]:
    """The workload that is named, else the one that scales; how it does (as Knative would), and whether it says so."""
    running = [item for item in declared if _serves(item)]
    scaling: dict[ResourceRef, Elastic] = {}
    for item in declared:
        how = elastic(item.manifest, item.ref)
        if how is not None:
            kind, named = how.target or (item.ref.kind, item.ref.name)
            same = (one.ref for one in running if (one.ref.namespace, one.ref.kind) == (item.ref.namespace, kind))
            scaling.update({ref: how for ref in same if ref.name == named})
    chosen = [item for item in running if name in (item.ref.name, f"{item.ref.kind}/{item.ref.name}", str(item.ref))]
    if name is None:
        chosen = [item for item in running if item.ref in scaling] or running
    if len(chosen) != 1:
        said = ", ".join(str(item.ref) for item in (chosen or running)[:5]) or "none"
        raise UsageError(f"{len(chosen)} workloads could be meant: {said}", hint="name one: --workload KIND/NAME")
    found = scaling.get(chosen[0].ref)
    return chosen[0], found or _as_knative(chosen[0]), found is not None


def _serves(item: Declaration) -> bool:
    """Whether it runs pods that could answer requests: what ends by itself does not."""
    work = workload(item.manifest, item.ref)
    return work is not None and not work.batch


def _as_knative(item: Declaration) -> Elastic:
    """What Knative's defaults would make of a workload that does not scale by requests."""
    work = workload(item.manifest, item.ref)
    most = 0 if work is None or work.replicas_max <= work.replicas_min else work.replicas_max
    return Elastic("knative", ScaleRule(target=TARGET_DEFAULT * 0.7, maximum=most))


def _cold(item: Declaration, asked: Question) -> float:
    if asked.cold_s is not None:
        return asked.cold_s
    notes = mapping(mapping(item.manifest, "metadata", ""), "annotations", "/metadata")
    if COLD_START not in notes:
        raise UsageError(
            f"{item.ref} does not say how long a replica takes to start",
            hint=f"annotate it with {COLD_START} as measured, or give --cold-start SECONDS",
        )
    return float(positive(notes[COLD_START], COLD_START))


def _durations(manifest: Manifest, limit: int, asked: Question) -> Durations:
    """A replica's declared throughput is that of all it does at a time: a request has its part of it."""
    if asked.seconds is not None:
        return Durations(None, asked.seconds)
    notes = mapping(mapping(manifest, "metadata", ""), "annotations", "/metadata")
    lanes = max(1, limit)
    each = None if PREDICTIONS not in notes else lanes / float(positive(notes[PREDICTIONS], PREDICTIONS))
    if TOKENS not in notes:
        return Durations(None, each)
    rate = float(positive(notes[TOKENS], TOKENS))
    return Durations(lambda tokens: tokens * lanes / rate, each)


def _ways(scaling: Elastic, always: int, limit: int) -> Iterator[tuple[str, Policy]]:
    rule = scaling.rule
    if scaling.how == "keda":
        # What a trigger counts is its own; requests at a time stand for it, with the share of Knative's default.
        rule = replace(rule, target=(limit or TARGET_DEFAULT) * 0.7)
    keda = scaling if scaling.how.startswith("keda") else replace(scaling, polling_s=POLLING_S, cooldown_s=COOLDOWN_S)
    yield "always-on", Always(always)
    yield "knative", Knative(rule)
    yield "keda-http", Keda(rule, keda.polling_s, keda.cooldown_s, holding=True)
    yield "keda", Keda(rule, keda.polling_s, keda.cooldown_s, holding=False)
    yield "hpa", Autoscaler(rule)


def _way(trace: Trace, name: str, policy: Policy, pod: Pod, replica: Money) -> dict[str, Any]:
    first = policy.first
    done = simulate(trace, policy, pod)
    low, high = _interval(done, trace.span)
    return {
        "way": name,
        "declared": False,
        "replicas": first if name == "always-on" else None,
        "replica_seconds": done.replica_ms / 1000,
        "cost": str(replica.scale(done.replica_ms, _MONTH_MS)),
        "monthly": str(_monthly(replica, done.replica_ms, trace.span)),
        "monthly_low": None if low is None else str(_monthly(replica, low, DAY_S)),
        "monthly_high": None if high is None else str(_monthly(replica, high, DAY_S)),
        "at_zero": done.at_zero,
        "starts_from_zero": done.starts_from_zero,
        "late": done.late,
        "delay": {
            "p50": round(done.delay_p50, 3),
            "p99": round(done.delay_p99, 3),
            "max": round(done.delay_max, 3),
        },
        "peak": done.peak,
        "zero_seconds": round(done.zero_s, 3),
    }


def _monthly(replica: Money, replica_ms: int, span: float) -> Money:
    """`replica_ms` in `span` seconds, for a month of such time: mean replicas times a replica's month."""
    return replica.scale(replica_ms, round(span * 1000))


def _interval(done: Outcome, span: float) -> tuple[int | None, int | None]:
    """Replica milliseconds of a mean day of a month of 30 such days, by drawing days; None below two whole days."""
    days = done.daily_ms[: int(span // DAY_S)]
    if len(days) < 2:
        return None, None
    draw = random.Random(0)  # noqa: S311 - a resampling that anybody can repeat
    means = sorted(sum(draw.choices(days, k=30)) // 30 for _ in range(_RESAMPLES))
    tail = (100 - _LEVEL) / 200
    return means[round(tail * (_RESAMPLES - 1))], means[round((1 - tail) * (_RESAMPLES - 1))]


def _cheapest(ways: Sequence[dict[str, Any]], cost: WorkloadCost) -> str | None:
    """The way with the fewest replica seconds of those that hold what comes at zero; None where a price is missing."""
    held = [way for way in ways if way["way"] != "keda" or not way["at_zero"]]
    if cost.unpriced or not held:
        return None
    return str(min(held, key=lambda way: way["replica_seconds"])["way"])


def _break_even(trace: Trace, pod: Pod, scaling: Elastic, always: int) -> dict[str, Any]:
    """The load, as parts of the trace's, at which the scaled way takes as much replica time as the replicas always on.

    Below it scaling by requests is the cheaper one. A long trace is looked at by its day of median load.
    """
    day = _median_day(trace)
    paid = always * day.span * 1000

    def part(factor: float) -> float:
        policy = next(policy for name, policy in _ways(scaling, always, pod.at_a_time) if name == scaling.how)
        return simulate(scaled(day, factor), policy, pod).replica_ms / paid

    rate = len(day.arrivals) / day.span
    low, high = 1 / 1024, 8.0
    found: dict[str, Any] = {"way": scaling.how, "always_on": always, "factor": None, "requests_per_second": None}
    if part(low) >= 1 or part(high) < 1:
        return {**found, "always_cheaper": scaling.how if part(low) < 1 else "always-on"}
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        if part(middle) < 1:
            low = middle
        else:
            high = middle
    return {**found, "factor": round(low, 4), "requests_per_second": round(low * rate, 6), "always_cheaper": None}


def _median_day(trace: Trace) -> Trace:
    days = int(trace.span // DAY_S)
    if days < 2 and len(trace.arrivals) <= _MOST_FOR_BREAK_EVEN:
        return trace
    groups: list[list[int]] = [[] for _ in range(max(1, days))]
    for index, at in enumerate(trace.arrivals):
        day = int(at // DAY_S)
        if day < len(groups):
            groups[day].append(index)
    order = sorted(range(len(groups)), key=lambda day: len(groups[day]))
    day = order[len(order) // 2]
    chosen = groups[day]
    begun = day * DAY_S
    return Trace(
        [trace.arrivals[index] - begun for index in chosen],
        [trace.seconds[index] for index in chosen],
        min(float(DAY_S), trace.span),
    )


def _parts(item: Declaration) -> Iterator[str]:
    work = workload(item.manifest, item.ref)
    if work is not None and len(work.sets) > 1:
        yield f"of {len(work.sets)} sets of pods the dearest is scaled and priced; the others cost beside it"


def _notes(ways: Sequence[dict[str, Any]], trace: Trace, pod: Pod, cost: WorkloadCost) -> Iterator[str]:
    if trace.span < 2 * DAY_S:
        yield f"the trace is {trace.span / 3600:.1f} hours: a month of such hours is shown, and no interval"
    if not pod.at_a_time:
        yield "a replica takes any number of requests at a time: declare containerConcurrency, or give --at-a-time"
    if any(way["way"] == "keda" and way["at_zero"] for way in ways):
        yield "keda: what comes at zero must lie in a queue; over HTTP it fails, unless the add-on (keda-http) holds it"
    yield "a replica is paid from its creation; on machines of one's own it is saved only where they are used, or end"
    for item in cost.unpriced:
        yield f"unpriced, not free: {item}"
