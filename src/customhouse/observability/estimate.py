"""What a declared object will cost in a month of 730 hours, before anything runs.

1. Demand: for every set of alike pods what one reserves (requests), how many there are, for how many hours (`runs` for
   batch work). An autoscaler of the same state gives the range of its target: of replicas, of their size, or of both.
2. A replica's hour is quoted in parts (`quotes`); disks and traffic are added (`holdings`).
3. Both ends of a replica's price (`pricedsets`): smallest and largest, cheapest and dearest place, spot and on demand.
4. Each row is rounded once to the pico-unit; a workload is the sum of its rows, a report the sum of its workloads.

What has no price is named in `unpriced`, what the figure does not hold in `uncounted`; neither ever counts as 0
silently. Sizes are requests against a machine's full size: what Kubernetes keeps for itself is not counted. Budgets
count `monthly`: the declared minimum of replicas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from customhouse._kit.frozen import quickly_made
from customhouse._kit.money import Money, total
from customhouse.core.beside import NOTHING, Beside, ReplicaRange
from customhouse.core.change import Change
from customhouse.core.claims import managed_needs
from customhouse.core.cost import HOURS_PER_MONTH, BudgetState, CostReport, WorkloadCost
from customhouse.core.errors import PriceError
from customhouse.core.fields import look, mapping, text
from customhouse.core.kinds import kind_of
from customhouse.core.podsets import pod_sets
from customhouse.core.queues import GROUP, Queues, cluster_queue
from customhouse.core.resource import PREFIX, Declaration, Manifest, ResourceRef
from customhouse.core.sizes import Sizes
from customhouse.core.workload import Workload, workload
from customhouse.observability.holdings import (
    Held,
    claim,
    disks_of,
    egress,
    held_cost,
    machines,
    monthly_row,
    positive,
)
from customhouse.observability.interrupted import ExpectedInterruption
from customhouse.observability.pricedsets import PricedSet, Terms, price_set
from customhouse.observability.prices import BOOK_CURRENCY, PriceBook, require_currency
from customhouse.observability.quotes import (
    HELD,
    Demand,
    Part,
    Quote,
    demand,
    machine_share,
    quote,
    rounded,
    row_of,
)
from customhouse.observability.rates import RateCard
from customhouse.observability.room import pool_ceiling, quota_ceiling
from customhouse.observability.runs import RunTime, run_time
from customhouse.observability.unseen import elsewhere, steps

__all__ = [
    "HELD",
    "ChangeCost",
    "Demand",
    "PriceSettings",
    "Quote",
    "change_costs",
    "declared_cost",
    "demand",
    "machine_share",
    "quote",
    "report",
    "summary",
    "workload_cost",
]

_ALWAYS = RunTime(Fraction(HOURS_PER_MONTH), Fraction(HOURS_PER_MONTH), "")
MOST = Money.parse("1000000000", BOOK_CURRENCY)
"""More a month is no declaration but a mistake or an attack, and would not fit the numbers that Facts can carry."""
TOKENS = PREFIX + "throughput-tokens-per-second"
PREDICTIONS = PREFIX + "throughput-predictions-per-second"
"""Annotations: what one replica was measured to do. Prices of a million tokens and a thousand predictions follow."""


@dataclass(frozen=True, slots=True)
class PriceSettings:
    """Where workloads run, and what is assumed of those that do not say."""

    provider: str = "aws"
    region: str = "us-east-1"
    currency: str = BOOK_CURRENCY
    job_hours: Fraction = Fraction(1)
    """Hours of one run of a Job without activeDeadlineSeconds and expected duration."""
    job_runs: int = 1
    """Runs a month of a Job that does not say."""
    daemonset_nodes: int | None = None
    """Nodes that a DaemonSet runs on; unknown is unpriced beyond the first."""
    interruptions: tuple[ExpectedInterruption, ...] = ()
    """How often spot machines are expected to be taken away; the first that matches counts."""


@quickly_made
@dataclass(frozen=True, slots=True)
class ChangeCost:
    """The monthly cost of one changed workload before and after; None where it does not exist."""

    ref: ResourceRef
    before: WorkloadCost | None
    after: WorkloadCost | None
    labels: Mapping[str, str]
    """Those after the change; of a deletion, those before."""
    labels_before: Mapping[str, str] | None = None
    """Those before it, None when they are the same: with its labels a workload changes its budgets."""
    cause: ResourceRef | None = None
    """The changed object by which this one, unchanged itself, costs otherwise (its autoscaler)."""

    def caused_by(self, cause: ResourceRef | None) -> ChangeCost:
        """The same with its cause."""
        return replace(self, cause=cause)

    @property
    def delta(self) -> Money:
        """After − before."""
        after = self.after.monthly if self.after else Money.zero(BOOK_CURRENCY)
        return after - self.before.monthly if self.before else after


def workload_cost(
    work: Workload,
    book: PriceBook,
    settings: PriceSettings,
    manifest: Manifest | None = None,
    around: Beside = NOTHING,
    *,
    explained: bool = True,
) -> WorkloadCost:
    """The cost of a workload a month: at its declared size, at the fewest and at the most replicas.

    `monthly` counts the declared minimum of replicas, one when that is 0 (scale to zero: `low` is then 0). `manifest`
    lets a Job state its schedule and run time; without it the assumptions of `settings` hold. `around` is what the
    other objects of the same state say. `explained` False leaves the rows of the breakdown out: admission, which asks
    thousands of times a second, shows none. Raises PriceError for a provider, region or currency that the book does not
    have and for a cost above `MOST`, DeclarationError for a broken annotation.
    """
    require_currency(settings.currency)
    manifest = manifest or {}
    card = RateCard(book, settings.provider, settings.region)
    unpriced: list[str] = []
    uncounted: list[str] = []
    scaled = None if work.batch else around.range_of(work.ref)
    sized = around.sizes_of(work.ref)
    landing = around.queues.landing(manifest, work.ref, work.sets) if around.queues.any else None
    terms = Terms(card, around, managed_needs(manifest, work.ref), landing, unpriced, uncounted, settings.interruptions)
    priced = [price_set(number, work, terms) for number in range(len(work.sets))]  # steps 1 and 2
    if not priced:
        unpriced.append("no container declares what it needs")
    run = _ALWAYS
    if work.batch:
        run = run_time(manifest, assumed_hours=settings.job_hours, assumed_runs=settings.job_runs)
        if any(look(template, "/withParam") or look(template, "/withSequence") for template in steps(manifest)):
            uncounted.append("steps that repeat over a list: each is counted once")
    row = kind_of(work.ref.api_version, work.ref.kind)
    if row is not None and row.per_node:
        if settings.daemonset_nodes is None:
            unpriced.append("a DaemonSet runs on every node: their number is not set, one is counted")
        else:
            nodes = settings.daemonset_nodes
            priced = [replace(one, low=nodes, usual=nodes, high=nodes) for one in priced]
    disks, traffic = disks_of(work, manifest, card, around), egress(manifest, card)
    uncounted += [*disks.uncounted, *traffic.uncounted, *elsewhere(manifest, work)]
    lead = priced[0] if priced else None
    counts = (lead.low, lead.usual, lead.high) if lead else (1, 1, 1)
    fixed = held_cost(traffic, 1).pico
    monthly = sum([one.quoted.pico(run.hours, one.usual) for one in priced])
    if run is _ALWAYS and all(one.low == one.usual == one.high and one.dear is one.cheap for one in priced):
        low = most = monthly  # most workloads have one size and one price
    else:
        # An end for which a book has no sensible price (spot above on-demand) moves neither end past what is declared.
        low = min(monthly, sum([one.cheap.pico(run.hours, 0 if run.suspended else one.low) for one in priced]))
        most = max(monthly, sum([one.dear.pico(run.hours_high, one.high) for one in priced]))
    amounts = [
        Money(pico + held_cost(disks, count).pico + fixed, BOOK_CURRENCY)
        for pico, count in zip((low, monthly, most), counts, strict=True)
    ]
    _check_most(amounts[2], work.ref)
    return WorkloadCost(
        resource=work.ref,
        monthly=amounts[1],
        low=amounts[0],
        high=amounts[2],
        breakdown=tuple(_rows(priced, run, disks, traffic, (scaled, sized))) if explained else (),
        unpriced=tuple(unpriced),
        uncounted=tuple(uncounted),
        replica=_dearest(priced, run, disks),
        per_million_tokens=_per_unit(manifest, TOKENS, 10**6, priced, unpriced),
        per_thousand_predictions=_per_unit(manifest, PREDICTIONS, 1000, priced, unpriced),
    )


def _rows(
    priced: Sequence[PricedSet],
    run: RunTime,
    disks: Held,
    traffic: Held,
    scalers: Iterable[ReplicaRange | Sizes | None],
) -> Iterable[dict[str, Any]]:
    note = f"; {run.how}" if run.how else ""
    note += "".join(f"; {scaler.source}" for scaler in scalers if scaler)
    for one in priced:
        why = f"{note}; {one.place}" if one.place else note
        for part in one.quoted.parts:
            yield row_of(part, one.usual, run.hours, why, one.one.name if len(priced) > 1 else "")
    yield from (monthly_row(item, priced[0].usual if priced else 1) for item in disks.holdings)
    yield from (monthly_row(item, 1) for item in traffic.holdings)


def declared_cost(
    declaration: Declaration,
    book: PriceBook,
    settings: PriceSettings,
    around: Beside = NOTHING,
    *,
    explained: bool = True,
) -> WorkloadCost | None:
    """The cost of any object: pods of known and unknown kinds, disks, machines; None for what costs nothing itself."""
    manifest, ref = declaration.manifest, declaration.ref
    work = workload(manifest, ref)
    if work is not None:
        return workload_cost(work, book, settings, manifest, around, explained=explained)
    require_currency(settings.currency)
    card = RateCard(book, settings.provider, settings.region)
    group = ref.api_version.rpartition("/")[0]
    if ref.kind == "PersistentVolumeClaim" and not group:
        return _of_disk(ref, claim(manifest, card, around))
    if ref.kind == "NodePool" and group == "karpenter.sh":
        return _of_room(ref, *pool_ceiling(manifest, card))
    if group == GROUP and ref.kind in ("ClusterQueue", "LocalQueue"):
        return _of_queue(manifest, ref, card, around.queues)
    declared = machines(manifest, ref, card, around)
    if declared is not None:
        return _of_machines(ref, declared.low, declared.high, declared.price, declared.unpriced)
    row = kind_of(ref.api_version, ref.kind)
    if row is not None:
        return None
    return _of_unknown(manifest, ref, book, settings, around)


def change_costs(
    changes: Iterable[Change],
    book: PriceBook,
    settings: PriceSettings,
    before: Beside = NOTHING,
    after: Beside = NOTHING,
    *,
    explained: bool = True,
) -> tuple[ChangeCost, ...]:
    """The cost of every changed object before and after; objects that cost nothing by themselves are left out.

    `before` and `after` are what the other objects of the two states say; `explained` as in `workload_cost`.
    """
    found: list[ChangeCost] = []
    for change in changes:
        old, new = change.before, change.after
        was = None if old is None else declared_cost(old, book, settings, before, explained=explained)
        now = None if new is None else declared_cost(new, book, settings, after, explained=explained)
        if was is not None or now is not None:
            declaration = change.after or change.before
            found.append(ChangeCost(change.ref, was, now, _labels(declaration), _labels(change.before)))
    return tuple(found)


def rescaled_costs(
    changes: Sequence[Change],
    base: Iterable[Declaration],
    head: Iterable[Declaration],
    book: PriceBook,
    settings: PriceSettings,
    before: Beside,
    after: Beside,
) -> tuple[ChangeCost, ...]:
    """Objects that do not change themselves, but whose range, disk or device another object of the set changes."""
    changed = {change.ref for change in changes}
    old = {item.ref: item for item in base}
    found = []
    for item in head:
        if item.ref in changed or item.ref not in old or _same_around(item, before, after):
            continue
        was = declared_cost(old[item.ref], book, settings, before)
        now = declared_cost(item, book, settings, after)
        if was is not None and now is not None and was != now:
            found.append(ChangeCost(item.ref, was, now, _labels(item), _labels(old[item.ref])))
    return tuple(found)


def _same_around(item: Declaration, before: Beside, after: Beside) -> bool:
    return (
        before.range_of(item.ref) == after.range_of(item.ref)
        and before.sizes_of(item.ref) == after.sizes_of(item.ref)
        and before.claims == after.claims
        and before.queues == after.queues
        and before.disks == after.disks
        and before.machines == after.machines
    )


def _labels(declaration: Declaration | None) -> dict[str, str]:
    metadata = declaration.manifest.get("metadata", {}) if declaration else {}
    return {str(key): str(value) for key, value in (metadata.get("labels") or {}).items()}


def report(
    changes: Iterable[Change],
    book: PriceBook,
    settings: PriceSettings,
    budgets: Sequence[BudgetState] = (),
    around: Beside = NOTHING,
) -> CostReport:
    """COST of a set of changes: before and after, and the range of the state after, with every workload after it."""
    return summary(change_costs(changes, book, settings, around, around), book, settings, budgets)


def summary(
    costs: Sequence[ChangeCost], book: PriceBook, settings: PriceSettings, budgets: Sequence[BudgetState] = ()
) -> CostReport:
    """The report of costs that are already known. Totals are the exact sums of its workloads.

    What only makes room (node pools, quotas) is no part of the upper end: what runs there is, by itself.
    """
    after = [cost.after for cost in costs if cost.after is not None]
    unpriced = [f"{cost.resource}: {item}" for cost in after for item in (*cost.unpriced, *cost.uncounted)]
    unpriced += [f"{cost.ref} (before): {item}" for cost in costs if cost.before for item in cost.before.unpriced]
    return CostReport(
        currency=settings.currency,
        book=book.reference(settings.provider, settings.region),
        before=total((cost.before.monthly for cost in costs if cost.before), settings.currency),
        after=total((cost.monthly for cost in after), settings.currency),
        low=total((cost.low for cost in after), settings.currency),
        high=total((cost.monthly if cost.room else cost.high for cost in after), settings.currency),
        workloads=tuple(after),
        budgets=tuple(budgets),
        unpriced=tuple(unpriced),
        workloads_before={cost.ref: cost.before.monthly for cost in costs if cost.before is not None},
    )


def _dearest(priced: Sequence[PricedSet], run: RunTime, disks: Held) -> Money:
    """The most that one pod of any set costs a month."""
    most = max([one.dear.pico(run.hours_high) for one in priced], default=0)
    return Money(most + held_cost(disks, 1).pico, BOOK_CURRENCY)


def _per_unit(
    manifest: Manifest, name: str, units: int, priced: Sequence[PricedSet], unpriced: Sequence[str]
) -> Money | None:
    """What so many units cost: the whole workload's hour at its usual size over what its first set does in it."""
    given = mapping(mapping(manifest, "metadata", ""), "annotations", "/metadata").get(name)
    if given is None:
        return None
    throughput = positive(given, name)
    if unpriced or not priced:
        return None
    hour = sum((part.per_hour * one.usual for one in priced for part in one.quoted.parts), Fraction(0))
    return rounded(hour * units / (throughput * 3600 * max(1, priced[0].usual)))


