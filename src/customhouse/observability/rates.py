"""Unit rates of a region: what one vCPU, one GiB and one accelerator cost for an hour, and how that was found.

Clouds price machines; workloads ask for units. The split is a convention, so it is written down here and in the
`source` of every Rate. Numbered as in the code:

1. A unit price that the book states (Google's tables, one's own machines) is taken as it is.
2. vCPU and GiB: over the priced machines of the reference families (compute-, general- and memory-optimised of one
   generation, so that only the memory per vCPU differs) fit `price per vCPU = c + m × GiB per vCPU` by least squares in
   exact fractions. c is the vCPU rate, m the GiB rate. A region without these families uses all its machines without
   accelerators.
3. When that fit is not usable (one ratio only, or a coefficient not above 0) every machine's price is split as
   1 vCPU : 1 GiB = 7.46 : 1 (Google's n2 prices, 0.031611 : 0.004237) and the mean is taken.
4. Accelerator: (machine's price − vCPU × c − GiB × m) / devices, of the machine of that class whose price per whole
   accelerator is lowest; parts of an accelerator (a sixth of an A10) are not taken, since no pod can ask for one. Not
   above 0 is no rate: unpriced.

All fractions are exact; the Rate is rounded once, half to even, to the pico-unit. Everything after it is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from weakref import WeakKeyDictionary

from customhouse._kit.money import Money
from customhouse.core.cost import Rate
from customhouse.observability.hardware import price_class
from customhouse.observability.prices import BOOK_CURRENCY, ON_DEMAND, PREEMPTIBLE, Machine, PriceBook

VCPU, GIB = "vcpu", "GiB"
_MIB_PER_GIB = 1024
_FALLBACK_RATIO = Fraction(31611, 4237)
_REFERENCE: Mapping[str, tuple[str, str]] = {
    "aws": (r"[cmr]7i\.\d*x?large", "c7i, m7i, r7i"),
    "azure": (r"Standard_(D|E)\d+s_v5|Standard_F\d+s_v2", "Fsv2, Dsv5, Esv5"),
}


@dataclass(frozen=True, slots=True)
class _Split:
    """Rates of one vCPU and one GiB as exact pico-units an hour, and how they were found."""

    vcpu: Fraction
    gib: Fraction
    how: str
    as_of: str


@dataclass(slots=True)
class _Found:
    """What was found out about one region of one book; a book does not change."""

    rates: dict[str, Rate | None] = field(default_factory=dict)
    machines: dict[str, tuple[Machine, ...]] = field(default_factory=dict)
    split: _Split | None = None
    tried: bool = False
    quotes: dict[object, object] = field(default_factory=dict)
    parts: dict[object, object] = field(default_factory=dict)


_FOUND: WeakKeyDictionary[PriceBook, dict[tuple[str, str, bool], _Found]] = WeakKeyDictionary()
"""To find a region's rates takes milliseconds of exact fractions, and admission asks thousands of times a second."""


