"""NumPy's `.npz`: arrays in a zip, read side by side as rows, with limits and without pickle.

Arrays are told apart by their names: `x_train` and `train_images` belong to the split train, `y`, `labels` and
`targets` are the labels of their split, and what else has as many rows is columns beside one another. Members are
streamed; nothing is unpacked to a file. The form of a member is that of `numpy.lib.format`, versions 1 and 2.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from customhouse._kit.reading import NotRegularError, opened
from customhouse.core.errors import ArtifactError
from customhouse.trust.dataset.batch import BATCH, MAX_COLUMNS, Batch
from customhouse.trust.dataset.layout import split_in

MAX_MEMBERS = 1000
MAX_DIRECTORY = 1 << 20
"""Bytes of the zip's directory, which is read at once."""
MAX_UNPACKED = 64 << 30
MAX_RATIO = 1000
"""Bytes out for each byte of the file, once it is more than 16 MiB: also where members lie upon one another."""
MAX_ASIDE = 1000
"""A vector with another number of rows, and no longer than this, is about the data (names of classes), and is told."""
_MAX_TURNED = 256 << 20
"""An array in Fortran's order has its rows spread over all of it, so it is read at once."""
_BLOCK_BYTES = 8 << 20
_LABEL = re.compile(r"(?:^|[._-])(y|labels?|targets?)(?=$|[._-])", re.IGNORECASE)
_SPARSE = frozenset({"indices", "indptr", "format", "shape", "data"})
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_STATISTICS = ("minimum", "maximum", "mean", "spread")


@dataclass(slots=True)
class PackedFile:
    """What turned out while a file was read: arrays that are about the data, and those that fit to none."""

    name: str
    aside: list[str] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)
    arrays: int = 0


@dataclass(slots=True)
class _Member:
    """One array: its header, and the stream that its rows come from."""

    name: str
    dtype: Any
    shape: tuple[int, ...]
    turned: bool
    stream: Any
    whole: Any = None

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 0

    @property
    def row_bytes(self) -> int:
        return int(self.dtype.itemsize) * math.prod(self.shape[1:])

    @property
    def wide(self) -> bool:
        return len(self.shape) > 2

    def take(self, start: int, count: int) -> Any:
        """Rows [start, start + count), which have to be asked for in order."""
        if self.turned and self.whole is None:
            data = _exactly(self.stream, self.row_bytes * self.rows)
            self.whole = np.frombuffer(data, self.dtype).reshape(self.shape[::-1]).T
        if self.whole is not None:
            return self.whole[start : start + count]
        data = _exactly(self.stream, self.row_bytes * count)
        return np.frombuffer(data, self.dtype).reshape((count, *self.shape[1:]))

    def names(self, alone: bool) -> tuple[str, ...]:
        """What its columns are called."""
        width = math.prod(self.shape[1:])
        stem = "x" if alone else self.name
        if self.wide:
            return _STATISTICS if alone else tuple(f"{stem}.{what}" for what in _STATISTICS)
        if len(self.shape) == 1:
            return ("x0",) if alone else (stem,)
        return tuple(f"{stem}{at}" for at in range(width))


class _Careful(io.BufferedReader):
    """`zipfile` reads the directory at once, however large it says that it is."""

    most = MAX_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise zipfile.BadZipFile(f"its directory has more than {MAX_DIRECTORY} bytes")
        return super().read(size)


def packed_batches(path: Path, told: PackedFile, *, first: int) -> Iterator[Batch]:
    """Rows of the arrays, split by split. Raises ArtifactError for what is no such file, or beyond the limits."""
    name = told.name
    try:
        with ExitStack() as stack:
            descriptor = stack.enter_context(opened(path))
            raw = stack.enter_context(_Careful(io.FileIO(descriptor, closefd=False)))
            archive = stack.enter_context(zipfile.ZipFile(raw))
            raw.most = MAX_UNPACKED
            infos = _members(archive, path.stat().st_size, name)
            members = [_member(archive, info, stack, name) for info in infos]
            told.arrays = len(members)
            if {member.name for member in members} >= _SPARSE:
                raise ArtifactError("a sparse matrix of SciPy is not read", where=name, hint=_DENSE)
            for group in _groups(members):
                for batch in _rows(group, told, first):
                    first += len(batch.cells)
                    yield batch
    except NotRegularError as error:
        raise ArtifactError(str(error), where=name, hint="copy the file there") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise ArtifactError(f"cannot be read as .npz: {why}", where=name, hint=_WRITE) from error


