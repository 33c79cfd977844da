"""What a declared workload will cost in a month of 730 hours, before anything runs.

1. Demand: what one replica reserves (requests), how many replicas, for how many hours (`runs` for Jobs).
2. Without accelerators: vCPU and GiB at the region's unit rates (`rates`).
3. With accelerators: its share of the cheapest machine that fits, since what is left beside the accelerators cannot be
   sold to others. The share is the largest of (devices, vCPU, memory) over the machine's. It is shown as vCPU, GiB and
   accelerator at their rates, and the rest as `held with the accelerators`. Where the book prices the accelerator
   itself (Google's T4 and others), that price is added instead.
4. Each row is rounded once to the pico-unit; a workload is the sum of its rows, a report the sum of its workloads.

What has no price is named in `unpriced`; it never counts as 0 silently. Sizes are requests against a machine's full
size: what Kubernetes keeps for itself is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from customhouse._kit.money import Money, total
from customhouse.core.change import Change
from customhouse.core.cost import HOURS_PER_MONTH, BudgetState, CostReport, Rate, WorkloadCost
from customhouse.core.errors import PriceError
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.core.workload import UNKNOWN_ACCELERATOR, Workload, workload
from customhouse.observability.prices import BOOK_CURRENCY, Machine, PriceBook, require_currency
from customhouse.observability.rates import GIB, VCPU, RateCard
from customhouse.observability.runs import run_time

GIB_BYTES = 2**30
MOST = Money.parse("1000000000", BOOK_CURRENCY)
"""More a month is no declaration but a mistake or an attack, and would not fit the numbers that Facts can carry."""
HELD = "held with the accelerators"


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


@dataclass(frozen=True, slots=True)
class Demand:
    """What is priced: what one replica reserves (millicores, bytes, whole accelerators) and on which capacity."""

    cpu: int
    memory: int
    accelerators: int = 0
    accelerator: str | None = None
    spot: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """`quantity` units of one replica at a rate; `per_hour` is exact pico-units an hour of one replica."""

    item: str
    quantity: Fraction
    unit: str
    rate: Money
    per_hour: Fraction
    source: str


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of one replica for an hour in parts, what has no price, and the machine that accelerators sit in."""

    parts: tuple[Part, ...]
    unpriced: tuple[str, ...]
    machine: Machine | None = None

    def cost(self, replica_hours: Fraction) -> Money:
        """The sum of the rows for so many replica hours."""
        return total((_round(part.per_hour * replica_hours) for part in self.parts), BOOK_CURRENCY)


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

    @property
    def delta(self) -> Money:
        """After − before."""
        after = self.after.monthly if self.after else Money.zero(BOOK_CURRENCY)
        return after - self.before.monthly if self.before else after


def demand(work: Workload) -> Demand:
    """Step 1 for one replica."""
    return Demand(work.cpu, work.memory, work.accelerators, work.accelerator, work.spot)


def quote(wanted: Demand, card: RateCard) -> Quote:
    """Steps 2 and 3: one replica for one hour."""
    parts: list[Part] = []
    unpriced: list[str] = []
    for item, quantity, unit in (
        ("cpu", Fraction(wanted.cpu, 1000), VCPU),
        ("memory", Fraction(wanted.memory, GIB_BYTES), GIB),
    ):
        rate = card.rate(unit)
        if rate is None:
            unpriced.append(f"{unit}: no price in {card.provider} {card.region}")
        elif quantity:
            parts.append(_part(item, quantity, rate))
    if not wanted.accelerators:
        return Quote(tuple(parts), tuple(unpriced))
    name, count = wanted.accelerator or UNKNOWN_ACCELERATOR, wanted.accelerators
    if name == UNKNOWN_ACCELERATOR:
        unpriced.append(f"{count} × accelerator of an unnamed class")
        return Quote(tuple(parts), tuple(unpriced))
    stated = card.stated(name)
    if stated is not None:
        return Quote((*parts, _part("accelerator", Fraction(count), stated)), tuple(unpriced))
    fitting = _cheapest(wanted, card, name)
    if fitting is None or unpriced:
        place = f"{card.provider} {card.region}"
        known = card.machines(name)
        why = f"no machine of {place} that has a price is large enough" if known else f"no price in {place}"
        return Quote(tuple(parts), (*unpriced, f"{count} × {name}: {why}"))
    machine, residual = fitting
    return Quote((*parts, *_share(wanted, machine, residual, parts)), (), machine)


