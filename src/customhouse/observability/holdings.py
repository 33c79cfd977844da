"""What is paid for without running: disks of claims, traffic that leaves, and machines that are declared themselves.

Prices: `unit/storage/TYPE` (US dollars a GiB and hour) by the disk type that a StorageClass names, `unit/egress` (US
dollars a GiB, not an hour) for the traffic of `customhouse.dev/egress-gib-month`. What the book does not have is named
in `uncounted`; it is never 0 silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from customhouse._kit.money import Money
from customhouse._kit.quantity import format_bytes, parse_bytes
from customhouse.core.beside import Beside
from customhouse.core.cost import HOURS_PER_MONTH, Rate
from customhouse.core.errors import DeclarationError
from customhouse.core.fields import amount, count, items, look, mapping, text
from customhouse.core.resource import PREFIX, Manifest, ResourceRef
from customhouse.core.workload import Workload
from customhouse.observability.quotes import GIB_BYTES, rounded
from customhouse.observability.rates import RateCard

EGRESS = PREFIX + "egress-gib-month"
MOST_EGRESS = 10**9
"""GiB a month; more is a slip of the pen."""
# The classes that a provider makes by itself, and the disk behind each. Sources: cloud.google.com/kubernetes-engine
# "Persistent volumes and dynamic provisioning", docs.aws.amazon.com/eks "EBS CSI driver", learn.microsoft.com/azure/aks
# "Storage options"; read 2026-11.
_CLASSES: Mapping[str, Mapping[str, str]] = {
    "gcp": {"standard": "pd-standard", "standard-rwo": "pd-balanced", "premium-rwo": "pd-ssd"},
    "aws": {"gp2": "gp2", "gp3": "gp3"},
    "azure": {"managed-csi": "StandardSSD_LRS", "managed-csi-premium": "Premium_LRS", "default": "StandardSSD_LRS"},
}
_NOTHING = Money(0, "USD")
_MACHINES = {
    "MachineDeployment": "cluster.x-k8s.io",
    "MachineSet": "cluster.x-k8s.io",
    "MachinePool": "cluster.x-k8s.io",
}


@dataclass(frozen=True, slots=True)
class Holding:
    """`quantity` units at a rate; `monthly` is exact pico-units for one of its owner's replicas."""

    item: str
    quantity: Fraction
    rate: Rate
    monthly: Fraction


@dataclass(frozen=True, slots=True)
class Held:
    """What one replica holds: what has a price, and what has none."""

    holdings: tuple[Holding, ...] = ()
    uncounted: tuple[str, ...] = ()


def disks_of(work: Workload, manifest: Manifest, card: RateCard, around: Beside) -> Held:
    """The disks that every replica gets for itself: claim templates of a StatefulSet, ephemeral volumes."""
    return _held(_claims(work, manifest), card, around)


def claim(manifest: Manifest, card: RateCard, around: Beside) -> Held:
    """The disk of a PersistentVolumeClaim."""
    name = str(look(manifest, "/metadata/name") or "")
    return _held([(name, mapping(manifest, "spec", ""), "/spec")], card, around)


def egress(manifest: Manifest, card: RateCard) -> Held:
    """The traffic that an object declares, for the whole object. Raises DeclarationError for a broken annotation."""
    annotations = mapping(mapping(manifest, "metadata", ""), "annotations", "/metadata")
    given = annotations.get(EGRESS)
    if given is None:
        return Held()
    wanted = positive(given, EGRESS)
    if wanted > MOST_EGRESS:
        raise DeclarationError(f"{EGRESS} is above {MOST_EGRESS}", where="/metadata/annotations")
    rate = card.stated("egress")
    if rate is None:
        return Held((), (f"{given} GiB of egress a month: no price in {card.provider} {card.region}",))
    return Held((Holding("egress", wanted, rate, wanted * rate.per_hour.pico),))


def positive(given: Any, name: str) -> Fraction:
    """An annotation that holds a number above 0, as decimal text. Raises DeclarationError."""
    try:
        value = Decimal(str(given)) if len(str(given)) <= 32 else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value <= 0 or not -12 <= value.adjusted() <= 15:
        raise DeclarationError(
            f"{name} is {str(given)[:40]!r}", where="/metadata/annotations", hint='write a number, for example "250"'
        )
    return Fraction(value)


