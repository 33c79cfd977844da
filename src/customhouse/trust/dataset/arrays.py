"""NumPy arrays as rows: the header read by itself, no pickle, mapped into memory item by item.

`x.npy` holds the items along its first axis; `x_labels.npy`, `labels.npy` or `y.npy` beside it their labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from customhouse.core.errors import ArtifactError
from customhouse.trust.dataset.batch import BATCH, MAX_COLUMNS, Batch

LABELS = ("labels.npy", "y.npy")
_BLOCK = 256


def array(path: Path, name: str) -> Any:
    """The array in a file, mapped. Raises ArtifactError for what is no array of plain numbers, or is cut short."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise ArtifactError(
            f"cannot be read as an array: {' '.join(str(error).split())[:200]}",
            where=name,
            hint="write it with numpy.save and allow_pickle=False",
        ) from error
    if not isinstance(found, np.ndarray) or found.ndim == 0 or found.dtype.kind not in "biufUS" or 0 in found.shape[1:]:
        raise ArtifactError("not an array of numbers or texts along an axis", where=name, hint="numpy.save writes one")
    if found.ndim == 2 and found.shape[1] > MAX_COLUMNS:
        raise ArtifactError(
            f"{found.shape[1]} columns; {MAX_COLUMNS} are read at the most",
            where=name,
            hint="give items of more than one axis (pictures) as such: they are read by their statistics",
        )
    return found


def labels_of(path: Path) -> Path | None:
    """Where the labels of an array are, by the names that people give them."""
    for name in (f"{path.stem}_labels.npy", *LABELS):
        if (path.parent / name).is_file() and name != path.name:
            return path.parent / name
    return None


def array_batches(path: Path, name: str, *, first: int, labels: Path | None) -> Iterator[Batch]:
    """Rows of an array: its columns `x0`, `x1` … when it has two axes, statistics of each item when it has more."""
    items = array(path, name)
    marks = None if labels is None else array(labels, labels.name)
    if marks is not None and (marks.ndim != 1 or len(marks) != len(items)):
        raise ArtifactError(
            f"{len(marks)} labels for {len(items)} items", where=labels.name if labels else name, hint="one for each"
        )
    wide = items.ndim > 2
    statistics = ("minimum", "maximum", "mean", "spread")
    names = statistics if wide else tuple(f"x{i}" for i in range(1 if items.ndim == 1 else items.shape[1]))
    columns = (*names, *(() if marks is None else ("label",)))
    step = _BLOCK if wide else BATCH
    for start in range(0, len(items), step):
        part = np.asarray(items[start : start + step])
        plain = part.astype(part.dtype.newbyteorder("<"), copy=False)
        if wide:
            flat = part.reshape(len(part), -1).astype(np.float64)
            shown = np.stack([flat.min(1), flat.max(1), flat.mean(1), flat.std(1)], axis=1)
        else:
            shown = part.reshape(len(part), -1)
        cells = [[repr(value) if not isinstance(value, str) else value for value in row] for row in shown.tolist()]
        if marks is not None:
            for row, mark in zip(cells, np.asarray(marks[start : start + step]).tolist(), strict=True):
                row.append(str(mark))
        yield Batch(
            name,
            first + start,
            columns,
            range(start, start + len(part)),
            tuple(map(tuple, cells)),
            by="#",
            raw=tuple(np.ascontiguousarray(item).tobytes() for item in plain),
        )
