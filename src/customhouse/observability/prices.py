"""The price book: list prices with their date and digest.

    book = PriceBook.load()                                # the packaged one
    book = PriceBook.load(path, over=PriceBook.load())     # a CSV in Git, laid over it
    book.machine("aws", "us-east-1", "m7i.xlarge").per_hour

A price is valid only with its date and digest; every figure carries both (`reference`). Not in the book, or 0 in it,
is `None`: unpriced is never free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from customhouse._kit.clock import from_rfc3339
from customhouse._kit.digest import is_digest, json_digest, same_digest
from customhouse.core.cost import BookRef, Rate
from customhouse.core.errors import PriceError

if TYPE_CHECKING:
    from customhouse.observability.book_files import Layer, Part, Price, Shape

PACKAGED = Path(__file__).parent / "data" / "price-book.zip"
ON_DEMAND, PREEMPTIBLE = "OnDemand", "Preemptible"
BOOK_CURRENCY = "USD"
DEFAULT_MAX_AGE_DAYS = 180
"""List prices of the three clouds change a few times a year; older than this, a figure deserves a warning."""


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance type that has a price and a known shape. `devices` × `share` is its whole accelerators."""

    rate: Rate
    pricing: str
    vcpu: int
    memory_mib: int
    devices: int
    accelerator: str | None
    share: str
    architecture: str = ""

    @property
    def name(self) -> str:
        """The instance type."""
        return self.rate.sku


@dataclass(frozen=True, slots=True)
class Staleness:
    """How old the oldest price of a region is, and what to say when it is too old (None when it is not)."""

    days: int
    warning: str | None


