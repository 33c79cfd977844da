"""What a model file says of itself, for bills of materials; read by the scanner's own reader, nothing is loaded."""

from __future__ import annotations

from pathlib import Path

from customhouse._kit.clock import SystemClock
from customhouse.core.errors import ArtifactError
from customhouse.trust.scan.detect import dispatch
from customhouse.trust.scan.files import RefusedError, open_source
from customhouse.trust.scan.inspection import Budget, Inspection, Limits
from customhouse.trust.scan.onnx import OnnxModel, is_onnx, read_onnx
from customhouse.trust.scan.source import Source, UnreadableError


def describe_onnx(path: Path) -> OnnxModel:
    """Inputs, outputs, operators and opsets of an ONNX file.

    Raises ArtifactError when there is no file, it is no ONNX model, or it is broken.
    """
    clock = SystemClock()
    look = Inspection("", Budget(Limits(), clock, started=clock.monotonic()), dispatch, title=path.name)
    try:
        with open_source(path) as (source, _):
            return _described(source, look, path)
    except RefusedError as error:
        raise ArtifactError(error.why, where=str(path), hint="give a regular file") from error


def _described(source: Source, look: Inspection, path: Path) -> OnnxModel:
    if not is_onnx(source, look):
        raise ArtifactError("this is no ONNX model", where=str(path), hint="export it to ONNX")
    try:
        return read_onnx(source, look)
    except UnreadableError as error:
        raise ArtifactError(f"a broken ONNX model: {error.reason}", where=str(path), hint="export it again") from error