class RateCard:
    """The unit rates of one region. `spot` asks for interruptible prices; the book must have them.

    `spot_priced` says whether it has: when not, on-demand prices are used and the sources say so.
    """

    def __init__(self, book: PriceBook, provider: str, region: str, *, spot: bool = False) -> None:
        cards = _FOUND.setdefault(book, {})
        key = (provider, region, spot)
        if key not in cards:
            book.require(provider, region)
            cards[key] = _Found()
        self._found = cards[key]
        self.quotes = self._found.quotes
        """What was quoted at these rates, by demand (`observability.quotes`)."""
        self.parts = self._found.parts
        """What so many millicores or bytes cost, as parts of quotes: a fleet has a few hundred sizes."""
        self.book, self.provider, self.region = book, provider, region
        self.spot_priced = spot and book.has_spot(provider, region)
        self.pricing = PREEMPTIBLE if self.spot_priced else ON_DEMAND
        self._note = "; no spot price in the book, on-demand taken" if spot and not self.spot_priced else ""

    def rate(self, unit: str) -> Rate | None:
        """The rate of `vcpu`, `GiB` or an accelerator class; None is unpriced."""
        unit = price_class(unit)
        if unit not in self._found.rates:
            split = self._reserved if unit in (VCPU, GIB) else self._accelerator
            self._found.rates[unit] = self.stated(unit) or split(unit)
        return self._found.rates[unit]

    def stated(self, unit: str) -> Rate | None:
        """The rate that the book states itself, without splitting a machine's price (step 1)."""
        found = self.book.unit(price_class(unit), self.provider, self.region, self.pricing)
        return None if found is None else self._noted(found)

    def machines(self, accelerator: str) -> tuple[Machine, ...]:
        """The machines that carry whole accelerators of a class, with a price."""
        name = price_class(accelerator)
        if name not in self._found.machines:
            found = self.book.machines(self.provider, self.region, self.pricing, accelerator=name)
            self._found.machines[name] = tuple(machine for machine in found if machine.share == "1")
        return self._found.machines[name]

    def residual(self, machine: Machine) -> Rate | None:
        """Step 4 for one machine: the rate of one of its accelerators; None when it has none or nothing is left."""
        vcpu, gib = self.rate(VCPU), self.rate(GIB)
        if vcpu is None or gib is None or not machine.devices or machine.accelerator is None:
            return None
        reserved = machine.vcpu * vcpu.per_hour.pico + Fraction(machine.memory_mib, _MIB_PER_GIB) * gib.per_hour.pico
        pico = _pico((machine.rate.per_hour.pico - reserved) / machine.devices)
        if pico <= 0:
            return None
        how = (
            f"{machine.name} {machine.rate.per_hour} USD/h less {machine.vcpu} vCPU at {vcpu.per_hour} and "
            f"{machine.memory_mib} MiB at {gib.per_hour} a GiB, over {machine.devices}{self._note}"
        )
        as_of = min(machine.rate.as_of, vcpu.as_of, gib.as_of)
        return self._made(machine.accelerator, pico, machine.name, as_of, how)

    def _accelerator(self, name: str) -> Rate | None:
        machines = sorted(
            self.machines(name), key=lambda m: (Fraction(m.rate.per_hour.pico, m.devices), m.devices, m.name)
        )
        return next((rate for machine in machines if (rate := self.residual(machine)) is not None), None)

    def _reserved(self, unit: str) -> Rate | None:
        if not self._found.tried:
            self._found.tried = True
            self._found.split = self._fit()
        if self._found.split is None:
            return None
        pico = _pico(self._found.split.vcpu if unit == VCPU else self._found.split.gib)
        how = self._found.split.how + self._note
        return None if pico <= 0 else self._made(unit, pico, "", self._found.split.as_of, how)

    def _fit(self) -> _Split | None:
        pattern, families = _REFERENCE.get(self.provider, ("", ""))
        place = (self.provider, self.region, self.pricing)
        chosen = self.book.machines(*place, pattern=pattern) if pattern else ()
        if not chosen:
            chosen, families = self.book.machines(*place), "all machines without accelerators"
        return _split(chosen, families) if chosen else None

    def _made(self, unit: str, pico: int, sku: str, as_of: str, how: str) -> Rate:
        return Rate(unit, Money(pico, BOOK_CURRENCY), self.provider, self.region, sku, as_of, how)

    def _noted(self, rate: Rate) -> Rate:
        return self._made(rate.unit, rate.per_hour.pico, rate.sku, rate.as_of, rate.source + self._note)


def _split(chosen: Sequence[Machine], families: str) -> _Split:
    """Steps 2 and 3 over at least one machine."""
    as_of = min(machine.rate.as_of for machine in chosen)
    points = [
        (
            Fraction(machine.memory_mib, _MIB_PER_GIB * machine.vcpu),
            Fraction(machine.rate.per_hour.pico, machine.vcpu),
        )
        for machine in chosen
    ]
    count = len(points)
    mean_x, mean_y = sum((x for x, _ in points), Fraction(0)) / count, sum((y for _, y in points), Fraction(0)) / count
    spread = sum(((x - mean_x) ** 2 for x, _ in points), Fraction(0))
    if spread:
        slope = sum(((x - mean_x) * (y - mean_y) for x, y in points), Fraction(0)) / spread
        intercept = mean_y - slope * mean_x
        if slope > 0 and intercept > 0:
            return _Split(intercept, slope, f"least squares over {count} machines ({families}) [rates step 2]", as_of)
    gib = sum((y / (_FALLBACK_RATIO + x) for x, y in points), Fraction(0)) / count
    how = f"1 vCPU : 1 GiB = 7.46 : 1 over {count} machines ({families}) [rates step 3]"
    return _Split(gib * _FALLBACK_RATIO, gib, how, as_of)


def _pico(value: Fraction) -> int:
    """Half to even; may be negative."""
    return round(value)
