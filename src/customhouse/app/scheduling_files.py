"""The files of `schedule simulate`: nodes, pods and prices of GPUs, read with limits; an error names file and line."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from customhouse._kit import progress
from customhouse._kit.money import Money, MoneyError
from customhouse.core.devices import accelerator_class
from customhouse.core.errors import UsageError
from customhouse.core.mig import CARDS, RESOURCE, profile_of
from customhouse.execution.placement.slices import layout_exists, part_of
from customhouse.execution.placement.workload import (
    MOST_CPU_MILLI,
    MOST_GPUS,
    MOST_MEMORY_MIB,
    WHOLE,
    Cut,
    Node,
    Pod,
    Shape,
)

MOST_BYTES = 128 << 20
MOST_NODES = 50_000
MOST_PODS = 1_000_000
MOST_MODELS = 1_000
_TELL_EVERY = 20_000
_LONGEST_NAME = 253
"""Of a Kubernetes object."""
_INTERRUPTIBLE = frozenset({"BE", "BESTEFFORT"})
"""Values of `qos` of pods that may run on spot capacity: best effort."""
_CAPACITY = {"": False, "on-demand": False, "spot": True}

_MOST_PARTS = 7
"""Of one GPU: the compute slices of the largest cards."""
_CARDS_HINT = f"leave mig empty, or give a model that is one of {', '.join(CARDS)}"

Prices = Mapping[str, tuple[Money, Money | None]]
"""Model → what one of its GPUs costs an hour, on demand and, where it is known, as spot capacity."""


class _Row:
    """One line of a table, with the place for an error."""

    def __init__(self, path: str, line: int, cells: Mapping[str, str]) -> None:
        self._path, self._line, self._cells = path, line, cells

    def text(self, column: str) -> str:
        """The cell, stripped; empty where the table does not have the column."""
        return self._cells.get(column, "").strip()

    def name(self, column: str) -> str:
        """A name that is not empty."""
        text = self.text(column)
        if not text or len(text) > _LONGEST_NAME:
            raise self.wrong(f"{column} is empty or longer than {_LONGEST_NAME} characters", "give each row a name")
        return text

    def count(self, column: str, most: int) -> int:
        """A whole number from 0 to `most`."""
        text = self.text(column)
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            raise self.wrong(f"{column} is {text[:40]!r}, not a whole number from 0 on", f"write {column} in digits")
        if int(text) > most:
            raise self.wrong(f"{column} is {text}; more than {most:,} is no machine's", "check the unit of the column")
        return int(text)

    def wrong(self, message: str, hint: str) -> UsageError:
        """The error about this row."""
        return UsageError(message, where=f"{self._path}:{self._line}", hint=hint)


def _rows(path: str, needed: Sequence[str], most: int) -> Iterator[_Row]:
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(error.strerror or str(error), where=path, hint="name a CSV file that can be read") from error
    if len(data) > MOST_BYTES:
        raise UsageError(f"larger than {MOST_BYTES >> 20} MiB", where=path, hint="give a smaller list")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError("not UTF-8 text", where=f"{path}:{line}", hint="save the table as CSV in UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        missing = [column for column in needed if column not in header]
        if missing:
            raise UsageError(
                f"the columns {', '.join(missing)} are missing", where=f"{path}:1", hint=f"it needs {','.join(needed)}"
            )
        if len(set(header)) != len(header):
            raise UsageError("a column is named twice", where=f"{path}:1", hint="name each column once")
        total = data.count(b"\n")
        for count, cells in enumerate(reader):
            if count % _TELL_EVERY == 0:
                progress.tell(f"rows of {path} read", count, total)
            if not cells:
                continue
            if len(cells) != len(header):
                raise UsageError(
                    f"{len(cells)} cells under {len(header)} columns",
                    where=f"{path}:{reader.line_num}",
                    hint="each row needs one cell a column",
                )
            if count >= most:
                raise UsageError(
                    f"more than {most:,} rows", where=f"{path}:{reader.line_num}", hint="give a shorter list"
                )
            yield _Row(path, reader.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise UsageError(f"no CSV: {error}", where=f"{path}:{reader.line_num}", hint='quote cells with "') from error


def read_nodes(path: str, prices: Prices | None = None, spot_percent: int = 0) -> list[Node]:
    """Nodes: `sn` (or `name`), cpu_milli, memory_mib, gpu, model; may have `capacity` and `mig` (see `_cut`).

    `capacity`: `spot` or `on-demand`.
    `spot_percent`: so many of a hundred nodes are spot, told by the SHA-256 of their names. Raises UsageError.
    """
    nodes: list[Node] = []
    names: set[str] = set()
    for row in _rows(path, ("cpu_milli", "memory_mib", "gpu", "model"), MOST_NODES):
        name = row.name("sn") if row.text("sn") else row.name("name")
        if name in names:
            raise row.wrong(f"a node {name!r} stands above already", "give each node a name of its own")
        names.add(name)
        gpus, model = row.count("gpu", MOST_GPUS), row.text("model")
        if bool(gpus) != bool(model):
            raise row.wrong(
                f"gpu is {gpus} and model is {model!r}", "a node has GPUs and says their model, or has neither"
            )
        capacity = row.text("capacity").lower()
        if capacity not in _CAPACITY:
            raise row.wrong(f"capacity is {capacity[:40]!r}", "write spot or on-demand, or leave it empty")
        node = Node(name, row.count("cpu_milli", MOST_CPU_MILLI), row.count("memory_mib", MOST_MEMORY_MIB), gpus, model)
        spot = _CAPACITY[capacity] or (not capacity and _drawn_spot(name, spot_percent))
        price = (prices or {}).get(model)
        paid = None if price is None else price[1] if spot and price[1] is not None else price[0]
        nodes.append(replace(node, spot=spot, price=None if paid is None else paid.pico, mig=_cut(row, model)))
    if not nodes:
        raise UsageError("no node is listed", where=path, hint="list at least one node below the header")
    return nodes


def _cut(row: _Row, model: str) -> Cut | None:
    """`mig`: empty (whole GPUs and thousandths), `dynamic`, or the parts of each GPU, as `3g.40gb|4*1g.10gb`."""
    text = row.text("mig").lower()
    if not text:
        return None
    card = accelerator_class(model)
    if card not in CARDS:
        raise row.wrong(f"mig is {text[:40]!r}, and {model or 'no GPU'} is not known to be cut into parts", _CARDS_HINT)
    if text == "dynamic":
        return Cut(card)
    parts: list[str] = []
    for piece in text.split("|"):
        number, star, profile = piece.strip().rpartition("*")
        if star and not (number.isascii() and number.isdigit() and len(number) < 3 and 0 < int(number) <= _MOST_PARTS):
            raise row.wrong(f"mig has {piece[:40]!r}", f"write how many of each, 1 to {_MOST_PARTS}: 7*1g.10gb")
        if profile_of(_plain(row, profile), card) is None:
            raise row.wrong(
                f"{card} has no MIG profile {profile[:40]!r}", "write dynamic, or profiles: 3g.40gb|4*1g.10gb"
            )
        parts += [profile] * (int(number) if star else 1)
    cut = Cut(card, tuple(sorted(parts)))
    if len(parts) > _MOST_PARTS or not layout_exists(cut):
        raise row.wrong(f"no {card} can be cut into {text[:80]} at once", "list what one GPU of the node is cut into")
    return cut


def _plain(row: _Row, profile: str) -> str:
    """The profile itself, if it has no engines beside: a card has few of these, and how many is not known here."""
    if profile.partition("gb")[2]:
        raise row.wrong(f"the MIG profile {profile[:40]!r} is not simulated", "write it without suffix, as 1g.10gb")
    return profile


def _drawn_spot(name: str, percent: int) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 100 < percent


def read_pods(path: str, *, spot: bool, cuts: Iterable[Cut] = ()) -> list[Pod]:
    """Pods: name, cpu_milli, memory_mib, num_gpu, gpu_milli; may have gpu_spec (models joined by `|`), qos and mig.

    `mig`: a profile (`2g.20gb`, `nvidia.com/mig-2g.20gb`); then num_gpu is 1 and gpu_milli 0: the profile says how much
    of the cards that the nodes have (`cuts`).
    `qos` is asked where some node is `spot` alone: pods that differ in nothing else are scored once. Raises UsageError.
    """
    pods: list[Pod] = []
    names: set[str] = set()
    shapes: dict[Shape, Shape] = {}
    known = frozenset(cuts)
    parts: dict[str, int | None] = {}
    for row in _rows(path, ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"), MOST_PODS):
        name = row.name("name")
        if name in names:
            raise row.wrong(f"a pod {name!r} stands above already", "give each pod a name of its own")
        names.add(name)
        gpus, milli = row.count("num_gpu", MOST_GPUS), row.count("gpu_milli", WHOLE)
        profile = _plain(row, row.text("mig").lower().removeprefix(RESOURCE))
        if profile:
            if (gpus, milli) != (1, 0):
                raise row.wrong(
                    f"mig is {profile[:40]!r}, num_gpu {gpus} and gpu_milli {milli}", "write num_gpu 1 and gpu_milli 0"
                )
            if profile not in parts:
                parts[profile] = part_of(profile, known)
            milli = parts[profile] or 0
            if not milli:
                raise row.wrong(
                    f"no card has a MIG profile {profile[:40]!r}", "write one as 2g.20gb, or leave it empty"
                )
        if bool(gpus) != bool(milli):
            raise row.wrong(f"num_gpu is {gpus} and gpu_milli is {milli}", "either both are 0 or neither is")
        if gpus > 1 and milli < WHOLE:
            raise row.wrong(f"{gpus} GPUs of which {milli} thousandths each", "a part is of one GPU; several are whole")
        shape = Shape(
            row.count("cpu_milli", MOST_CPU_MILLI),
            row.count("memory_mib", MOST_MEMORY_MIB),
            gpus,
            milli,
            tuple(part for part in row.text("gpu_spec").split("|") if part) if gpus else (),
            spot and row.text("qos").upper() in _INTERRUPTIBLE,
            profile,
        )
        pods.append(Pod(name, shapes.setdefault(shape, shape)))
    if not pods:
        raise UsageError("no pod is listed", where=path, hint="list at least one pod below the header")
    return pods


def read_prices(path: str) -> Prices:
    """Prices: model, usd_per_gpu_hour; may have spot_usd_per_gpu_hour. Raises UsageError."""
    prices: dict[str, tuple[Money, Money | None]] = {}
    for row in _rows(path, ("model", "usd_per_gpu_hour"), MOST_MODELS):
        model = row.name("model")
        if model in prices:
            raise row.wrong(f"the model {model!r} stands above already", "give each model one price")
        spot = row.text("spot_usd_per_gpu_hour")
        prices[model] = _money(row, "usd_per_gpu_hour"), _money(row, "spot_usd_per_gpu_hour") if spot else None
    return prices


def _money(row: _Row, column: str) -> Money:
    try:
        amount = Money.parse(row.text(column))
    except MoneyError as error:
        raise row.wrong(str(error), f"write {column} as a decimal number of US dollars") from error
    if amount.pico <= 0:
        raise row.wrong(f"{column} is {row.text(column)[:40]}", "what has no price is left out; nothing is free")
    return amount
