"""Whole machines: what a workload costs when it has machines of its own, beside the estimate of its share of some.

The cloud sells machines; a cluster that runs nothing else pays for them whole. Machines are taken at their full size
(what Kubernetes keeps for itself is not counted), all of one type, replicas packed alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from customhouse._kit.money import Money
from customhouse.core.cost import HOURS_PER_MONTH
from customhouse.core.workload import Workload
from customhouse.observability.estimate import Demand, PriceSettings, demand
from customhouse.observability.prices import Machine, PriceBook, require_currency
from customhouse.observability.rates import RateCard

_ARCHITECTURE_LABEL = "kubernetes.io/arch"


@dataclass(frozen=True, slots=True)
class MachineCost:
    """`count` machines of one type, running the whole month of 730 hours."""

    instance_type: str
    count: int
    replicas_each: int
    monthly: Money
    source: str


def whole_machines(work: Workload, book: PriceBook, settings: PriceSettings) -> MachineCost | None:
    """The cheapest machines of one type that hold the declared minimum of replicas (one when that is 0).

    None when nothing is requested or nothing with a price is large enough. Without a node selector for
    `kubernetes.io/arch`, images are taken to be amd64, as most are. Raises PriceError as `estimate.workload_cost`.
    """
    require_currency(settings.currency)
    card = RateCard(book, settings.provider, settings.region, spot=work.spot)
    wanted, replicas = demand(work), max(1, work.replicas_min)
    selector = work.pod.get("nodeSelector") or {}
    architecture = str(selector.get(_ARCHITECTURE_LABEL, "amd64"))
    if wanted.accelerators:
        machines = card.machines(wanted.accelerator or "")
    else:
        machines = book.machines(settings.provider, settings.region, card.pricing)
        machines = tuple(machine for machine in machines if machine.architecture in ("", architecture))
    best: MachineCost | None = None
    for machine in machines:
        each = replicas_on(wanted, machine)
        if not each:
            continue
        count = -(-replicas // each)
        monthly = machine.rate.per_hour.scale(count * HOURS_PER_MONTH)
        if best is None or (monthly.pico, machine.name) < (best.monthly.pico, best.instance_type):
            best = MachineCost(machine.name, count, each, monthly, machine.rate.source)
    return best


def replicas_on(wanted: Demand, machine: Machine) -> int:
    """How many replicas one machine holds; 0 when not one, or when nothing is requested."""
    rooms = []
    if wanted.cpu:
        rooms.append(machine.vcpu * 1000 // wanted.cpu)
    if wanted.memory:
        rooms.append(machine.memory_mib * 2**20 // wanted.memory)
    if wanted.accelerators:
        rooms.append(machine.devices // wanted.accelerators)
    return min(rooms, default=0)