@dataclass(frozen=True, slots=True)
class Machines:
    """Declared machines: how many at least and at most, what one costs an hour; `price` None is unpriced."""

    low: int
    high: int
    price: Rate | None
    unpriced: tuple[str, ...] = ()


def machines(manifest: Manifest, ref: ResourceRef, card: RateCard, around: Beside) -> Machines | None:
    """The machines of a Cluster API MachineDeployment, MachineSet or MachinePool; None for other kinds."""
    if _MACHINES.get(ref.kind) != ref.api_version.partition("/")[0]:
        return None
    spec = mapping(manifest, "spec", "")
    replicas = count(1 if spec.get("replicas") is None else spec["replicas"], "replicas", "/spec/replicas")
    notes = mapping(mapping(manifest, "metadata", ""), "annotations", "/metadata")
    group = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-"
    low = count(notes.get(f"{group}min-size", replicas), "min-size", "/metadata/annotations")
    high = count(notes.get(f"{group}max-size", replicas), "max-size", "/metadata/annotations")
    infrastructure = look(manifest, "/spec/template/spec/infrastructureRef")
    named = infrastructure if isinstance(infrastructure, Mapping) else {}
    kind, name = str(named.get("kind", "")), str(named.get("name", ""))
    instance = around.machines.get((kind, ref.namespace, name), "")
    if not instance:
        why = f"the machine of {kind or 'its template'} {name}: the template is not declared here"
        return Machines(low, max(low, high), None, (why,))
    price = card.book.machine(card.provider, card.region, instance, card.pricing)
    missing = () if price else (f"machine {instance}: no price in {card.provider} {card.region}",)
    return Machines(min(low, replicas), max(low, high, replicas), price, missing)


def monthly_row(holding: Holding, replicas: int) -> dict[str, Any]:
    """The row of a breakdown."""
    traffic = holding.item == "egress"
    return {
        "item": holding.item,
        "quantity": str(Decimal(round(holding.quantity * replicas * 10**6)).scaleb(-6).normalize().__format__("f")),
        "unit": "GiB",
        "hours": "1" if traffic else str(HOURS_PER_MONTH),
        "rate": str(holding.rate.per_hour),
        "monthly": str(rounded(holding.monthly * replicas)),
        "source": holding.rate.source,
    }


def held_cost(held: Held, replicas: int) -> Money:
    """The sum of the rows for so many replicas."""
    if not held.holdings:
        return _NOTHING
    return Money(sum(rounded(item.monthly * replicas).pico for item in held.holdings), "USD")


def _claims(work: Workload, manifest: Manifest) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    spec = manifest.get("spec")
    if work.ref.kind == "StatefulSet" and isinstance(spec, Mapping):
        for index, item in enumerate(items(spec, "volumeClaimTemplates", "/spec")):
            place = f"/spec/volumeClaimTemplates/{index}"
            if not isinstance(item, Mapping):
                raise DeclarationError("a claim template is not a mapping", where=place)
            yield str(look(item, "/metadata/name") or ""), mapping(item, "spec", place), f"{place}/spec"
    for one in work.sets:
        for index, volume in enumerate(items(one.pod, "volumes", one.pointer)):
            template = look(volume, "/ephemeral/volumeClaimTemplate")
            if isinstance(template, Mapping):
                place = f"{one.pointer}/volumes/{index}/ephemeral/volumeClaimTemplate"
                yield str(volume.get("name", "")), mapping(template, "spec", place), f"{place}/spec"


def _held(claims: Any, card: RateCard, around: Beside) -> Held:
    holdings, uncounted = [], []
    for name, spec, place in claims:
        requests = mapping(mapping(spec, "resources", place), "requests", f"{place}/resources")
        size = amount(parse_bytes, requests, "storage", f"{place}/resources/requests")
        named = text(spec, "storageClassName", place)
        disk = around.disks.get(named) or _CLASSES.get(card.provider, {}).get(named) or named
        rate = card.stated(f"storage/{disk}") if disk else card.stated("storage")
        if rate is None:
            kind = f"class {named}" if named else "the default class"
            uncounted.append(f"disk {name} ({format_bytes(size)}, {kind}): no price in {card.provider} {card.region}")
        elif size:
            gib = Fraction(size, GIB_BYTES)
            holdings.append(Holding(f"storage {name}", gib, rate, gib * rate.per_hour.pico * HOURS_PER_MONTH))
    return Held(tuple(holdings), tuple(uncounted))