def _of_disk(ref: ResourceRef, held: Held) -> WorkloadCost:
    cost = held_cost(held, 1)
    _check_most(cost, ref)
    rows = tuple(monthly_row(item, 1) for item in held.holdings)
    return WorkloadCost(ref, cost, cost, cost, rows, (), held.uncounted)


def _of_room(ref: ResourceRef, per_hour: Fraction | None, notes: tuple[str, ...]) -> WorkloadCost:
    """What runs there is priced itself: nothing as declared, all of it at most."""
    zero = Money.zero(BOOK_CURRENCY)
    most = zero if per_hour is None else rounded(per_hour * HOURS_PER_MONTH)
    _check_most(most, ref)
    return WorkloadCost(ref, zero, zero, most, (), (), notes, room=True)


def _of_queue(manifest: Manifest, ref: ResourceRef, card: RateCard, known: Queues) -> WorkloadCost:
    """The quota of a ClusterQueue, or that of the one that a LocalQueue leads to."""
    if ref.kind == "ClusterQueue":
        return _of_room(ref, *quota_ceiling(cluster_queue(manifest, ref.name), known, card))
    name = text(mapping(manifest, "spec", ""), "clusterQueue", "/spec")
    queue = known.cluster.get(name)
    if queue is None:
        return _of_room(ref, None, (f"its ClusterQueue {name} is not declared here",))
    return _of_room(ref, *quota_ceiling(queue, known, card))


