"""Charges: Usage × Rates, exact to the pico-unit.

The rule, numbered as in the code. For every row of Usage:

1. CPU: max(requested, used). A millicore-millisecond and a microsecond of CPU are the same amount of work (10^-6 core
   seconds), so the two are compared as they are. Rate: one vCPU hour.
2. Memory: max(requested, the peak of a replica × replica time), in byte milliseconds. Rate: one GiB hour.
3. Accelerators: replica time × accelerators of the class; what is reserved cannot be used by others. Rate: one hour.
4. What has no rate is a row of category `unpriced` with amount 0; it names itself in its label
   `customhouse.dev/unpriced`, so that it can be seen and never passes for free.
5. All amounts are exact fractions. The total of the interval is rounded once, half to even; every row gets the whole
   pico-units of its fraction, and those that are left go to the largest remainders (ties: in the order of resource,
   release, category). So the rows add up to the total exactly, and the order of the Usage does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from customhouse._kit.money import Money, total
from customhouse.core.cost import Charge, Usage
from customhouse.core.resource import PREFIX, ResourceRef
from customhouse.observability.prices import BOOK_CURRENCY
from customhouse.observability.rates import GIB, VCPU, RateCard

UNPRICED_LABEL = PREFIX + "unpriced"
COMPUTE, MEMORY, ACCELERATOR, UNPRICED = "compute", "memory", "accelerator", "unpriced"
_CORE_HOUR = 3600 * 10**6
"""Microseconds of CPU in a vCPU hour."""
_GIB_HOUR = 2**30 * 3600 * 1000
"""Byte milliseconds in a GiB hour."""
_HOUR = 3600 * 1000


@dataclass(frozen=True, slots=True)
class Owner:
    """What a release's Charges are keyed by besides the resource: the artifact's digest and the declared labels."""

    artifact: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Share:
    row: Usage
    category: str
    pico: Fraction
    note: str = ""


def allocate(
    rows: Iterable[Usage],
    card: RateCard,
    owners: Mapping[tuple[ResourceRef, str], Owner] | None = None,
    *,
    spot: RateCard | None = None,
    spot_releases: frozenset[tuple[ResourceRef, str]] = frozenset(),
) -> tuple[Charge, ...]:
    """The Charges of Usage rows, by interval, resource, release and category.

    `card` has the unit rates; `spot` those for `spot_releases`. A row (resource, release, start, end) must come once.
    """
    by_interval: dict[tuple[datetime, datetime], list[_Share]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r.start, r.end, r.resource, r.release)):
        rates = spot if spot is not None and (row.resource, row.release) in spot_releases else card
        by_interval[row.start, row.end].extend(_shares(row, rates))
    known = owners or {}
    charges: list[Charge] = []
    for shares in by_interval.values():
        for share, pico in zip(shares, _whole([share.pico for share in shares]), strict=True):
            row = share.row
            owner = known.get((row.resource, row.release), Owner())
            labels = {**owner.labels, UNPRICED_LABEL: share.note} if share.note else dict(owner.labels)
            amount = Money(pico, BOOK_CURRENCY)
            charges.append(
                Charge(row.resource, row.release, owner.artifact, row.start, row.end, share.category, amount, labels)
            )
    return tuple(charges)


def charges_total(charges: Iterable[Charge], currency: str = BOOK_CURRENCY) -> Money:
    """The exact sum. Raises MoneyError when currencies are mixed."""
    return total((charge.amount for charge in charges), currency)


def unit_cost(amount: Money, count: int, per: int = 1000) -> Money | None:
    """The cost of `per` predictions (or tokens, or runs) when `count` of them cost `amount`; None for no count."""
    return None if count <= 0 else amount.scale(per, count)


def by_label(charges: Iterable[Charge], label: str) -> dict[str, Money]:
    """Charges by the value of a label, empty text for those without; the values add up to the total."""
    sums: dict[str, Money] = {}
    for charge in charges:
        value = charge.labels.get(label, "")
        sums[value] = sums[value] + charge.amount if value in sums else charge.amount
    return dict(sorted(sums.items()))


def _shares(row: Usage, card: RateCard) -> list[_Share]:
    missing: list[str] = []
    found: list[_Share] = []
    cpu = max(row.cpu_request_millicore_milliseconds, row.cpu_used_microseconds)  # step 1
    memory = max(  # step 2
        row.memory_request_byte_milliseconds, row.memory_peak_bytes * row.replica_milliseconds
    )
    for category, unit, quantity, hour in ((COMPUTE, VCPU, cpu, _CORE_HOUR), (MEMORY, GIB, memory, _GIB_HOUR)):
        rate = card.rate(unit)
        if rate is not None:
            found.append(_Share(row, category, Fraction(quantity * rate.per_hour.pico, hour)))
        elif quantity:
            missing.append(unit)
    accelerators = Fraction(0)
    for name, milliseconds in sorted(row.gpu_milliseconds.items()):  # step 3
        rate = card.rate(name)
        if rate is not None:
            accelerators += Fraction(milliseconds * rate.per_hour.pico, _HOUR)
        elif milliseconds:
            missing.append(name)
    if accelerators:
        found.append(_Share(row, ACCELERATOR, accelerators))
    if missing:  # step 4
        found.append(_Share(row, UNPRICED, Fraction(0), ", ".join(missing)))
    return found


def _whole(parts: list[Fraction]) -> list[int]:
    """Step 5: whole pico-units that add up to the rounded sum of the fractions."""
    floors = [part.numerator // part.denominator for part in parts]
    left = round(sum(parts, Fraction(0))) - sum(floors)
    order = sorted(range(len(parts)), key=lambda index: floors[index] - parts[index])
    for index in order[:left]:
        floors[index] += 1
    return floors
