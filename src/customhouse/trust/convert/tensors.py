"""A tensor as it lies in a file: where its elements are, and how they are read into plain, little-endian bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from customhouse.core.errors import ArtifactError

WIDTH: Mapping[str, int] = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip
"""Bytes of an element, by safetensors' names of types (safetensors/src/tensor.rs, Dtype)."""
NUMPY: Mapping[str, str] = {
    "f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u8": "U64", "u4": "U32",
    "u2": "U16", "u1": "U8", "b1": "BOOL", "?": "BOOL", "c8": "C64", "b": "I8", "B": "U8",
}  # fmt: skip
"""NumPy's letters to the same."""
MAX_TENSOR = 64 << 30


def refuse(why: str, *, hint: str = "") -> ArtifactError:
    """The error of something that is not converted; the file's name is added where it is known."""
    return ArtifactError(why, hint=hint)


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of elements in a file: a torch storage, an array's data. `read` gives all its bytes."""

    key: str
    dtype: str
    elements: int
    read: Callable[[], bytes]
    swapped: bool = False
    """Whether it is big-endian."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a place: `offset` and `stride` count elements."""

    place: Place
    shape: tuple[int, ...]
    offset: int
    stride: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """By safetensors' name."""
        return self.place.dtype

    @property
    def size(self) -> int:
        """Bytes when written whole."""
        return prod(self.shape) * WIDTH[self.dtype]

    def check(self) -> None:
        """Raises ArtifactError when the view reaches outside of its place, as only a broken or hostile file's does."""
        if len(self.shape) != len(self.stride) or any(side < 0 for side in (*self.shape, *self.stride, self.offset)):
            raise refuse("a tensor whose shape and strides do not fit each other")
        last = self.offset + sum((side - 1) * step for side, step in zip(self.shape, self.stride, strict=True))
        if (prod(self.shape) and last >= self.place.elements) or self.size > MAX_TENSOR:
            raise refuse(f"a tensor reaches past the end of its storage {self.place.key!r}")

    def data(self) -> bytes:
        """The elements in row-major order, little-endian."""
        self.check()
        width = WIDTH[self.dtype]
        raw = self.place.read()
        if len(raw) != self.place.elements * width:
            raise refuse(f"storage {self.place.key!r} has {len(raw)} bytes for {self.place.elements} elements")
        flat = np.frombuffer(raw, dtype=f"V{width}")
        if self.place.swapped and width > 1:
            part = 4 if self.dtype == "C64" else width
            flat = np.frombuffer(np.frombuffer(raw, dtype=f">u{part}").astype(f"<u{part}").tobytes(), dtype=f"V{width}")
        if not prod(self.shape):
            return b""
        steps = tuple(step * width for step in self.stride)
        view = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps, writeable=False)  # typos: ignore
        return view.tobytes()

    def same_view(self) -> tuple[object, ...]:
        """Equal for two names of one tensor."""
        return (self.place.key, self.place.dtype, self.shape, self.offset, self.stride)


def row_major(shape: tuple[int, ...], *, columns_first: bool = False) -> tuple[int, ...]:
    """The strides, in elements, of an array that lies whole; `columns_first` for Fortran's order."""
    sides = shape if columns_first else shape[::-1]
    steps, step = [], 1
    for side in sides:
        steps.append(step)
        step *= max(side, 1)
    return tuple(steps if columns_first else steps[::-1])
