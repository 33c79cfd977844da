"""Room: what may come to run and has no pods yet. The most that a node pool or a queue's quota may cost.

1. A NodePool that names its instance types: what is bought stops at the limit that is reached first, so each limit is
   a bound: its amount at the type that costs most for it. The smallest bound counts. (Karpenter.)
2. A NodePool that names none: its limits at the unit rates of the region.
3. The quota of a queue's flavor: the machines that hold it; those of its label `node.kubernetes.io/instance-type`,
   else the cheapest that carry its accelerators, else unit rates. With what may be borrowed at most.

What has no price is named, and the figure is then what has one. None of it is a cost beside that of the pods that run
there: those are priced themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from customhouse._kit.quantity import parse_bytes, parse_count, parse_milli
from customhouse.core.devices import (
    UNKNOWN_ACCELERATOR,
    accelerator_class,
    classes,
    device_part,
    is_accelerator,
    is_spot,
)
from customhouse.core.fields import amount, items, look, mapping
from customhouse.core.queues import ClusterQueue, Flavor, Queues, Share
from customhouse.core.resource import Manifest
from customhouse.observability.quotes import Demand, quote
from customhouse.observability.rates import RateCard

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
_GPU_NAMES = ("instance-gpu-name", "gpu.product", "gke-accelerator")


def pool_ceiling(manifest: Manifest, card: RateCard) -> tuple[Fraction | None, tuple[str, ...]]:
    """What a Karpenter NodePool can grow to: pico-units an hour by its limits, and what is not bounded or priced."""
    limits = mapping(mapping(manifest, "spec", ""), "limits", "/spec")
    place = "/spec/limits"
    if not limits:
        return None, ("a NodePool without limits has no upper bound",)
    wanted = {
        "cpu": amount(parse_milli, limits, "cpu", place),
        "memory": amount(parse_bytes, limits, "memory", place),
        **{str(key): amount(parse_count, limits, key, place) for key in limits if is_accelerator(str(key))},
        "nodes": amount(parse_count, limits, "nodes", place),
    }
    named = _required(manifest, (INSTANCE_TYPE,))
    if named:
        return _bounded(sorted(named), {name: value for name, value in wanted.items() if name in limits}, card)
    return _at_rates(wanted, limits, {accelerator_class(name) for name in _required(manifest, _GPU_NAMES)}, card)


def _bounded(
    types: Iterable[str], limits: Mapping[str, int], card: RateCard
) -> tuple[Fraction | None, tuple[str, ...]]:
    """Step 1."""
    notes: list[str] = []
    dearest: dict[str, Fraction] = {}
    free: set[str] = set()
    for name in types:
        rate = card.book.machine(card.provider, card.region, name, card.pricing)
        shape = card.book.shape(card.provider, name)
        if rate is None or shape is None:
            notes.append(f"machine {name}: no price in {card.provider} {card.region}")
            continue
        for limit in limits:
            held = _capacity(limit, shape.vcpu, shape.memory_mib, shape.devices)
            if held:
                dearest[limit] = max(dearest.get(limit, Fraction(0)), Fraction(rate.per_hour.pico) / held)
            else:
                free.add(limit)  # a machine that has none of it is bought without an end, as far as this limit goes
    bounds = [limits[name] * price for name, price in dearest.items() if name not in free]
    if not bounds:
        return None, (*notes, "no limit of the NodePool bounds the machines that it names")
    return min(bounds), tuple(notes)


def _capacity(limit: str, vcpu: int, memory_mib: int, devices: int) -> int:
    known = {"cpu": vcpu * 1000, "memory": memory_mib * 2**20, "nodes": 1}
    return known.get(limit, devices)


def _at_rates(
    wanted: Mapping[str, int], limits: Mapping[str, Any], named: set[str], card: RateCard
) -> tuple[Fraction | None, tuple[str, ...]]:
    """Step 2."""
    notes = [f"limits of a NodePool: no {name}" for name in ("cpu", "memory") if name not in limits]
    quoted = quote(Demand(wanted["cpu"], wanted["memory"]), card)
    per_hour = sum((part.per_hour for part in quoted.parts), Fraction(0))
    for device, number in sorted(wanted.items()):
        if not is_accelerator(device):
            continue
        rate = card.rate(next(iter(named))) if len(named) == 1 and UNKNOWN_ACCELERATOR not in named else None
        if rate is None:
            notes.append(
                f"{number} × {device} in the limits: no price for {', '.join(sorted(named)) or 'an unnamed class'}"
            )
        else:
            per_hour += number * rate.per_hour.pico
    return per_hour, (*quoted.unpriced, *notes)


def _required(manifest: Manifest, ends: tuple[str, ...]) -> set[str]:
    """Values that the requirements of a NodePool allow for labels that end so."""
    names = set()
    requirements = look(manifest, "/spec/template/spec/requirements")
    for item in requirements if isinstance(requirements, (list, tuple)) else ():
        if not isinstance(item, Mapping) or item.get("operator") != "In":
            continue
        if str(item.get("key", "")).endswith(ends):
            names |= {str(value) for value in items(item, "values", "")}
    return names


def quota_ceiling(queue: ClusterQueue, queues: Queues, card: RateCard) -> tuple[Fraction, tuple[str, ...]]:
    """What the quota of a queue is worth an hour at most (pico-units), and what of it has no price or no bound."""
    total = Fraction(0)
    notes: list[str] = []
    for group in queue.groups:
        for share in group.shares:
            amounts = {name: queues.most(queue, share, name)[0] for name in share.quotas}
            flavor = queues.flavors.get(share.flavor)
            if flavor is None:
                notes.append(f"flavor {share.flavor} of {queue.name}: it is not declared here")
            per_hour, unpriced = flavor_price(flavor or Flavor(), amounts, card)
            total += per_hour
            notes.extend(f"flavor {share.flavor} of {queue.name}: {item}" for item in unpriced)
            notes.extend(_open_ended(queue, share))
    return total, tuple(dict.fromkeys(notes))


def _open_ended(queue: ClusterQueue, share: Share) -> Iterator[str]:
    if queue.cohort and any(quota.borrowing is None for quota in share.quotas.values()):
        yield (
            f"flavor {share.flavor} of {queue.name}: without a borrowingLimit it may borrow all that cohort "
            f"{queue.cohort} has, and of that only what is declared here is counted"
        )


def flavor_price(flavor: Flavor, amounts: Mapping[str, int], given: RateCard) -> tuple[Fraction, tuple[str, ...]]:
    """What machines with so much cost an hour (pico-units), and what has no price. Step 3."""
    pod = {"nodeSelector": flavor.labels}
    card = RateCard(given.book, given.provider, given.region, spot=True) if is_spot(pod) else given
    cpu, memory = amounts.get("cpu", 0), amounts.get("memory", 0)
    devices: dict[str, Fraction] = {}
    notes: list[str] = []
    for name, number in sorted(amounts.items()):
        if not number or not is_accelerator(name):
            continue
        kind = classes(pod, (name,))[0]
        part = device_part(name, pod, kind)
        if part is None or kind == UNKNOWN_ACCELERATOR:
            notes.append(f"{number} × {name}: its labels do not say what that is")
            continue
        devices[kind] = devices.get(kind, Fraction(0)) + number * part
    machine = flavor.labels.get(INSTANCE_TYPE)
    if machine is not None:
        return _on_machine(machine, cpu, memory, sum(devices.values(), Fraction(0)), card, notes)
    if not devices:
        quoted = quote(Demand(cpu, memory), card)
        return sum((part.per_hour for part in quoted.parts), Fraction(0)), (*notes, *quoted.unpriced)
    total = Fraction(0)
    for kind, wanted in sorted(devices.items()):
        priced = [
            _share(cpu, memory, wanted, item.vcpu, item.memory_mib, item.devices) * item.rate.per_hour.pico
            for item in card.machines(kind)
        ]
        stated = card.stated(kind)
        if stated is not None:
            quoted = quote(Demand(cpu, memory), card)
            total += wanted * stated.per_hour.pico + sum((part.per_hour for part in quoted.parts), Fraction(0))
        elif priced:
            total += min(priced)
        else:
            notes.append(f"{wanted} × {kind}: no price in {card.provider} {card.region}")
    return total, tuple(notes)


def _on_machine(
    name: str, cpu: int, memory: int, devices: Fraction, card: RateCard, notes: list[str]
) -> tuple[Fraction, tuple[str, ...]]:
    rate = card.book.machine(card.provider, card.region, name, card.pricing)
    shape = card.book.shape(card.provider, name)
    if rate is None or shape is None:
        return Fraction(0), (*notes, f"machine {name}: no price in {card.provider} {card.region}")
    if devices and not shape.devices:
        return Fraction(0), (*notes, f"machine {name} has no accelerators")
    share = _share(cpu, memory, devices, shape.vcpu, shape.memory_mib, shape.devices)
    return share * rate.per_hour.pico, tuple(notes)


def _share(cpu: int, memory: int, devices: Fraction, vcpu: int, memory_mib: int, carried: int) -> Fraction:
    """How many machines hold so much."""
    needed = [Fraction(cpu, 1000 * vcpu), Fraction(memory, memory_mib * 2**20)]
    if carried:
        needed.append(devices / carried)
    return max(needed)
