"""What would be cheaper than a declared workload: facts for the reviewer, not advice.

Every alternative is priced by the same rules as the estimate (`estimate.quote`). It does not say that the model would
run there: so the accelerator memory is stated beside it, and the optimiser's measured proposals are another thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from customhouse._kit.money import Money
from customhouse.core.cost import HOURS_PER_MONTH
from customhouse.core.podsets import PodSet
from customhouse.core.resource import Manifest
from customhouse.core.workload import UNKNOWN_ACCELERATOR, Workload
from customhouse.observability.estimate import PriceSettings, workload_cost
from customhouse.observability.hardware import accelerator_memory_gib, price_class, same_platform
from customhouse.observability.prices import PriceBook, require_currency
from customhouse.observability.quotes import Demand, quote, set_demand
from customhouse.observability.rates import RateCard
from customhouse.observability.runs import run_time

LIMIT = 8
MUCH_CHEAPER = Fraction(9, 10)
"""Another region is named only when it costs at most this part of the present one: moving has its own cost."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to run a workload, and what it costs and saves a month at the declared size."""

    description: str
    monthly: Money
    saving: Money


def alternatives(
    work: Workload,
    book: PriceBook,
    settings: PriceSettings,
    allowed_classes: Sequence[str] | None = None,
    manifest: Manifest | None = None,
    *,
    other_regions: bool = True,
) -> tuple[Alternative, ...]:
    """Cheaper ways, the largest saving first, at most eight. Empty when the workload itself has no price.

    `allowed_classes` are the accelerator classes that its tier may use (None: all). Considered: fewer accelerators of
    the class, other classes (as many, and one), CPU and memory as declared; the fewest replicas that are more than
    none; interruptible capacity where the book has its price; the cheapest other region of the provider.
    """
    require_currency(settings.currency)
    if not work.sets:
        return ()
    # Of several sets the one with the accelerators is where money can be saved; the others go on as they are.
    one = next((item for item in work.sets if item.accelerators), work.sets[0])
    card = RateCard(book, settings.provider, settings.region, spot=one.spot)
    wanted = set_demand(one)
    replicas, hours = max(1, one.replicas_min), Fraction(HOURS_PER_MONTH)
    if work.batch:
        hours = run_time(manifest or {}, assumed_hours=settings.job_hours, assumed_runs=settings.job_runs).hours
    now = _price(wanted, card, replicas * hours)
    # An unnamed class has no price, but classes that have one are still worth naming.
    if now is None and wanted.accelerator != UNKNOWN_ACCELERATOR:
        return ()
    found: dict[str, list[Alternative]] = {}
    for kind, description, changed, count in _candidates(work, one, wanted, card, allowed_classes, replicas):
        _keep(found, kind, description, _price(changed, card, count * hours), now)
    if not one.spot:
        spot = RateCard(book, settings.provider, settings.region, spot=True)
        if spot.spot_priced:
            price = _price(replace(wanted, spot=True), spot, replicas * hours)
            _keep(found, "spot", "interruptible (spot) capacity instead of on-demand", price, now)
    if other_regions and now is not None:
        found["region"] = _elsewhere(wanted, book, settings, replicas * hours, now)
    best = _best(found)
    if len(work.sets) == 1 or now is None:
        return best
    rest = workload_cost(work, book, settings, manifest).monthly - now
    return tuple(Alternative(f"{one.name}: {item.description}", item.monthly + rest, item.saving) for item in best)


def _best(found: Mapping[str, list[Alternative]]) -> tuple[Alternative, ...]:
    """The best of every kind, then whatever saves most, so that one kind does not crowd out the others."""
    ordered = [sorted(items, key=_by_saving) for items in found.values() if items]
    first = [items[0] for items in ordered]
    rest = sorted((item for items in ordered for item in items[1:]), key=_by_saving)
    return tuple(sorted((first + rest)[:LIMIT], key=_by_saving))


def _by_saving(item: Alternative) -> tuple[int, str]:
    return -item.saving.pico, item.description


def _candidates(
    work: Workload, one: PodSet, wanted: Demand, card: RateCard, allowed: Sequence[str] | None, replicas: int
) -> Iterator[tuple[str, str, Demand, int]]:
    if one.replicas_min > 1 and work.ref.kind != "DaemonSet":
        yield "replicas", f"1 replica instead of {one.replicas_min}", wanted, 1
    number = int(wanted.accelerators)
    if not number or number != wanted.accelerators:  # no card has a part that suits every other
        return
    present = price_class(wanted.accelerator or UNKNOWN_ACCELERATOR)
    for name in card.book.accelerators(card.provider, card.region, card.pricing):
        # An unnamed class is taken for one that an ordinary NVIDIA device plugin would serve.
        if (allowed is not None and name not in allowed) or not same_platform(name, present):
            continue
        for count in sorted({1, max(1, number // 2), number}):
            if name == present and count == number:
                continue
            kind = "fewer" if name == present else "class"
            text = f"{count} × {name} instead of {number} × {present}{_memory(name, count)}"
            yield kind, text, replace(wanted, accelerator=name, accelerators=count), replicas


def _elsewhere(
    wanted: Demand, book: PriceBook, settings: PriceSettings, hours: Fraction, now: Money
) -> list[Alternative]:
    best: tuple[Money, str] | None = None
    for region in book.regions(settings.provider):
        if region == settings.region:
            continue
        price = _price(wanted, RateCard(book, settings.provider, region, spot=wanted.spot), hours)
        if price is not None and (best is None or (price.pico, region) < (best[0].pico, best[1])):
            best = price, region
    if best is None or best[0].pico > now.pico * MUCH_CHEAPER:
        return []
    return [Alternative(f"region {best[1]} instead of {settings.region}", best[0], now - best[0])]


def _price(wanted: Demand, card: RateCard, replica_hours: Fraction) -> Money | None:
    quoted = quote(wanted, card)
    return None if quoted.unpriced else quoted.cost(replica_hours)


def _keep(
    found: dict[str, list[Alternative]], kind: str, description: str, price: Money | None, now: Money | None
) -> None:
    if price is None or (now is not None and not price < now):
        return
    saving = Money.zero(price.currency) if now is None else now - price
    found.setdefault(kind, []).append(Alternative(description, price, saving))


def _memory(name: str, count: int) -> str:
    each = accelerator_memory_gib(name)
    return "" if each is None else f" ({each * count} GiB of accelerator memory a replica)"
