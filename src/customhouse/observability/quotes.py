"""What one replica costs for an hour: its share of a machine, in parts that add up.

1. Without accelerators: vCPU and GiB at the region's unit rates (`rates`).
2. With accelerators: its share of the cheapest machine that fits, since what is left beside the accelerators cannot be
   sold to others. The share is the largest of (devices, vCPU, memory) over the machine's. It is shown as vCPU, GiB and
   accelerator at their rates, and the rest as `held with the accelerators`. Where the book prices the accelerator
   itself (Google's T4 and others), that price is added instead. A part of a device (a MIG profile, a share in percent)
   counts as that part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from customhouse._kit.frozen import quickly_made
from customhouse._kit.money import Money
from customhouse.core.cost import HOURS_PER_MONTH, Rate
from customhouse.core.devices import UNKNOWN_ACCELERATOR
from customhouse.core.podsets import PodSet
from customhouse.core.workload import Workload
from customhouse.observability.prices import BOOK_CURRENCY, Machine
from customhouse.observability.rates import GIB, VCPU, RateCard

GIB_BYTES = 2**30
HELD = "held with the accelerators"
MAX_QUOTES = 4096
"""Quotes that are remembered for a region; who asks chooses the sizes, so they are forgotten when there are more."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Demand:
    """What is priced: what one replica reserves (millicores, bytes, accelerators; a part of one as a fraction)."""

    cpu: int
    memory: int
    accelerators: int | Fraction = 0
    accelerator: str | None = None
    spot: bool = False
    unpriced: tuple[str, ...] = ()
    """What it asks for beside that, and that no price can be given for."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Part:
    """`quantity` units of one replica at a rate; `per_hour` is exact pico-units an hour of one replica."""

    item: str
    quantity: Fraction
    unit: str
    rate: Money
    per_hour: Fraction
    source: str


@quickly_made
@dataclass(frozen=True, slots=True)
class Quote:
    """The price of one replica for an hour in parts, what has no price, and the machine that accelerators sit in."""

    parts: tuple[Part, ...]
    unpriced: tuple[str, ...]
    machine: Machine | None = None

    def cost(self, hours: Fraction, replicas: int = 1) -> Money:
        """The sum of the rows for so many hours of so many replicas."""
        return Money(self.pico(hours, replicas), BOOK_CURRENCY)

    def pico(self, hours: Fraction, replicas: int = 1) -> int:
        """The same in pico-units."""
        return sum([lasting(part.per_hour, hours, replicas) for part in self.parts])


def demand(work: Workload) -> Demand:
    """What one replica of a workload with one set of pods reserves; of several sets, what one pod of each does."""
    if len(work.sets) == 1:
        return set_demand(work.sets[0])
    return Demand(work.cpu, work.memory, work.accelerators, work.accelerator, work.spot)


def set_demand(one: PodSet, needs: Sequence[tuple[str, Fraction | None]] = ()) -> Demand:
    """What one pod of a set reserves; `needs` are the (class, whole cards) of its device claims."""
    unpriced: list[str] = []
    wanted: dict[str, int | Fraction] = {}
    if one.accelerators:
        share, name = one.accelerator_share, one.accelerator or UNKNOWN_ACCELERATOR
        others = [other for other in one.accelerator_classes if other != name]
        if others:
            unpriced.append(f"accelerators of several classes in one pod ({', '.join([name, *others])})")
        elif share is None:
            devices = sorted({device for container in one.containers for device in container.devices})
            unpriced.append(f"{one.accelerators} × {', '.join(devices)}: which part of a device that is cannot be told")
        else:
            wanted[name] = share
    for name, number in needs:
        if number is None:
            unpriced.append(f"a claim of {name}: which part of a device that is cannot be told")
        elif number:
            wanted[name] = wanted.get(name, 0) + number
    if len(wanted) > 1:
        unpriced.append(f"accelerators of several classes in one pod ({', '.join(sorted(wanted))})")
        wanted = {}
    first = next(iter(wanted), None)
    return Demand(one.cpu, one.memory, 0 if first is None else wanted[first], first, one.spot, tuple(unpriced))


def quote(wanted: Demand, card: RateCard) -> Quote:
    """Steps 1 and 2: one replica for one hour. The same demand has the same quote for as long as the book is in use."""
    known = card.quotes.get(wanted)
    if isinstance(known, Quote):
        return known
    if len(card.quotes) >= MAX_QUOTES:
        card.quotes.clear()
    found = _quote(wanted, card)
    card.quotes[wanted] = found
    return found


def _quote(wanted: Demand, card: RateCard) -> Quote:
    parts: list[Part] = []
    unpriced: list[str] = list(wanted.unpriced)
    for item, size, whole, unit in (("cpu", wanted.cpu, 1000, VCPU), ("memory", wanted.memory, GIB_BYTES, GIB)):
        rate = card.rate(unit)
        if rate is None:
            unpriced.append(f"{unit}: no price in {card.provider} {card.region}")
        elif size:
            parts.append(_sized(item, size, whole, rate, card))
    if not wanted.accelerators:
        return Quote(tuple(parts), tuple(unpriced))
    name, count = wanted.accelerator or UNKNOWN_ACCELERATOR, wanted.accelerators
    if name == UNKNOWN_ACCELERATOR:
        unpriced.append(f"{count} × accelerator of an unnamed class")
        return Quote(tuple(parts), tuple(unpriced))
    stated = card.stated(name)
    if stated is not None:
        return Quote((*parts, part_of("accelerator", Fraction(count), stated)), tuple(unpriced))
    fitting = _cheapest(wanted, card, name)
    if fitting is None or unpriced:
        place = f"{card.provider} {card.region}"
        known = card.machines(name)
        why = f"no machine of {place} that has a price is large enough" if known else f"no price in {place}"
        return Quote(tuple(parts), (*unpriced, f"{count} × {name}: {why}"))
    machine, residual = fitting
    return Quote((*parts, *_share(wanted, machine, residual, parts)), (), machine)


def _sized(item: str, size: int, whole: int, rate: Rate, card: RateCard) -> Part:
    """The part of a quote for so many of which `whole` make a unit."""
    known = card.parts.get((item, size))
    if isinstance(known, Part):
        return known
    if len(card.parts) >= MAX_QUOTES:
        card.parts.clear()
    found = part_of(item, Fraction(size, whole), rate)
    card.parts[item, size] = found
    return found


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
        shares.append(Fraction(wanted.accelerators) / machine.devices)
    return max(shares)


def _share(wanted: Demand, machine: Machine, residual: Rate, reserved: Sequence[Part]) -> tuple[Part, ...]:
    share = machine_share(wanted, machine)
    price = machine.rate.per_hour
    month = rounded(Fraction(price.pico * HOURS_PER_MONTH)).rounded()
    text = f"{share} of {machine.name} at {price} USD/h (whole machine {month} USD a month)"
    accelerator = Part(
        "accelerator",
        Fraction(wanted.accelerators),
        residual.unit,
        residual.per_hour,
        Fraction(wanted.accelerators) * residual.per_hour.pico,
        f"{residual.source}; {text}",
    )
    rest = share * price.pico - accelerator.per_hour - sum((part.per_hour for part in reserved), Fraction(0))
    if rest <= 0:  # the pico-units by which the rates were rounded
        return (accelerator,)
    return (accelerator, Part(HELD, Fraction(1), "share", rounded(rest), rest, text))


def part_of(item: str, quantity: Fraction, rate: Rate) -> Part:
    """One row of a quote."""
    return Part(item, quantity, rate.unit, rate.per_hour, quantity * rate.per_hour.pico, rate.source)


def rounded(pico: Fraction) -> Money:
    """Half to even, to the pico-unit."""
    return Money(round(pico), BOOK_CURRENCY)


def lasting(per_hour: Fraction, hours: Fraction, replicas: int) -> int:
    """Pico-units of so many hours of so many replicas: `round(per_hour * hours * replicas)` without its fractions.

    Half to even like `round`; to reduce each fraction on the way would take longer than the rest of an estimate.
    """
    below = per_hour.denominator * hours.denominator
    quotient, rest = divmod(per_hour.numerator * hours.numerator * replicas, below)
    rest *= 2
    return quotient + (rest > below or (rest == below and quotient % 2))


def row_of(part: Part, replicas: int, hours: Fraction, note: str, component: str) -> dict[str, Any]:
    """One row of a breakdown: what so many replicas cost for so many hours, as decimal text."""
    return {
        **({"component": component} if component else {}),
        "item": part.item,
        "quantity": _decimal(part.quantity, replicas),
        "unit": part.unit,
        "hours": _decimal(hours),
        "rate": str(part.rate),
        "monthly": str(Money(lasting(part.per_hour, hours, replicas), BOOK_CURRENCY)),
        "source": part.source + note,
    }


def _decimal(value: Fraction, count: int = 1) -> str:
    """So many times a number with at most six decimal places, for reading; the amounts beside it are exact."""
    scaled = lasting(value, Fraction(10**6), count)
    return f"{scaled // 10**6}.{scaled % 10**6:06d}".rstrip("0").rstrip(".")