def workload_cost(
    work: Workload, book: PriceBook, settings: PriceSettings, manifest: Manifest | None = None
) -> WorkloadCost:
    """The cost of a workload a month: at its declared size, at the fewest and at the most replicas.

    `monthly` counts the declared minimum of replicas, one when that is 0 (scale to zero: `low` is then 0). `manifest`
    lets a Job state its schedule and run time; without it the assumptions of `settings` hold. Raises PriceError for a
    provider, region or currency that the book does not have and for a cost above `MOST`, DeclarationError for a broken
    annotation.
    """
    require_currency(settings.currency)
    card = RateCard(book, settings.provider, settings.region, spot=work.spot)
    quoted = quote(demand(work), card)
    unpriced = [*quoted.unpriced, *_unrequested(work), *_beside(work, manifest or {})]
    replicas, low, high = max(1, work.replicas_min), work.replicas_min, max(1, work.replicas_max)
    hours = hours_high = Fraction(HOURS_PER_MONTH)
    note = ""
    if work.batch:
        run = run_time(manifest or {}, assumed_hours=settings.job_hours, assumed_runs=settings.job_runs)
        hours, hours_high, note = run.hours, run.hours_high, f"; {run.how}"
    elif work.ref.kind == "DaemonSet":
        if settings.daemonset_nodes is None:
            unpriced.append("a DaemonSet runs on every node: their number is not set, one is counted")
        else:
            replicas = low = high = settings.daemonset_nodes
    most = quoted.cost(max(high, replicas) * hours_high)
    if most > MOST:
        raise PriceError(
            f"it would cost more than {MOST.rounded(0)} {BOOK_CURRENCY} a month",
            where=str(work.ref),
            hint="check its requests and replicas",
        )
    return WorkloadCost(
        resource=work.ref,
        monthly=quoted.cost(replicas * hours),
        low=quoted.cost(min(low, replicas) * hours),
        high=most,
        breakdown=tuple(_row(part, replicas, hours, note) for part in quoted.parts),
        unpriced=tuple(unpriced),
    )


def change_costs(changes: Iterable[Change], book: PriceBook, settings: PriceSettings) -> tuple[ChangeCost, ...]:
    """The cost of every changed workload before and after; objects that run nothing are left out."""
    found: list[ChangeCost] = []
    for change in changes:
        before, after = (_declared(side, book, settings) for side in (change.before, change.after))
        if before is not None or after is not None:
            declaration = change.after or change.before
            found.append(ChangeCost(change.ref, before, after, _labels(declaration), _labels(change.before)))
    return tuple(found)


def _labels(declaration: Declaration | None) -> dict[str, str]:
    metadata = declaration.manifest.get("metadata", {}) if declaration else {}
    return {str(key): str(value) for key, value in (metadata.get("labels") or {}).items()}


def report(
    changes: Iterable[Change], book: PriceBook, settings: PriceSettings, budgets: Sequence[BudgetState] = ()
) -> CostReport:
    """COST of a set of changes: before and after, and the range of the state after, with every workload after it."""
    return summary(change_costs(changes, book, settings), book, settings, budgets)


def summary(
    costs: Sequence[ChangeCost], book: PriceBook, settings: PriceSettings, budgets: Sequence[BudgetState] = ()
) -> CostReport:
    """The report of costs that are already known. Totals are the exact sums of its workloads."""
    after = [cost.after for cost in costs if cost.after is not None]
    unpriced = [f"{cost.resource}: {item}" for cost in after for item in cost.unpriced]
    unpriced += [f"{cost.ref} (before): {item}" for cost in costs if cost.before for item in cost.before.unpriced]
    return CostReport(
        currency=settings.currency,
        book=book.reference(settings.provider, settings.region),
        before=total((cost.before.monthly for cost in costs if cost.before), settings.currency),
        after=total((cost.monthly for cost in after), settings.currency),
        low=total((cost.low for cost in after), settings.currency),
        high=total((cost.high for cost in after), settings.currency),
        workloads=tuple(after),
        budgets=tuple(budgets),
        unpriced=tuple(unpriced),
        workloads_before={cost.ref: cost.before.monthly for cost in costs if cost.before is not None},
    )


def _declared(declaration: Declaration | None, book: PriceBook, settings: PriceSettings) -> WorkloadCost | None:
    if declaration is None:
        return None
    work = workload(declaration.manifest, declaration.ref)
    return None if work is None else workload_cost(work, book, settings, declaration.manifest)