class PriceBook:
    """One or more books; the first that has an item decides, so one's own prices go before list prices."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self.layers = layers
        self._parts: dict[tuple[str, str], Part] = {}
        self._shapes: dict[str, Mapping[str, Shape]] = {}
        self._by_class: dict[str, Mapping[str | None, list[tuple[str, Shape]]]] = {}

    @classmethod
    def load(cls, path: Path | None = None, *, expected_digest: str = "", over: PriceBook | None = None) -> PriceBook:
        """Read the packaged book, an archive or a CSV; `over` is the book that it is laid over.

        Raises PriceError when it cannot be read or does not have `expected_digest` (that of the file read).
        """
        from customhouse.observability.book_files import read_bytes

        place = path or PACKAGED
        return cls.read(read_bytes(place), place.name, expected_digest=expected_digest, over=over)

    @classmethod
    def read(cls, data: bytes, label: str, *, expected_digest: str = "", over: PriceBook | None = None) -> PriceBook:
        """As `load`, of bytes that are already there (a file of a Git revision); `label` names them in figures."""
        from customhouse.observability.book_files import ArchiveLayer, check_size, read_csv

        check_size(data, label)
        layer: Layer = ArchiveLayer(data, label) if data[:2] == b"PK" else read_csv(data, label)
        if expected_digest and not (is_digest(expected_digest) and same_digest(layer.digest, expected_digest)):
            raise PriceError(
                f"the book has the digest {layer.digest}, {expected_digest} was declared",
                where=label,
                hint="review the new prices and declare their digest",
            )
        return cls((layer, *(over.layers if over else ())))

    @property
    def digest(self) -> str:
        """What every figure rests on: the digest of the book, or of the list of digests of a layered one."""
        digests = [layer.digest for layer in self.layers]
        return digests[0] if len(digests) == 1 else json_digest(digests)

    @property
    def as_of(self) -> str:
        """The date of the oldest price in any region."""
        return min((date for layer in self.layers for date in layer.regions.values()), default="")

    def reference(self, provider: str, region: str) -> BookRef:
        """The digest, and the date of the oldest price of the region that figures may use. Raises PriceError."""
        self.require(provider, region)
        dates = [layer.regions[provider, region] for layer in self.layers if (provider, region) in layer.regions]
        return BookRef(self.digest, min(dates))

    def providers(self) -> tuple[str, ...]:
        """The providers that have prices, sorted."""
        return tuple(sorted({provider for layer in self.layers for provider, _ in layer.regions}))

    def regions(self, provider: str) -> tuple[str, ...]:
        """The regions of a provider that have prices, sorted."""
        return tuple(sorted({region for layer in self.layers for name, region in layer.regions if name == provider}))

    def require(self, provider: str, region: str) -> None:
        """Raise PriceError when the book has no prices at all for a region: a wrong setting, not an unpriced item."""
        import difflib

        known = self.regions(provider)
        if region in known:
            return
        if not known:
            raise PriceError(f"no prices for {provider!r}", hint="the book has " + ", ".join(self.providers()))
        near = difflib.get_close_matches(region, known, n=3, cutoff=0.5) or known[:3]
        raise PriceError(
            f"no prices for {provider} in {region!r}",
            hint=f"the book has {', '.join(near)}{' …' if len(known) > len(near) else ''}; add a price book for others",
        )

    def staleness(
        self, provider: str, region: str, now: datetime, max_age_days: int = DEFAULT_MAX_AGE_DAYS
    ) -> Staleness:
        """How old the prices of a region are at `now` (UTC-aware). A date in the future counts as 0 days."""
        as_of = self.reference(provider, region).as_of
        try:
            when = from_rfc3339(as_of) if "T" in as_of else datetime.fromisoformat(as_of).replace(tzinfo=UTC)
        except ValueError as error:
            raise PriceError(f"as_of {as_of!r} is not a date", hint="write 2026-07-20") from error
        days = max(0, (now - when).days)
        if days <= max_age_days:
            return Staleness(days, None)
        return Staleness(
            days, f"prices of {provider} {region} are of {as_of[:10]}, {days} days old (limit {max_age_days})"
        )

    def machine(self, provider: str, region: str, instance_type: str, pricing: str = ON_DEMAND) -> Rate | None:
        """The price of a machine for an hour; None when it is not in the book or 0 there."""
        return self._rate("instance", provider, region, instance_type, pricing)

    def unit(self, unit: str, provider: str, region: str, pricing: str = ON_DEMAND) -> Rate | None:
        """The price of a unit that the book states itself (`vcpu`, `GiB`, `T4`); None when it states none or 0.

        For a unit that must be split from a machine's price, see `rates.RateCard`.
        """
        return self._rate(unit, provider, region, f"unit/{unit}", pricing)

    def shape(self, provider: str, instance_type: str) -> Shape | None:
        """What an instance type has; None when the catalogue does not know it."""
        return self._catalogue(provider).get(instance_type)

    def machines(
        self,
        provider: str,
        region: str,
        pricing: str = ON_DEMAND,
        *,
        accelerator: str | None = None,
        pattern: str = "",
    ) -> tuple[Machine, ...]:
        """The machines of a region that have a price and a shape, by name.

        With `accelerator`, those that carry this class; without, those that carry none. `pattern` is a regular
        expression for the whole instance type.
        """
        import re

        prices = self._part(provider, region)
        found: list[Machine] = []
        for name, shape in self._carrying(provider).get(accelerator, ()):
            if (name, pricing) not in prices or (pattern and not re.fullmatch(pattern, name)):
                continue
            rate = self.machine(provider, region, name, pricing)
            if rate is not None:
                found.append(
                    Machine(
                        rate,
                        pricing,
                        shape.vcpu,
                        shape.memory_mib,
                        shape.devices,
                        shape.accelerator,
                        str(shape.share),
                        shape.architecture,
                    )
                )
        return tuple(found)

    def accelerators(self, provider: str, region: str, pricing: str = ON_DEMAND) -> tuple[str, ...]:
        """The accelerator classes for which the region may have a price, sorted."""
        prices = self._part(provider, region)
        classes = {
            name
            for name, shapes in self._carrying(provider).items()
            if name is not None and any((instance_type, pricing) in prices for instance_type, _ in shapes)
        }
        units = {item[5:] for item, kind in prices if item.startswith("unit/") and kind == pricing}
        # Disks and traffic are units too, and no accelerators.
        units = {name for name in units if not name.startswith(("storage", "egress"))}
        return tuple(sorted((classes | units) - {"vcpu", "GiB"}))

    def has_spot(self, provider: str, region: str) -> bool:
        """Whether the book has interruptible prices for the region; a discount is never invented."""
        return any(pricing == PREEMPTIBLE for _, pricing in self._part(provider, region))

    def _rate(self, unit: str, provider: str, region: str, item: str, pricing: str) -> Rate | None:
        from customhouse.observability.book_files import usd

        price = self._part(provider, region).get((item, pricing))
        amount = None if price is None else usd(price)
        if price is None or amount is None:
            return None
        kind = "" if pricing == ON_DEMAND else f" ({pricing})"
        return Rate(unit, amount, provider, region, item, price.as_of, f"{price.origin}{kind}: {amount} USD/h")

    def _part(self, provider: str, region: str) -> Part:
        key = (provider, region)
        if key not in self._parts:
            merged: dict[tuple[str, str], Price] = {}
            for layer in reversed(self.layers):
                merged.update(layer.part(provider, region))
            self._parts[key] = merged
        return self._parts[key]

    def _carrying(self, provider: str) -> Mapping[str | None, list[tuple[str, Shape]]]:
        if provider not in self._by_class:
            grouped: dict[str | None, list[tuple[str, Shape]]] = {}
            for name, shape in sorted(self._catalogue(provider).items()):
                if shape.accelerator or not shape.devices:  # a device of an unknown class fits neither
                    grouped.setdefault(shape.accelerator if shape.devices else None, []).append((name, shape))
            self._by_class[provider] = grouped
        return self._by_class[provider]

    def _catalogue(self, provider: str) -> Mapping[str, Shape]:
        if provider not in self._shapes:
            merged: dict[str, Shape] = {}
            for layer in reversed(self.layers):
                merged.update(layer.shapes(provider))
            self._shapes[provider] = merged
        return self._shapes[provider]


def require_currency(currency: str) -> None:
    """Raise PriceError for a currency that the books are not in: there is no dated exchange rate to convert with."""
    if currency != BOOK_CURRENCY:
        raise PriceError(
            f"the price books are in {BOOK_CURRENCY}, {currency} was asked for",
            hint=f"set the currency to {BOOK_CURRENCY}, or keep a price book converted with a dated rate",
        )
