"""A model that is evaluated, in a process of its own: rows in, outputs out, with limits on time and memory.

Its files are read once by that process and must have the pinned digest, which is that of the bytes that were scanned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from customhouse._kit.clock import Clock
from customhouse._kit.companion import MAX_FRAME, Companion, CompanionError
from customhouse.core.errors import ArtifactError
from customhouse.execution.adapters.local.model import TensorSpec

_MODULE = "customhouse.execution.adapters.inference_child"
_FRAME = MAX_FRAME // 8
"""Bytes of rows in one question: an answer may be several times as large."""
_ROWS = 16_384


class Inference:
    """One loaded model. `seconds` is what all questions together may take, `memory` the bytes of its address space.

    Raises ArtifactError where the model cannot be loaded, fails on rows, takes too long or too much; the message says
    which. To be closed.
    """

    def __init__(self, path: Path, digest: str, clock: Clock, *, seconds: float, memory: int) -> None:
        self._where = str(path)
        self._clock = clock
        self._limit, self._left = seconds, seconds
        self._memory = memory
        self._companion = Companion(_MODULE, environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
        self._companion.start()
        self._generation = self._companion.generation
        self.queries = 0
        """Rows that were asked for."""
        said, _ = self._ask(b"L" + json.dumps({"path": str(path), "digest": digest, "memory": memory}).encode())
        self.runtime: str = said["runtime"]
        self.inputs = tuple(_spec(item) for item in said["inputs"])
        self.outputs = tuple(_spec(item) for item in said["outputs"])

    def close(self) -> None:
        """End the process."""
        self._companion.close()

    def __enter__(self) -> Inference:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def run(self, rows: NDArray[np.float64] | Sequence[str], outputs: Sequence[str]) -> list[Any]:
        """The named outputs for rows [n, features], or for n texts: float64 arrays, or arrays of text.

        One output array a name, all rows of it. Raises ArtifactError.
        """
        text = not isinstance(rows, np.ndarray)
        wide = 8 * rows.shape[1] if isinstance(rows, np.ndarray) else 4096
        step = max(1, min(_ROWS, _FRAME // max(wide, 1)))
        parts: list[list[Any]] = []
        for first in range(0, len(rows), step):
            piece = rows[first : first + step]
            head: dict[str, Any] = {"outputs": list(outputs)}
            if isinstance(piece, np.ndarray):
                head |= {"rows": len(piece), "columns": piece.shape[1]}
                body = np.ascontiguousarray(piece, dtype="<f8").tobytes()
            else:
                body = json.dumps(list(piece)).encode()
            frame = (b"T" if text else b"P") + json.dumps(head).encode() + b"\n" + body
            said, tail = self._ask(frame)
            parts.append(_unpacked(said["outputs"], tail, len(piece), self._where))
            self.queries += len(piece)
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]

    def _ask(self, frame: bytes) -> tuple[Mapping[str, Any], bytes]:
        begun = self._clock.monotonic()
        try:
            answer = self._companion.ask([frame], generation=self._generation, timeout_s=max(self._left, 0.001))
        except CompanionError as error:
            if self._clock.monotonic() - begun >= self._left:
                raise self._slow() from error
            raise ArtifactError(
                f"the model's process did not survive: {error}",
                where=self._where,
                hint=f"it may have needed more than {self._memory >> 20} MiB (limits.memoryMb of the plan)",
            ) from error
        self._left -= self._clock.monotonic() - begun
        head, _, tail = answer.partition(b"\n")
        said: Mapping[str, Any] = json.loads(head)
        if "refused" in said:
            raise ArtifactError(f"the rows do not fit the model: {said['refused']}", where=self._where)
        if said.get("memory"):
            raise ArtifactError(
                f"the model needs more than {self._memory >> 20} MiB: {said['error']}",
                where=self._where,
                hint="raise limits.memoryMb of the plan, or look at the model",
            )
        if "where" in said:
            raise ArtifactError(said["error"], where=said["where"] or self._where, hint=said["hint"])
        if "error" in said:
            raise ArtifactError(f"the model failed on these rows: {said['error']}", where=self._where)
        return said, tail

    def _slow(self) -> ArtifactError:
        return ArtifactError(
            f"the model did not answer within {self._limit:g} s, and was ended",
            where=self._where,
            hint="raise limits.seconds of the plan, or look at the model",
        )


def _spec(item: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(item["name"], item["datatype"], tuple(item["shape"]))


def _unpacked(heads: Sequence[Mapping[str, Any]], tail: bytes, rows: int, where: str) -> list[Any]:
    arrays: list[Any] = []
    position = 0
    for head in heads:
        if "texts" in head:
            array: Any = np.array(head["texts"], dtype=np.object_).reshape(head["shape"])
        else:
            array = np.frombuffer(tail[position : position + head["bytes"]], dtype="<f8").reshape(head["shape"])
            position += head["bytes"]
        if array.ndim == 0 or len(array) != rows:
            raise ArtifactError(
                f"output {head['name']!r} has shape {head['shape']} for {rows} rows: it is not one answer a row",
                where=where,
            )
        arrays.append(array)
    return arrays
