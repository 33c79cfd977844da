"""The two file forms of a price book: the packaged archive, and a CSV that people keep in Git.

Archive: a ZIP of `index.json` and one CSV a provider and region, so that an estimate reads only what it needs. The
index holds the sha256 of every part; its own digest is therefore the digest of the whole book, whatever compressor
wrote the ZIP. Parts are verified when they are read. Nothing here interprets a price.
"""

from __future__ import annotations

import csv
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from customhouse._kit.digest import bytes_digest, same_digest
from customhouse._kit.money import Money, MoneyError
from customhouse.core.errors import PriceError
from customhouse.observability.hardware import accelerator

SCHEMA = "customhouse.dev/price-book/v1"
ON_DEMAND, PREEMPTIBLE = "OnDemand", "Preemptible"
UNIT = "unit/"
"""Items that start with this are prices of a unit itself (`unit/vcpu`, `unit/GiB`, `unit/T4`), not of a machine.

`unit/storage/TYPE` is a GiB of disk for an hour, `unit/storage` one of the default class; `unit/egress` is a GiB that
leaves, whatever the hour.
"""

MAX_FILE_BYTES = 32 << 20
MAX_PART_BYTES = 8 << 20
MAX_ROWS = 500_000
_UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, KeyError, ValueError, OSError, RuntimeError, EOFError)
"""What `zipfile` raises for a broken archive (RuntimeError covers encryption, odd methods and deep recursion)."""
_REQUIRED = ("provider", "region", "instance_type", "usd_per_hour", "as_of")


@dataclass(frozen=True, slots=True)
class Shape:
    """What an instance type has. `share` is the part of a whole accelerator that one device is."""

    vcpu: int
    memory_mib: int
    devices: int = 0
    architecture: str = ""
    accelerator: str | None = None
    share: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Price:
    """One row: US dollars per hour as the source wrote it, the day it is from, and where the row stands."""

    usd_per_hour: str
    as_of: str
    origin: str


Part = Mapping[tuple[str, str], Price]
"""(instance type or `unit/…`, pricing) → price, of one provider and region."""


class Layer(Protocol):
    """One book."""

    @property
    def digest(self) -> str:
        """The digest of the whole book."""

    @property
    def regions(self) -> Mapping[tuple[str, str], str]:
        """(provider, region) → the date of its oldest price."""

    def part(self, provider: str, region: str) -> Part:
        """The prices of one region; empty when the book has none."""

    def shapes(self, provider: str) -> Mapping[str, Shape]:
        """The instance types whose shape the book knows."""


def read_bytes(path: Path) -> bytes:
    """The bytes of a book. Raises PriceError when it is missing, unreadable or larger than 32 MiB."""
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PriceError(f"the price book cannot be read: {error.strerror}", where=str(path)) from error
    check_size(data, str(path))
    return data


def check_size(data: bytes, label: str) -> None:
    """Raise PriceError for more than 32 MiB."""
    if len(data) > MAX_FILE_BYTES:
        raise PriceError("the price book is larger than 32 MiB", where=label, hint="keep only the regions you use")


class ArchiveLayer:
    """The packaged form. Only the index is read at first."""

    def __init__(self, data: bytes, label: str) -> None:
        self.label = label
        self._data = data
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            index_bytes = self._member("index.json")
            self.index: Mapping[str, Any] = json.loads(index_bytes)
            if self.index["schema"] != SCHEMA:
                raise PriceError(f"schema {self.index['schema']!r} is not {SCHEMA}", where=label)
            self._parts: Mapping[str, Any] = self.index["parts"]
            self.regions = {
                (provider, region): str(part["as_of"])
                for provider, region, part in ((*name.split("/"), part) for name, part in self._parts.items())
            }
        except (*_UNREADABLE, TypeError, AttributeError) as error:
            raise PriceError(f"not a price book archive: {error}", where=label, hint="build it again") from error
        self.digest = bytes_digest(index_bytes)

    def _member(self, name: str) -> bytes:
        try:
            info = self._zip.getinfo(name)
            if info.file_size > MAX_PART_BYTES:
                raise PriceError(f"{name} is larger than 8 MiB", where=self.label)
            with self._zip.open(info) as handle:
                # One byte more than allowed: the size in a ZIP's directory is only a claim.
                data = handle.read(MAX_PART_BYTES + 1)
        except _UNREADABLE as error:
            raise PriceError(f"{name} cannot be read: {error}", where=self.label, hint="build it again") from error
        if len(data) > MAX_PART_BYTES:
            raise PriceError(f"{name} is larger than 8 MiB", where=self.label)
        return data

    def _rows(self, name: str, digest: str) -> list[list[str]]:
        data = self._member(name)
        if not same_digest(bytes_digest(data), digest):
            raise PriceError(
                f"{name} does not have the digest that the index states", where=self.label, hint="the file was altered"
            )
        try:
            return [line.split(",") for line in data.decode().splitlines()[1:]]
        except UnicodeDecodeError as error:
            raise PriceError(f"{name} is not UTF-8", where=self.label) from error

    def part(self, provider: str, region: str) -> Part:
        """The prices of one region, verified against the index. Raises PriceError."""
        name = f"{provider}/{region}"
        if (provider, region) not in self.regions:
            return {}
        entry = self._parts[name]
        try:
            return {
                (item, pricing): Price(usd, entry["as_of"], f"{entry['source']} {region} {item}")
                for item, pricing, usd in self._rows(f"prices/{name}.csv", entry["sha256"])
            }
        except (ValueError, KeyError, TypeError) as error:
            raise PriceError(f"the part {name} is broken: {error}", where=self.label) from error

    def shapes(self, provider: str) -> Mapping[str, Shape]:
        """The catalogue of a provider, verified against the index. Raises PriceError."""
        entry = self.index.get("shapes", {}).get(provider)
        if entry is None:
            return {}
        try:
            return {
                name: Shape(int(vcpu), int(memory), int(devices), architecture, model or None, Fraction(share or 1))
                for name, vcpu, memory, devices, architecture, model, share in self._rows(
                    f"shapes/{provider}.csv", entry["sha256"]
                )
            }
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise PriceError(f"the shapes of {provider} are broken: {error}", where=self.label) from error


