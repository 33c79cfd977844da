"""Pricing: what a set of changes costs, with what every other object of the two states says about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from customhouse._kit.money import MICRO_IN_PICO, Money, total
from customhouse.app.configuration import CURRENCY
from customhouse.app.governance import Governance
from customhouse.app.stopwatch import Stopwatch
from customhouse.control.scenes import by_scene
from customhouse.core.beside import Beside, ReplicaRange, beside, target_range
from customhouse.core.change import Change
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.core.sizes import target_sizes
from customhouse.core.workload import workload
from customhouse.observability.estimate import ChangeCost, change_costs, declared_cost, rescaled_costs, workload_cost

_MONTH_S = 730 * 3600
_MOST_KNOWN = 200_000
"""Costs that are kept; what left Git is among them until then, or until prices change."""
_SHAPES = ("ResourceClaim", "ResourceClaimTemplate", "StorageClass")


def costs_of(
    found: Sequence[Change],
    base: Sequence[Declaration],
    head: Sequence[Declaration],
    governing: Governance,
    stopwatch: Stopwatch,
) -> tuple[ChangeCost, ...]:
    """The cost of every change, then of the objects that cost otherwise because of one (`cause`).

    An autoscaler that is changed alone changes what its target costs: that is a cost of the change to the autoscaler.
    """
    if not found:
        return ()
    was, now = by_scene(base, all_for_none=True), by_scene(head, all_for_none=True)
    around = {scene: (beside(was.get(scene, ())), beside(now.get(scene, ()))) for scene in {*was, *now}}
    costs: list[ChangeCost] = []
    for change in found:
        with stopwatch.measure(change.ref, "price"), placed(change.after or change.before):
            sides = around.get(change.ref.scene, around[""])
            costs += change_costs((change,), governing.book, governing.prices, *sides)
    for scene, (before, after) in sorted(around.items()):
        if before != after:
            # What stands beside a scene costs otherwise only where it is by itself.
            old, new = ([item for item in side.get(scene, ()) if item.ref.scene == scene] for side in (was, now))
            own = [change for change in found if change.ref.scene in (scene, "")]
            for cost in rescaled_costs(own, old, new, governing.book, governing.prices, before, after):
                costs.append(cost.caused_by(_cause(cost.ref, own)))
    return tuple(costs)


class Monthly:
    """What Declarations cost in a full month, kept from one set to the next: most of a fleet is as it was.

    A cost is known by the object itself (the same manifest in memory, not an equal one), the prices, and what stands
    beside it; where any of that is another, it is worked out anew.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, ResourceRef], tuple[Manifest, ReplicaRange | None, Money | None]] = {}
        self._under: tuple[object, ...] = ()

    def under(self, governing: Governance, around: Beside) -> Callable[[Declaration], Money | None]:
        """What gives the cost of one of a set, None for what costs nothing itself; it raises DeclarationError."""
        book, settings = governing.book, governing.prices
        prices = (book.reference(settings.provider, settings.region), settings)
        under = (*prices, around.claims, around.disks, around.machines, around.queues)
        if len(self._known) > _MOST_KNOWN or self._under != under:
            self._known, self._under = {}, under
        return partial(self._of, governing, around)

    def _of(self, governing: Governance, around: Beside, item: Declaration) -> Money | None:
        key, range_now = (id(item.manifest), item.ref), around.range_of(item.ref)
        known = self._known.get(key)
        if known is None or known[1] != range_now:
            cost = declared_cost(item, governing.book, governing.prices, around, explained=False)
            # The manifest is held, so that its id stays its own.
            known = self._known[key] = (item.manifest, range_now, None if cost is None else cost.monthly)
        return known[2]


def monthly_total(
    governing: Governance,
    declarations: Iterable[Declaration],
    around: Beside | None = None,
    known: Monthly | None = None,
) -> Money:
    """What a set of Declarations costs in a full month at its declared size. `around`: what the others say, if more."""
    costs = known or Monthly()
    declared = tuple(declarations)
    if around is None and any(item.ref.scene for item in declared):
        scenes = ((scene, items) for scene, items in by_scene(declared, all_for_none=True).items())
        own = ((items, [item for item in items if item.ref.scene == scene]) for scene, items in scenes)
        return total((monthly_total(governing, some, beside(items), costs) for items, some in own), CURRENCY)
    beside_it = beside(declared) if around is None else around
    found = map(costs.under(governing, beside_it), declared)
    return total((cost for cost in found if cost is not None), CURRENCY)


def serving_rate(governing: Governance, ref: ResourceRef, manifest: Manifest) -> float | None:
    """What a second of one replica costs, in micro-units of the currency, a statistic for comparing two versions.

    None when a part of it has no price, and for what runs nothing.
    """
    try:
        work = workload(manifest, ref)
        cost = None if work is None else workload_cost(work, governing.book, governing.prices, manifest)
    except DeclarationError:
        return None
    if work is None or cost is None or cost.unpriced:
        return None
    pico = cost.monthly.pico / max(work.replicas_min, 1)
    return pico / MICRO_IN_PICO / _MONTH_S if pico > 0 else None


@contextmanager
def placed(declaration: Declaration | None) -> Iterator[None]:
    """Errors that know a JSON pointer get the file, line and column of it."""
    try:
        yield
    except DeclarationError as error:
        if declaration is None or not error.where.startswith("/"):
            raise
        where = f"{declaration.locate(error.where)}: {declaration.ref}"
        raise DeclarationError(error.message, where=where, hint=error.hint) from error


def _cause(ref: ResourceRef, found: Sequence[Change]) -> ResourceRef | None:
    others = None
    for change in found:
        for side in (change.before, change.after):
            if side is None or (side.ref.namespace != ref.namespace and side.ref.kind != "StorageClass"):
                continue
            with suppress(DeclarationError):
                scaled = target_range(side.manifest, side.ref) or target_sizes(side.manifest, side.ref)
                if scaled is not None and scaled[0] == (ref.kind, ref.name):
                    return change.ref
            if side.ref.kind in _SHAPES or side.ref.kind.endswith("MachineTemplate"):
                others = others or change.ref
    return others
