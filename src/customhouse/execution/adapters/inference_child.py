"""The process that runs a model which is evaluated: it may hang, crash or want too much memory, and takes nobody along.

Frames (`_kit.companion`): `L` and JSON load a model (path, pinned digest, bytes of address space); `P`, a line of JSON
(rows, columns, outputs) and the rows as little-endian float64 (or `T`: JSON of texts) ask for its outputs. An answer is
a line of JSON and the bytes of its arrays. Run by `execution.adapters.inference` alone.
"""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from customhouse._kit.companion import serve
from customhouse.core.errors import CustomhouseError
from customhouse.execution.adapters.local.model import OnnxModel, TensorSpec, load
from customhouse.execution.adapters.local.tensors import NUMPY

_THREADS = 1
"""Sums in one order: the same model and rows give the same bytes."""


class _RefusalError(Exception):
    """The rows are not what the model takes."""


class _Child:
    def __init__(self) -> None:
        self._model: OnnxModel | None = None

    def answer(self, frame: bytes) -> bytes:
        try:
            if frame[:1] == b"L":
                return _line(self._load(json.loads(frame[1:])))
            head, _, body = frame[1:].partition(b"\n")
            return self._predict(json.loads(head), body, text=frame[:1] == b"T")
        except _RefusalError as error:
            return _line({"refused": str(error)})
        except CustomhouseError as error:
            return _line({"error": error.message, "where": error.where, "hint": error.hint})
        except MemoryError:
            return _line({"error": "it needs more memory than it may have", "memory": True})
        except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen unrelated classes
            text = str(error)[:1000]
            return _line({"error": text, "memory": "bad_alloc" in text or "allocate" in text.lower()})

    def _load(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        import onnxruntime  # type: ignore[import-untyped]  # before the limit: its libraries are no part of the model

        resource.setrlimit(resource.RLIMIT_AS, (asked["memory"], asked["memory"]))
        self._model = load(Path(asked["path"]), asked["digest"], _THREADS)
        return {
            "inputs": [spec.to_json() for spec in self._model.inputs],
            "outputs": [spec.to_json() for spec in self._model.outputs],
            "runtime": f"onnxruntime {onnxruntime.__version__}",
        }

    def _predict(self, asked: Mapping[str, Any], body: bytes, *, text: bool) -> bytes:
        model = self._model
        if model is None:
            raise _RefusalError("no model is loaded")
        if text:
            rows: Any = np.array(json.loads(body), dtype=np.object_).reshape(-1, 1)
        else:
            rows = np.frombuffer(body, dtype="<f8").reshape(asked["rows"], asked["columns"])
        parts: list[list[Any]] = []
        batch = _batch(model.inputs)
        for first in range(0, max(len(rows), 1), batch or max(len(rows), 1)):
            piece = rows[first : first + batch] if batch else rows
            padded = np.concatenate([piece, np.repeat(piece[-1:], batch - len(piece), axis=0)]) if batch else piece
            found = model.infer(_feeds(padded, model.inputs), asked["outputs"], threading.Event())
            parts.append([value[: len(piece)] if getattr(value, "ndim", 0) else value for value in found])
        arrays = [np.concatenate(columns) if batch else columns[0] for columns in zip(*parts, strict=True)]
        return _arrays(asked["outputs"], arrays)


def _batch(inputs: Sequence[TensorSpec]) -> int:
    """The number of rows that the model insists on; 0 where any will do."""
    fixed = {spec.shape[0] for spec in inputs if spec.shape and spec.shape[0] > 0}
    return min(fixed, default=0)


def _feeds(rows: Any, inputs: Sequence[TensorSpec]) -> dict[str, Any]:
    if len(inputs) == 1:
        spec = inputs[0]
        block = _cast(rows, spec)
        return {spec.name: block.reshape(-1) if len(spec.shape) == 1 else block}
    feeds = {}
    for index, spec in enumerate(inputs):
        column = _cast(rows[:, index : index + 1], spec)
        feeds[spec.name] = column.reshape(-1) if len(spec.shape) == 1 else column
    return feeds


def _cast(block: Any, spec: TensorSpec) -> Any:
    if spec.datatype == "BYTES":
        return block if block.dtype == np.object_ else block.astype(str).astype(np.object_)
    wanted = np.dtype(NUMPY[spec.datatype])
    if wanted.kind in "iub":
        limits = (0, 1) if wanted.kind == "b" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
        if not bool(np.all((block == np.rint(block)) & (block >= limits[0]) & (block <= limits[1]))):
            raise _RefusalError(f"input {spec.name!r} takes {spec.datatype}, and a value is no such number")
    return np.ascontiguousarray(block.astype(wanted))


def _arrays(names: Sequence[str], arrays: Sequence[Any]) -> bytes:
    heads: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, array in zip(names, arrays, strict=True):
        if not isinstance(array, np.ndarray):
            raise _RefusalError(f"output {name!r} is no tensor")
        if array.dtype.kind in "OUS":
            heads.append({"name": name, "texts": [str(item) for item in array.reshape(-1)], "shape": list(array.shape)})
            continue
        data = array.astype("<f8").tobytes()
        heads.append({"name": name, "shape": list(array.shape), "kind": array.dtype.kind, "bytes": len(data)})
        tail.append(data)
    return _line({"outputs": heads}) + b"".join(tail)


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


if __name__ == "__main__":
    serve(_Child().answer)