_WRITE = "write it with numpy.savez or numpy.savez_compressed, of arrays of plain numbers or texts"
_DENSE = "write it with numpy.savez as a dense array, or one row a line as JSON Lines"


def _members(archive: zipfile.ZipFile, size: int, name: str) -> list[zipfile.ZipInfo]:
    """The members, in order of their names. Raises ArtifactError for what no NumPy writes."""
    infos = archive.infolist()
    if not 0 < len(infos) <= MAX_MEMBERS:
        raise ArtifactError(f"{len(infos)} members; 1 to {MAX_MEMBERS} arrays are read", where=name, hint=_WRITE)
    for info in infos:
        where = f"{name}: {info.filename[:80]}"
        if not info.filename.endswith(".npy"):
            raise ArtifactError("it is no array (.npy)", where=where, hint=_WRITE)
        if info.flag_bits & 1:
            raise ArtifactError("it is encrypted", where=where, hint="decrypt it first: nobody can look at it so")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArtifactError(f"it is packed by method {info.compress_type}", where=where, hint=_WRITE)
    if len({info.filename for info in infos}) != len(infos):
        raise ArtifactError("it holds an array twice", where=name, hint="two readers take two of them: write it anew")
    total = sum(info.file_size for info in infos)
    if total > MAX_UNPACKED or (total > 1 << 24 and total > MAX_RATIO * size):
        raise ArtifactError(
            f"unpacks to more than {MAX_RATIO} times its size, or 64 GiB",
            where=name,
            hint="a decompression bomb is no dataset; write it with numpy.savez if it really is this large",
        )
    return sorted(infos, key=lambda info: info.filename)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, stack: ExitStack, name: str) -> _Member:
    where = f"{name}: {info.filename[:80]}"
    stream = stack.enter_context(archive.open(info))
    try:
        shape, turned, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    except KeyError as error:
        raise ArtifactError("its header is of a version for structures", where=where, hint=_WRITE) from error
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        why = " ".join(str(error).split())[:200]
        raise ArtifactError(f"its header cannot be read: {why}", where=where, hint=_WRITE) from error
    if dtype.hasobject:
        raise ArtifactError("it holds Python objects, which are never unpickled here", where=where, hint=_WRITE)
    if dtype.kind not in "biufUS" or not dtype.itemsize or any(length < 0 for length in shape) or 0 in shape[1:]:
        raise ArtifactError("not an array of numbers or texts", where=where, hint=_WRITE)
    made = _Member(info.filename.removesuffix(".npy"), dtype, shape, turned and len(shape) > 1, stream)
    promised = int(dtype.itemsize) * math.prod(shape)
    if stream.tell() + promised != info.file_size:
        there = info.file_size - stream.tell()
        raise ArtifactError(f"its header promises {promised} bytes, and {there} are there", where=where, hint=_WRITE)
    if not made.wide and len(shape) == 2 and shape[1] > MAX_COLUMNS:
        hint = "give items of more than one axis (pictures) as such: they are read by their statistics"
        raise ArtifactError(f"{shape[1]} columns; {MAX_COLUMNS} are read at the most", where=where, hint=hint)
    if made.turned and promised > _MAX_TURNED:
        hint = "write it by numpy.ascontiguousarray"
        raise ArtifactError(f"in Fortran's order, of more than {_MAX_TURNED} bytes", where=where, hint=hint)
    if shape and shape[0] and made.row_bytes > _MAX_TURNED:
        raise ArtifactError(f"one row is more than {_MAX_TURNED} bytes", where=where, hint="rows are the first axis")
    return made


def _groups(members: Sequence[_Member]) -> list[tuple[str, list[_Member]]]:
    """Arrays by the split that their names tell."""
    found: dict[str, list[_Member]] = {}
    for member in members:
        found.setdefault(split_in(member.name), []).append(member)
    return list(found.items())


