"""TensorFlow Lite: operators that are TensorFlow's own (Flex) or come from a library are judged (schema version 3)."""

from __future__ import annotations

from customhouse.trust.scan.flatbuffers import Table, root
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.savedmodel import judge_operator
from customhouse.trust.scan.source import Source, UnreadableError
from customhouse.trust.scan.words import words

IDENTIFIER = b"TFL3"
_CUSTOM = 32
_LAST_BUILTIN = 400
"""Builtin operators are numbered from 0; 210 are given out in 2026."""
_KNOWN = words(
    """TFLite_Detection_PostProcess AudioSpectrogram Mfcc NumericVerify MaxPoolingWithArgmax2D MaxUnpooling2D
    Convolution2DTransposeBias TransformLandmarks TransformTensorBilinear Landmarks2TransformMatrix
    Resampler edgetpu-custom-op RandomStandardNormal RandomUniform Multinomial AvgPool3D MaxPool3D AvgPool3DGrad
    Irfft2d Roll ReluGrad HashtableV2 TFSentencepieceTokenizeOp TFSentencepieceDetokenizeOp UniversalSentenceEncoder
    WhitespaceTokenizeWithOffsets WhitespaceTokenize NGrams RaggedTensorToTensor PREDICT ExtractFeatures Normalize
    NGramHash SequenceStringProjection SignalFramer SignalRfft SignalEnergy SignalFilterBank SignalOverlapAdd
    SignalWindow SignalDelay SignalIrfft SignalPCAN SignalStacker SignalFilterBankLog
    SignalFilterBankSpectralSubtraction SignalFilterBankSquareRoot SignalFftAutoScale aeq.hadamard_rotation
    odml.rms_norm odml.scaled_dot_product_attention odml.update_kv_cache odml.update_external_kv_cache
    custom_call.GroupNorm"""
)
"""Kernels of TensorFlow Lite itself, LiteRT, MediaPipe and TFLite Micro: code of the runtime, none of the model."""


def is_tflite(source: Source) -> bool:
    """Whether the identifier of a TFLite model stands where FlatBuffers have it."""
    return source.peek(4, 4) == IDENTIFIER


def inspect_tflite(source: Source, look: Inspection) -> None:
    """Operators, then buffers: their places must lie inside the file."""
    look.format = "tflite"
    model = root(source, look)
    version = model.number(0, 4)
    if version != 3:
        raise UnreadableError(f"TFLite version {version}", rule="tflite-version", hint="convert it again")
    codes = model.tables(1)
    for code in codes:
        _operator(code, look)
    for graph in model.tables(2):
        _graph(graph, look, len(codes))
    for index, buffer in enumerate(model.tables(4)):
        data = buffer.octets(0)
        offset, size = buffer.number(1, 8), buffer.number(2, 8)
        if offset > 1 and (size > source.size or offset > source.size - size):
            look.suspicious("tflite-buffer", f"buffer {index} reaches past the end of the file", offset)
        look.spend(1 + data.size // 4096)


def _operator(code: Table, look: Inspection) -> None:
    number = max(code.number(0, 1, signed=True), code.number(3, 4, signed=True))
    custom = code.text(1)
    if number != _CUSTOM:
        if not 0 <= number <= _LAST_BUILTIN:
            look.suspicious("tflite-operator", f"operator {number} is none of TensorFlow Lite's", code.position)
        return
    if custom.startswith("Flex"):
        judge_operator(custom[4:], look)
    elif custom not in _KNOWN:
        look.suspicious(
            "tflite-custom-operator", f"needs the operator {custom[:80]!r}, which comes from a library of code"
        )


def _graph(graph: Table, look: Inspection, codes: int) -> None:
    tensors = len(graph.tables(0))
    for operator in graph.tables(3):
        if operator.number(0, 4) >= codes:
            look.suspicious("tflite-operator", "an operator that the model does not declare", operator.position)
    if tensors == 0:
        look.note("tflite-empty", "a graph without tensors")
