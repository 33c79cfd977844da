"""What a node costs an hour, for the scheduler's extender: from the price book in force, with what it could not price.

1. The machine's own price, of its cloud (`spec.providerID`, else customhouse.yaml's) and region (its label, else
   customhouse.yaml's), on-demand or spot as the node is.
2. Where the book does not have the machine: its vCPUs, GiB and accelerators at the region's unit rates; all of them
   must have one.
3. Spot costs what work on it costs: with the interruptions that customhouse.yaml expects (`prices.interruptions`).
4. Nothing else: a node without a price is scored without one, never as if it were free.
"""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

from customhouse.app.extender_spec import interruption_factor
from customhouse.app.governance import Governance
from customhouse.core.devices import device_part
from customhouse.core.errors import PriceError
from customhouse.execution.extender_nodes import CPU, MEMORY, NodeFacts
from customhouse.observability.prices import ON_DEMAND, PREEMPTIBLE
from customhouse.observability.rates import GIB, VCPU, RateCard

_GIB = 2**30
_WHOLE, _PRODUCT = "nvidia.com/gpu", "nvidia.com/gpu.product"


class NodePrices:
    """Prices of one generation. Keeps what it found: nodes of a pool are alike."""

    def __init__(self, governing: Governance, now: datetime) -> None:
        self._governing = governing
        self._known: dict[object, float | None] = {}
        self._doubts: dict[object, str] = {}
        self.doubted: dict[str, str] = {}
        """A node of each sort that says more than its machine has, and what it says."""
        configuration = governing.configuration
        self.warning = ""
        """Why prices should not be relied on: they are old, or the book has none for the region."""
        try:
            stale = governing.book.staleness(
                configuration.provider, configuration.region, now, configuration.price_max_age_days
            )
            self.warning = stale.warning or ""
        except PriceError as error:
            self.warning = str(error)

    @property
    def unpriced(self) -> int:
        """How many sorts of nodes have no price."""
        return sum(price is None for price in self._known.values())

    def __call__(self, node: NodeFacts) -> float | None:
        """Pico-units of the currency an hour, a statistic for comparing nodes; None without a price, or an old one."""
        if self.warning:
            return None
        key = node.sort
        if key not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            try:
                self._known[key] = self._price(node)
            except PriceError:  # a cloud or region that the book does not have
                self._known[key] = None
        return self._known[key]

    def doubts(self, node: NodeFacts) -> bool:
        """Whether it says what cannot be read, or has more whole accelerators than its machine is known to have.

        Its share of the price would be too small, and draw pods to devices that are not there.
        """
        if node.problem:
            return True
        key = node.sort
        if key not in self._doubts:
            if len(self._doubts) > 10_000:
                self._doubts.clear()
                self.doubted.clear()
            text = self._doubts[key] = self._doubt(node)
            if text:
                self.doubted[node.name] = text
        return bool(self._doubts[key])

    def _doubt(self, node: NodeFacts) -> str:
        said = node.amounts.get(_WHOLE, 0)
        if not said or not node.machine or "-SHARED" in node.labels.get(_PRODUCT, "").upper():
            return ""  # time slices are counted as devices, and say so in the product
        governing = self._governing
        shape = governing.book.shape(node.provider or governing.configuration.provider, node.machine)
        if shape is None or said <= shape.devices:
            return ""
        return f"says {said} {_WHOLE}; a {node.machine} has {shape.devices}"

    def _price(self, node: NodeFacts) -> float | None:
        configuration = self._governing.configuration
        book = self._governing.book
        place = (node.provider or configuration.provider, node.region or configuration.region)
        book.require(*place)
        factor = interruption_factor(configuration.interruptions, node.machine) if node.spot else 1.0
        for pricing in (PREEMPTIBLE, ON_DEMAND) if node.spot else (ON_DEMAND,):
            rate = book.machine(*place, node.machine, pricing) if node.machine else None
            if rate is not None:
                return float(rate.per_hour.pico) * factor
        card = RateCard(book, *place, spot=node.spot)
        total = Fraction(0)
        for unit, quantity in _units(node):
            rate = card.rate(unit) if quantity is not None else None
            if rate is None or quantity is None:
                return None
            total += rate.per_hour.pico * quantity
        return float(total) * factor if total else None


def _units(node: NodeFacts) -> list[tuple[str, Fraction | None]]:
    """Unit → how much of it a node has; None where a part of an accelerator cannot be told."""
    units: list[tuple[str, Fraction | None]] = [
        (VCPU, Fraction(node.amounts.get(CPU, 0), 1000)),
        (GIB, Fraction(node.amounts.get(MEMORY, 0), _GIB)),
    ]
    for device in node.devices:
        name = node.class_of(device)
        part = device_part(device, {"nodeSelector": node.labels}, name)
        units.append((name, None if part is None else part * node.amounts[device]))
    return units
