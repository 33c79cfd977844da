"""NumPy's .npy, and pickles (joblib's too) of plain arrays."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from customhouse.trust.convert.tensors import NUMPY, WIDTH, Place, Tensor, refuse, row_major
from customhouse.trust.convert.values import Call, Name, Reader
from customhouse.trust.scan.source import Cursor, Source

_ARRAY = (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"))
_SCALAR = (("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"))
_BUFFER = (("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"))


def numpy_type(text: Any) -> tuple[str, bool]:
    """The safetensors type of NumPy's text for it, and whether it is big-endian. Raises ArtifactError."""
    if isinstance(text, str):
        order = text[:1] if text[:1] in "<>|=" else ""
        kind = NUMPY.get(text[len(order) :])
        if kind is not None:
            return kind, order == ">"
    raise refuse(f"holds an array of type {text!r}, which safetensors has not", hint="convert texts, dates and objects")


def read_npy(source: Source) -> Tensor:
    """The array of an .npy file that was scanned before."""
    wide = 2 if source.read(6, 1) == b"\x01" else 4
    length = int.from_bytes(source.read(8, wide), "little")
    start = 8 + wide + length
    header = ast.literal_eval(source.read(8 + wide, length).decode("utf-8").strip())
    if not isinstance(header["descr"], str):
        raise refuse("holds a record array, which safetensors has not", hint="save each field by itself")
    kind, swapped = numpy_type(header["descr"])
    shape = tuple(header["shape"])
    return _whole(source, start, kind, shape, swapped=swapped, columns_first=bool(header["fortran_order"]))


def _whole(
    source: Source, start: int, kind: str, shape: tuple[int, ...], *, swapped: bool, columns_first: bool
) -> Tensor:
    elements = 1
    for side in shape:
        elements *= side
    size = elements * WIDTH[kind]
    place = Place(f"@{start}", kind, elements, lambda: source.read(start, size), swapped)
    tensor = Tensor(place, shape, 0, row_major(shape, columns_first=columns_first))
    tensor.check()
    return tensor


class Array:
    """What `_reconstruct` gives; BUILD fills it: (version, shape, dtype, columns first, bytes)."""

    def __init__(self) -> None:
        self.tensor: Tensor | None = None

    def set_state(self, state: Any) -> None:
        """Raises ArtifactError for arrays of objects and subclasses."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise refuse("an array with an odd state")
        shape, dtype, columns_first, data = state[-4:]
        kind, swapped = pickled_type(dtype)
        if isinstance(data, str):
            data = data.encode("latin-1")
        if not isinstance(data, bytes) or not isinstance(shape, tuple):
            raise refuse("an array whose data is no byte string")
        self.tensor = _of_bytes(data, kind, shape, swapped=swapped, columns_first=columns_first is True)


def _of_bytes(data: bytes, kind: str, shape: tuple[int, ...], *, swapped: bool, columns_first: bool) -> Tensor:
    place = Place(f"#{id(data)}", kind, len(data) // WIDTH[kind], lambda: data, swapped)
    tensor = Tensor(place, tuple(shape), 0, row_major(tuple(shape), columns_first=columns_first))
    tensor.check()
    return tensor


def pickled_type(dtype: Any) -> tuple[str, bool]:
    """The type of a pickled `numpy.dtype(text, …)`, whose state says the byte order."""
    if isinstance(dtype, Call) and (dtype.name.module, dtype.name.name) == ("numpy", "dtype") and dtype.arguments:
        kind, swapped = numpy_type(dtype.arguments[0])
        order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else ""
        return kind, swapped or order == ">"
    raise refuse("an array of a type that is no plain number")


def read_pickle(source: Source) -> Any:
    """The plain values of a pickle or an uncompressed joblib file; arrays as tensors. Raises ArtifactError."""

    def built(call: Call, cursor: Cursor) -> Any:
        return _in_line(source, call, cursor) if call.name.name == "NumpyArrayWrapper" else call

    reader = Reader(source, 0, _rebuild, None, built)
    value = reader.read()
    if reader.cursor.left:
        raise refuse("several pickles in a row", hint="save one object a file")
    return value


def _rebuild(call: Call) -> Any:
    key = (call.name.module, call.name.name)
    if key in _ARRAY:
        if call.arguments[:1] != (Name("numpy", "ndarray"),):
            raise refuse(f"holds a subclass of arrays, {call.arguments[:1]}", hint="save numpy.asarray() of it")
        return Array()
    if key in _BUFFER and len(call.arguments) == 4:
        data, dtype, shape, order = call.arguments
        kind, swapped = pickled_type(dtype)
        return _of_bytes(data, kind, shape, swapped=swapped, columns_first=order == "F")
    if key in _SCALAR and len(call.arguments) == 2 and isinstance(call.arguments[1], (bytes, str)):
        kind, swapped = pickled_type(call.arguments[0])
        data = call.arguments[1]
        return _of_bytes(_raw(data), kind, (), swapped=swapped, columns_first=False)
    if key == ("_codecs", "encode") and len(call.arguments) == 2 and isinstance(call.arguments[0], str):
        return call.arguments[0].encode("latin-1")
    if key in (("collections", "OrderedDict"), ("builtins", "dict")) and not call.arguments:
        return {}
    if key in (("numpy", "dtype"), ("joblib.numpy_pickle", "NumpyArrayWrapper"), ("builtins", "bytearray")):
        return call
    raise refuse(f"holds {call.name}, which is no plain array", hint="save its arrays in a dictionary")


def _raw(data: bytes | str) -> bytes:
    return data.encode("latin-1") if isinstance(data, str) else data


def _in_line(source: Source, call: Call, cursor: Cursor) -> Tensor:
    """Arrays of joblib's: raw bytes after the wrapper, behind a few bytes of padding."""
    state = call.state
    if not isinstance(state, dict) or state.get("subclass") != Name("numpy", "ndarray"):
        raise refuse("holds a subclass of arrays", hint="save numpy.asarray() of it")
    kind, swapped = pickled_type(state.get("dtype"))
    shape = state.get("shape")
    if not isinstance(shape, tuple):
        raise refuse("an array without a shape")
    if isinstance(state.get("numpy_array_alignment_bytes"), int):
        cursor.skip(cursor.number(1))
    start = cursor.position
    tensor = _whole(source, start, kind, shape, swapped=swapped, columns_first=state.get("order") == "F")
    cursor.skip(tensor.size)
    return tensor


def members(read: Callable[[str], bytes], names: list[str]) -> dict[str, Tensor]:
    """The arrays of an .npz archive by name."""
    found: dict[str, Tensor] = {}
    for name in names:
        if not name.endswith(".npy"):
            raise refuse(f"holds {name!r}, which is no array")
        tensor = read_npy(Source.of(read(name)))
        found[name.removesuffix(".npy")] = tensor
    return found