def _cheapest(wanted: Demand, card: RateCard, name: str) -> tuple[Machine, Rate] | None:
    """The machine on which the share costs least; ties go to the smaller price, then the name."""
    fitting = [machine for machine in card.machines(name) if machine_share(wanted, machine) <= 1]
    for machine in sorted(
        fitting,
        key=lambda m: (machine_share(wanted, m) * m.rate.per_hour.pico, m.rate.per_hour.pico, m.name),
    ):
        residual = card.residual(machine)
        if residual is not None:
            return machine, residual
    return None


def machine_share(wanted: Demand, machine: Machine) -> Fraction:
    """The part of a machine that one replica takes from others: its largest part of devices, vCPU and memory.

    Above 1: it does not fit.
    """
    shares = [
        Fraction(wanted.cpu, 1000 * machine.vcpu),
        Fraction(wanted.memory, machine.memory_mib * 2**20),
    ]
    if wanted.accelerators:
        if not machine.devices:
            return Fraction(2)
        shares.append(Fraction(wanted.accelerators, machine.devices))
    return max(shares)


def _share(wanted: Demand, machine: Machine, residual: Rate, reserved: Sequence[Part]) -> tuple[Part, ...]:
    share = machine_share(wanted, machine)
    price = machine.rate.per_hour
    month = _round(Fraction(price.pico * HOURS_PER_MONTH)).rounded()
    text = f"{share} of {machine.name} at {price} USD/h (whole machine {month} USD a month)"
    accelerator = Part(
        "accelerator",
        Fraction(wanted.accelerators),
        residual.unit,
        residual.per_hour,
        Fraction(wanted.accelerators * residual.per_hour.pico),
        f"{residual.source}; {text}",
    )
    rest = share * price.pico - accelerator.per_hour - sum((part.per_hour for part in reserved), Fraction(0))
    if rest <= 0:  # the pico-units by which the rates were rounded
        return (accelerator,)
    return (accelerator, Part(HELD, Fraction(1), "share", _round(rest), rest, text))


def _unrequested(work: Workload) -> list[str]:
    running = [container for container in work.containers if not container.init]
    found = [f"container {c.name or c.pointer}: no cpu request" for c in running if not c.cpu_request]
    found += [f"container {c.name or c.pointer}: no memory request" for c in running if not c.memory_request]
    return found if running else ["no container declares what it needs"]


def _beside(work: Workload, manifest: Manifest) -> list[str]:
    """Pods of an InferenceService that are more than the predictor's replicas, by which everything is priced."""
    spec = manifest.get("spec")
    if work.ref.kind != "InferenceService" or not isinstance(spec, Mapping):
        return []
    found = []
    for name in ("transformer", "explainer"):
        component = spec.get(name)
        if isinstance(component, Mapping):
            counts = [component.get(key) for key in ("minReplicas", "maxReplicas")]
            most = max((count for count in counts if isinstance(count, int)), default=1)
            if most > work.replicas_max:
                found.append(f"{name}: {most} replicas, more than the {work.replicas_max} of the predictor")
    worker = work.pod.get("workerSpec")
    if isinstance(worker, Mapping):
        for key, most in (("size", 1), ("pipelineParallelSize", 2)):
            count = worker.get(key)
            if isinstance(count, int) and count > most:
                found.append(f"workerSpec: {key} {count}, one worker is counted")
    return found


def _part(item: str, quantity: Fraction, rate: Rate) -> Part:
    return Part(item, quantity, rate.unit, rate.per_hour, quantity * rate.per_hour.pico, rate.source)


def _row(part: Part, replicas: int, hours: Fraction, note: str) -> dict[str, Any]:
    return {
        "item": part.item,
        "quantity": _text(part.quantity * replicas),
        "unit": part.unit,
        "hours": _text(hours),
        "rate": str(part.rate),
        "monthly": str(_round(part.per_hour * replicas * hours)),
        "source": part.source + note,
    }


def _round(pico: Fraction) -> Money:
    return Money(round(pico), BOOK_CURRENCY)


def _text(value: Fraction) -> str:
    """At most six decimal places, for reading; the amounts beside it are exact."""
    scaled = round(value * 10**6)
    return f"{scaled // 10**6}.{scaled % 10**6:06d}".rstrip("0").rstrip(".")
