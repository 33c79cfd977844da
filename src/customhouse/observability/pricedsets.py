"""What one set of alike pods costs: a replica's hour at both ends of its range, and how many replicas there are.

1. Where it may run: a queue of Kueue gives its pods the node labels of a flavor, of several the first that fits; the
   others are the range.
2. What it asks for: requests, devices by claims; an autoscaler may take its requests up and down.
3. Interruptible capacity: at its price where the book has one, with what interruptions are expected to cost; at the
   high end on demand, since that is what is paid when there is no such capacity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from customhouse._kit.frozen import quickly_made
from customhouse.core.beside import Beside
from customhouse.core.claims import DeviceNeed, claims_of
from customhouse.core.podsets import PodSet
from customhouse.core.queues import Landing, Place
from customhouse.core.resource import ResourceRef
from customhouse.core.sizes import largest, smallest, unbounded
from customhouse.core.workload import Workload
from customhouse.observability.interrupted import ExpectedInterruption, with_interruptions
from customhouse.observability.quotes import Quote, quote, set_demand
from customhouse.observability.rates import RateCard
from customhouse.observability.unseen import unrequested


@quickly_made
@dataclass(frozen=True, slots=True)
class PricedSet:
    """One set of pods with its price: what a replica hour costs, at both ends of the range too, and how many."""

    one: PodSet
    quoted: Quote
    dear: Quote
    """At its largest size, on the dearest flavor, and on demand where `quoted` is interruptible."""
    cheap: Quote
    """At its smallest size, on the cheapest flavor."""
    low: int
    usual: int
    high: int
    place: str = ""
    """Where a queue lets it run, in words."""


@dataclass(frozen=True, slots=True)
class Terms:
    """By what the sets of one workload are priced."""

    card: RateCard
    """On demand."""
    around: Beside
    managed: Sequence[DeviceNeed]
    landing: Landing | None
    unpriced: list[str]
    uncounted: list[str]
    interruptions: Sequence[ExpectedInterruption] = ()


def price_set(number: int, work: Workload, terms: Terms) -> PricedSet:
    """The price of the set of this number. What cannot be told is added to the lists of `terms`."""
    one, around = work.sets[number], terms.around
    prefix = f"{one.name}: " if len(work.sets) > 1 else ""
    needs = _device_needs(one, work.ref, around, terms.unpriced)
    if one.name != "scheduler":
        needs += terms.managed
    notes: list[str] = []
    places = terms.landing.places[number] if terms.landing is not None and terms.landing.places else ()
    first, *others = [(place, way) for place in places or (None,) for way in _ways(needs)]
    cheap, quoted, dear = _quotes(_placed(one, first[0]), work.ref, first[1], terms, notes)
    terms.unpriced.extend(prefix + item for item in (*quoted.unpriced, *unrequested(one)))
    for place, way in others:
        least, _, most = _quotes(_placed(one, place), work.ref, way, terms, notes)
        if least.unpriced:
            where = f"in flavor {place}" if way is first[1] else "with another device of the claim"
            notes.extend(f"{where}: {item}" for item in least.unpriced)
            continue
        cheap, dear = min(cheap, least, key=_hourly), max(dear, most, key=_hourly)
    terms.uncounted.extend(prefix + item for item in dict.fromkeys(notes))
    scaled = None if work.batch else around.range_of(work.ref)
    low, high = one.replicas_min, one.replicas_max
    if scaled is not None:
        # A set that goes with the scaled one (the workers of a leader) grows with it.
        each = max(1, one.replicas_min // max(1, work.sets[0].replicas_min))
        low, high = scaled.low * each, scaled.high * each
    # A service that scales to zero is counted as one; a group of workers that starts with none as none.
    lead = number == 0 or work.ref.kind == "InferenceService"
    usual = max(1, low) if lead else low
    where = ""
    if places and terms.landing is not None:
        where = f"flavor {places[0]} of queue {terms.landing.queue}"
    return PricedSet(one, quoted, dear, cheap, low, usual, max(high, usual), where)


def _quotes(
    one: PodSet, ref: ResourceRef, claimed: Sequence[DeviceNeed], terms: Terms, notes: list[str]
) -> tuple[Quote, Quote, Quote]:
    """Steps 2 and 3 in one place: at its smallest size, as declared, and at most."""
    card = terms.card
    if one.spot:
        card = RateCard(card.book, card.provider, card.region, spot=True)
    needs = [(need.name, need.cards) for need in claimed]
    wanted = set_demand(one, needs)
    cheap = dear = quoted = with_interruptions(quote(wanted, card), one, terms.interruptions)
    most, dearest = wanted, card
    if card.spot_priced:
        most, dearest = replace(wanted, spot=False), terms.card
    sized = terms.around.sizes_of(ref)
    if sized is not None:
        cheap = with_interruptions(quote(set_demand(smallest(one, sized), needs), card), one, terms.interruptions)
        grown = set_demand(largest(one, sized), needs)
        most = replace(most, cpu=grown.cpu, memory=grown.memory)
        notes.extend(unbounded(one, sized))
    if most != wanted:
        dear = quote(most, dearest)
        if dear.unpriced and not quoted.unpriced:  # no machine holds it, so nobody will pay for it
            notes.extend(f"at the upper end, {item}" for item in dear.unpriced)
            dear = quoted
    return cheap, quoted, dear


def _placed(one: PodSet, place: Place | None) -> PodSet:
    """The pods as the queue sends them out: with the node labels of their flavors."""
    if place is None or not place.labels:
        return one
    own = one.pod.get("nodeSelector")
    selector = {**place.labels, **(own if isinstance(own, Mapping) else {})}
    return replace(one, pod={**one.pod, "nodeSelector": selector})


def _hourly(quoted: Quote) -> Fraction:
    return sum((part.per_hour for part in quoted.parts), Fraction(0))


def _ways(needs: Sequence[DeviceNeed]) -> Iterator[Sequence[DeviceNeed]]:
    """What the claims come to: as preferred, then with each alternative of a request in its place."""
    yield needs
    for index, need in enumerate(needs):
        for other in need.others:
            yield [*needs[:index], other, *needs[index + 1 :]]


def _device_needs(one: PodSet, ref: ResourceRef, around: Beside, unpriced: list[str]) -> list[DeviceNeed]:
    """The devices that the claims of a pod ask for. What cannot be told is put into `unpriced`."""
    needs: list[DeviceNeed] = []
    for kind, name, called in claims_of(one.pod, one.pointer):
        found = around.claims.get((kind, ref.namespace, name))
        if found is None:
            unpriced.append(f"device claim {called}: {kind} {name} is not declared here")
            continue
        if kind == "ResourceClaim" and one.replicas_max > 1:
            unpriced.append(f"device claim {called}: {one.replicas_max} replicas share {kind} {name}")
            continue
        needs.extend(found)
    if not one.pod.get("resourceClaims") and any(container.claims for container in one.containers):
        unpriced.append("containers name device claims that their pod does not have")
    return needs
