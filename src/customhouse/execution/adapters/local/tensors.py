"""Open Inference Protocol v2 (KServe `inference_rest`): requests into arrays, arrays into answers.

JSON tensors, and the binary tensor data extension (`inference-header-content-length`). Everything from a client is
checked before it reaches the runtime; what is wrong is an InvalidRequestError that names the tensor.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from customhouse.execution.adapters.local.model import TensorSpec

MAX_ELEMENTS = 16 << 20
_MAX_NESTING = 16
NUMPY: Mapping[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
Array = Any


class InvalidRequestError(ValueError):
    """The client's request is wrong; the message is the answer's `error`."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What one request asks: arrays by input name, output names, which outputs go as binary."""

    id: str | None
    feeds: Mapping[str, Array]
    outputs: tuple[str, ...]
    binary: frozenset[str]


def decode(
    body: bytes, header_length: str | None, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> InferRequest:
    """Read an inference request. Raises InvalidRequestError."""
    size = len(body)
    if header_length is not None:
        # Ten ASCII digits: ¹ is a digit to Python, and int() of thousands of digits is an error of its own.
        if re.fullmatch(r"[0-9]{1,10}", header_length) is None or int(header_length) > size:
            raise InvalidRequestError("inference-header-content-length is not a length within the body")
        size = int(header_length)
    try:
        document = orjson.loads(body[:size])
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequestError("the body is not a JSON object")
    identity = document.get("id")
    if identity is not None and (not isinstance(identity, str) or len(identity) > 256):
        raise InvalidRequestError("id is not a text of at most 256 characters")
    feeds = _feeds(_list(document, "inputs"), body[size:], {spec.name: spec for spec in inputs})
    parameters = _parameters(document, "the request")
    names, binary = _outputs(
        _list(document, "outputs") if document.get("outputs") else [],
        [spec.name for spec in outputs],
        parameters.get("binary_data_output") is True,
    )
    return InferRequest(identity, feeds, names, binary)


def _feeds(items: list[Any], tail: bytes, specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    position = 0
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise InvalidRequestError("an input is not an object with a name")
        name = item["name"]
        spec = specs.get(name)
        if spec is None:
            raise InvalidRequestError(f"input {name!r} is unknown; the model has {', '.join(specs)}")
        if name in feeds:
            raise InvalidRequestError(f"input {name!r} is given twice")
        shape = _shape(item, spec)
        if item.get("datatype") != spec.datatype:
            raise InvalidRequestError(f"input {name!r} has datatype {item.get('datatype')!r}, not {spec.datatype}")
        length = _parameters(item, f"input {name!r}").get("binary_data_size")
        if length is None:
            feeds[name] = _from_json(item.get("data"), spec, shape)
            continue
        if isinstance(length, bool) or not isinstance(length, int) or not 0 <= length <= len(tail) - position:
            raise InvalidRequestError(f"input {name!r}: binary_data_size is not a length within the body")
        feeds[name] = _from_binary(tail[position : position + length], spec, shape)
        position += length
    if position != len(tail):
        raise InvalidRequestError(f"{len(tail) - position} bytes after the last input")
    missing = [name for name in specs if name not in feeds]
    if missing:
        raise InvalidRequestError(f"input {missing[0]!r} is missing")
    return feeds


def _shape(item: Mapping[str, Any], spec: TensorSpec) -> tuple[int, ...]:
    shape = item.get("shape")
    whole = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
    if not whole or not isinstance(shape, list):
        raise InvalidRequestError(f"input {spec.name!r}: shape is not a list of whole numbers")
    fits = len(shape) == len(spec.shape) and all(
        want in (-1, have) for want, have in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise InvalidRequestError(f"input {spec.name!r} has shape {shape}, not {list(spec.shape)}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise InvalidRequestError(f"input {spec.name!r} has more than {MAX_ELEMENTS} elements")
    return tuple(shape)


def _from_json(data: Any, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    if not isinstance(data, list):
        raise InvalidRequestError(f"input {spec.name!r} has no data list")
    flat = _flatten(data, spec.name)
    if len(flat) != math.prod(shape):
        raise InvalidRequestError(
            f"input {spec.name!r} has {len(flat)} elements; its shape asks for {math.prod(shape)}"
        )
    kinds = {type(value) for value in flat}
    good: set[type] = {bool} if spec.datatype == "BOOL" else {int}
    if spec.datatype.startswith("FP"):
        good = {int, float}
    elif spec.datatype == "BYTES":
        good = {str}
    if not kinds <= good:
        wrong = next(iter(kinds - good)).__name__
        raise InvalidRequestError(f"input {spec.name!r}: {wrong} in the data of a {spec.datatype} tensor")
    try:
        return np.array(flat, dtype=NUMPY[spec.datatype]).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise InvalidRequestError(f"input {spec.name!r}: {error}") from error


def _flatten(data: list[Any], name: str) -> list[Any]:
    for _ in range(_MAX_NESTING):
        if not any(isinstance(item, list) for item in data):
            return data
        if not all(isinstance(item, list) for item in data):
            raise InvalidRequestError(f"input {name!r}: values and lists are mixed in the data")
        data = [value for item in data for value in item]
    raise InvalidRequestError(f"input {name!r}: data nested deeper than {_MAX_NESTING}")


def _from_binary(data: bytes, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    count = math.prod(shape)
    if spec.datatype == "BYTES":
        texts: list[str] = []
        position = 0
        while position < len(data):
            end = position + 4 + int.from_bytes(data[position : position + 4], "little")
            if end > len(data):
                raise InvalidRequestError(f"input {spec.name!r}: a text reaches beyond the data")
            texts.append(data[position + 4 : end].decode("utf-8", "replace"))
            position = end
        return _from_json(texts, spec, shape)
    dtype = np.dtype(NUMPY[spec.datatype]).newbyteorder("<")
    if len(data) != count * dtype.itemsize:
        raise InvalidRequestError(
            f"input {spec.name!r} has {len(data)} bytes; its shape and datatype ask for {count * dtype.itemsize}"
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _outputs(items: list[Any], known: list[str], binary: bool) -> tuple[tuple[str, ...], frozenset[str]]:
    if not items:
        return tuple(known), frozenset(known) if binary else frozenset()
    names: list[str] = []
    chosen: set[str] = set()
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if name not in known or name in names:
            raise InvalidRequestError(f"output {name!r} is unknown or given twice; the model has {', '.join(known)}")
        names.append(name)
        if _parameters(item, f"output {name!r}").get("binary_data", binary) is True:
            chosen.add(name)
    return tuple(names), frozenset(chosen)


def encode(
    model: str, version: str, request: InferRequest, identity: str, arrays: Sequence[Array]
) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON part when binary tensors follow it."""
    rows: list[dict[str, Any]] = []
    tails: list[bytes] = []
    for name, array in zip(request.outputs, arrays, strict=True):
        row: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype(array)}
        if name in request.binary:
            tails.append(_to_binary(array))
            row["parameters"] = {"binary_data_size": len(tails[-1])}
        elif array.dtype == np.float16:  # orjson does not write half precision
            row["data"] = array.astype(np.float32).reshape(-1)
        else:
            row["data"] = array.reshape(-1).tolist() if array.dtype.kind in "OU" else array.reshape(-1)
        rows.append(row)
    document = {"model_name": model, "model_version": version, "id": identity, "outputs": rows}
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([head, *tails]), len(head)) if tails else (head, None)


def _to_binary(array: Array) -> bytes:
    if array.dtype.kind in "OU":
        texts = [str(value).encode() for value in array.reshape(-1)]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return bytes(array.astype(array.dtype.newbyteorder("<")).tobytes())


def datatype(array: Array) -> str:
    """The protocol's name of an array's type."""
    for name, dtype in NUMPY.items():
        if array.dtype == dtype:
            return name
    return "BYTES"


def prediction(arrays: Sequence[Array], rows: int = 64, columns: int = 32) -> list[list[float]] | None:
    """The rows of the first floating output (at most `rows` × `columns`), for later feedback; None when larger."""
    for array in arrays:
        if array.dtype.kind == "f" and array.ndim >= 1:
            flat = array.reshape(array.shape[0], -1) if array.ndim > 1 else array.reshape(-1, 1)
            if flat.shape[0] <= rows and 1 <= flat.shape[1] <= columns and bool(np.isfinite(flat).all()):
                result: list[list[float]] = flat.astype(float).tolist()
                return result
            return None
    return None


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        raise InvalidRequestError(f"{key} is not a list")
    return value


def _parameters(item: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    value = item.get("parameters")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what}: parameters is not an object")
    return value