def _of_machines(ref: ResourceRef, low: int, high: int, price: Any, unpriced: tuple[str, ...]) -> WorkloadCost:
    zero = Money.zero(BOOK_CURRENCY)
    if price is None:
        return WorkloadCost(ref, zero, zero, zero, (), unpriced)
    hours = Fraction(HOURS_PER_MONTH)
    part = Part("machine", Fraction(1), price.sku, price.per_hour, Fraction(price.per_hour.pico), price.source)
    most = rounded(part.per_hour * high * hours)
    _check_most(most, ref)
    monthly = rounded(part.per_hour * max(low, 0) * hours)
    row = row_of(part, low, hours, "; pods that run on it are priced by themselves too", "")
    return WorkloadCost(ref, monthly, monthly, most, (row,), unpriced, (), rounded(part.per_hour * hours))


def _of_unknown(
    manifest: Manifest, ref: ResourceRef, book: PriceBook, settings: PriceSettings, around: Beside
) -> WorkloadCost | None:
    """Pods in a kind that is not in the table, by what they say: the least that they will cost."""
    sets = pod_sets(manifest, ref.api_version, ref.kind)
    if not sets:
        return None
    work = Workload(
        ref, sets[0].pointer, sets[0].pod, tuple(c for one in sets for c in one.containers),
        sum(one.replicas_min for one in sets), sum(one.replicas_max for one in sets),
        None, False, False, (), sets,
    )  # fmt: skip
    cost = workload_cost(work, book, settings, manifest, around)
    # Its containers may be patches or patterns that ask for nothing: no reason to refuse, but one to say so.
    said = (f"{ref.kind} is not a kind that is known: its pods are counted by what they say", *cost.unpriced)
    return replace(cost, unpriced=(), uncounted=(*said, *cost.uncounted))


def _check_most(most: Money, ref: ResourceRef) -> None:
    if most > MOST:
        raise PriceError(
            f"it would cost more than {MOST.rounded(0)} {BOOK_CURRENCY} a month",
            where=str(ref),
            hint="check its requests and replicas",
        )