def _rows(group: tuple[str, list[_Member]], told: PackedFile, first: int) -> Iterator[Batch]:
    split, members = group
    chosen, label = _chosen(members, told)
    if not chosen:
        return
    rows = chosen[0].rows
    alone = len(chosen) == 1
    columns = tuple(name for member in chosen for name in member.names(alone)) + (() if label is None else ("label",))
    if len(columns) > MAX_COLUMNS:
        raise ArtifactError(f"{len(columns)} columns; {MAX_COLUMNS} are read at the most", where=told.name)
    if len(set(columns)) != len(columns):
        raise ArtifactError("arrays whose columns have the same name", where=told.name, hint="rename one of them")
    step = max(1, min(BATCH, _BLOCK_BYTES // max(1, sum(member.row_bytes for member in chosen))))
    within = chosen[0].name if alone else split
    file = f"{told.name}/{within}" if split else told.name
    for start in range(0, rows, step):
        count = min(step, rows - start)
        parts = [member.take(start, count) for member in chosen]
        cells = [[cell for part in row for cell in part] for row in zip(*map(_cells, parts), strict=True)]
        if label is not None:
            for row, mark in zip(cells, _marks(label.take(start, count), f"{told.name}: {label.name}"), strict=True):
                row.append(mark)
        raw = [_item_bytes(part) for part in parts]
        yield Batch(
            file,
            first + start,
            columns,
            range(start, start + count),
            tuple(map(tuple, cells)),
            by="#",
            raw=tuple(b"".join(items) for items in zip(*raw, strict=True)),
            split=split,
        )


def _chosen(members: list[_Member], told: PackedFile) -> tuple[list[_Member], _Member | None]:
    """The arrays that are columns side by side, and the one that has their labels."""
    labels = [member for member in members if member.shape and _LABEL.search(member.name)]
    others = [member for member in members if member not in labels]
    label = labels[0] if labels and others else None
    rows = label.rows if label is not None else max((member.rows for member in members), default=0)
    chosen = []
    for member in members:
        if member is label:
            continue
        if member.shape and member.rows == rows:
            chosen.append(member)
        elif len(member.shape) <= 1 and member.rows <= MAX_ASIDE:
            told.aside.append(member.name)
        else:
            told.unfit.append(f"{member.name} has {member.rows} rows, not {rows}")
    return chosen, label


def _cells(part: Any) -> list[list[str]]:
    if part.ndim > 2:
        flat = part.reshape(len(part), -1)
        if not flat.shape[1]:
            return [["0", "0", "0", "0"]] * len(part)
        flat = flat.astype(np.float64) if part.dtype.kind in "biuf" else np.zeros((len(part), 1))
        shown = np.stack([flat.min(1), flat.max(1), flat.mean(1), flat.std(1)], axis=1)
    else:
        shown = part.reshape(len(part), -1)
    rows: list[list[Any]] = shown.tolist()
    return [[value if isinstance(value, str) else repr(value) for value in row] for row in rows]


def _item_bytes(part: Any) -> list[bytes]:
    plain = part.astype(part.dtype.newbyteorder("<"), copy=False)
    return [np.ascontiguousarray(item).tobytes() for item in plain]


def _marks(part: Any, where: str) -> list[str]:
    """Labels as texts; of several columns of 0 and 1 those that are 1."""
    flat = part.reshape(len(part), -1)
    if flat.shape[1] == 1:
        return [str(value) for value in flat[:, 0].tolist()]
    if part.dtype.kind not in "biuf" or not bool(((flat == 0) | (flat == 1)).all()):
        raise ArtifactError("labels of several columns are 0 or 1", where=where, hint="give one label for each row")
    return ["|".join(str(at) for at in np.flatnonzero(row).tolist()) for row in flat]


def _exactly(stream: Any, size: int) -> bytes:
    parts, left = [], size
    while left:
        data = stream.read(min(left, _BLOCK_BYTES))
        if not data:
            raise EOFError("an array ends early")
        parts.append(data)
        left -= len(data)
    return b"".join(parts)