@dataclass(slots=True)
class CsvLayer:
    """A book of one's own: a CSV in Git with the columns of `_REQUIRED`.

    Optional columns: `pricing` (OnDemand by default, or Preemptible), `vcpu`, `memory_mib`, `gpu_count`, `gpu_class`,
    `architecture`. An `instance_type` of `unit/vcpu`, `unit/GiB` or `unit/H100` prices the unit itself, as one does for
    machines that one owns.
    """

    label: str
    digest: str
    regions: dict[tuple[str, str], str] = field(default_factory=dict)
    prices: dict[tuple[str, str], dict[tuple[str, str], Price]] = field(default_factory=dict)
    catalogue: dict[str, dict[str, Shape]] = field(default_factory=dict)

    def part(self, provider: str, region: str) -> Part:
        """The prices of one region."""
        return self.prices.get((provider, region), {})

    def shapes(self, provider: str) -> Mapping[str, Shape]:
        """The instance types whose vCPU and memory the file states."""
        return self.catalogue.get(provider, {})


def read_csv(data: bytes, label: str) -> CsvLayer:
    """Read a book of one's own. Raises PriceError with file and line for anything that is not as documented."""
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
        if missing:
            raise PriceError(f"no column {missing[0]!r}", where=f"{label}:1", hint="columns: " + ", ".join(_REQUIRED))
        layer = CsvLayer(label, bytes_digest(data))
        for row in reader:
            if reader.line_num > MAX_ROWS:
                raise PriceError(f"more than {MAX_ROWS} rows", where=label)
            _take(layer, row, f"{label}:{reader.line_num}")
    except UnicodeDecodeError as error:
        raise PriceError("not UTF-8", where=label) from error
    except csv.Error as error:
        raise PriceError(f"not CSV: {error}", where=label) from error
    return layer


def _take(layer: CsvLayer, row: Mapping[Any, Any], where: str) -> None:
    if None in row or None in row.values():
        raise PriceError("the row has more or fewer fields than the header", where=where)
    provider, region, name, usd, as_of = (row[column].strip() for column in _REQUIRED)
    pricing = row.get("pricing", ON_DEMAND).strip() or ON_DEMAND
    if not provider or not region or not name:
        raise PriceError("provider, region and instance_type must not be empty", where=where)
    if pricing not in (ON_DEMAND, PREEMPTIBLE):
        raise PriceError(f"pricing {pricing!r} is not {ON_DEMAND} or {PREEMPTIBLE}", where=where)
    _check_date(as_of, where)
    try:
        if Money.parse(usd).pico < 0:
            raise PriceError(f"the price {usd} is negative", where=where)
    except MoneyError as error:
        raise PriceError(f"usd_per_hour: {error}", where=where) from error
    part = layer.prices.setdefault((provider, region), {})
    if (name, pricing) in part:
        raise PriceError(f"{name} ({pricing}) has two prices in {region}", where=where)
    part[name, pricing] = Price(usd, as_of, where)
    layer.regions[provider, region] = min(as_of, layer.regions.get((provider, region), as_of))
    if row.get("vcpu", "").strip():
        layer.catalogue.setdefault(provider, {})[name] = _shape(row, provider, name, where)


def _check_date(text: str, where: str) -> None:
    try:
        # Dates are compared as text, so only the extended form will do.
        good = text[4:5] == "-" and bool(datetime.fromisoformat(text))
    except ValueError:
        good = False
    if not good:
        raise PriceError(f"as_of {text[:40]!r} is not a date", where=where, hint="write 2026-07-20")


def _shape(row: Mapping[Any, Any], provider: str, name: str, where: str) -> Shape:
    try:
        numbers = [int(row.get(column, "").strip() or 0) for column in ("vcpu", "memory_mib", "gpu_count")]
    except ValueError as error:
        raise PriceError("vcpu, memory_mib and gpu_count are whole numbers", where=where) from error
    vcpu, memory, devices = numbers
    if vcpu <= 0 or memory <= 0 or devices < 0:
        raise PriceError("vcpu and memory_mib must be above 0", where=where)
    known = accelerator(provider, name) if devices else None
    model = row.get("gpu_class", "").strip() or (known.name if known else None)
    share = known.share if known is not None and known.name == model else Fraction(1)
    return Shape(vcpu, memory, devices, row.get("architecture", "").strip(), model if devices else None, share)


def usd(price: Price) -> Money | None:
    """The price as Money; None for 0, which means: unpriced, for every provider. Raises PriceError when it is broken.

    Source: 68 rows of the Azure table and Google's A100 and L4 rows are 0 though the machines are not free.
    """
    try:
        amount = Money.parse(Decimal(price.usd_per_hour))
    except (MoneyError, InvalidOperation) as error:
        raise PriceError(f"the price {price.usd_per_hour[:40]!r} is broken", where=price.origin) from error
    if amount.pico < 0:
        raise PriceError(f"the price {price.usd_per_hour} is negative", where=price.origin)
    return amount if amount.pico else None
