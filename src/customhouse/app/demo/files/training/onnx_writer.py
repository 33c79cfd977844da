"""Writes a small feed-forward network as ONNX (opset 17) without the onnx package: the protobuf wire format by hand.

Field numbers are those of onnx.proto3 (ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto). Only what a
multilayer perceptron needs: float tensors, nodes without attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
FLOAT = 1
"""TensorProto.DataType.FLOAT."""
IR_VERSION = 8
OPSET = 17


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _tensor(name: str, values: Floats) -> bytes:
    array = np.ascontiguousarray(values, dtype="<f4")
    dims = b"".join(_number(1, size) for size in array.shape)
    return dims + _number(2, FLOAT) + _text(8, name) + _bytes(9, array.tobytes())


def _value(name: str, dims: Sequence[int | str]) -> bytes:
    shape = b"".join(_bytes(1, _text(2, dim) if isinstance(dim, str) else _number(1, dim)) for dim in dims)
    tensor_type = _number(1, FLOAT) + _bytes(2, shape)
    return _text(1, name) + _bytes(2, _bytes(1, tensor_type))


def _node(operator: str, inputs: Sequence[str], output: str) -> bytes:
    return (
        b"".join(_text(1, name) for name in inputs)
        + _text(2, output)
        + _text(3, f"{operator.lower()}_{output}")
        + _text(4, operator)
    )


def perceptron(layers: Sequence[tuple[Floats, Floats]], *, producer_version: str) -> bytes:
    """The bytes of a model: `input` FP32 [batch, n] → `probability` FP32 [batch, 1].

    Every feature is non-negative and heavy-tailed, so the graph begins with ln(1 + max(x, 0)); then comes a Gemm per
    layer (weights [in, out], bias [out]; the caller has folded the normalisation into the first), Relu between them and
    a Sigmoid at the end. Raises ValueError when the shapes do not chain or the last layer is not one wide.
    """
    width = layers[0][0].shape[0]
    nodes = [_node("Relu", ["input"], "positive"), _node("Add", ["positive", "one"], "shifted")]
    nodes.append(_node("Log", ["shifted"], "x0"))
    tensors = [_tensor("one", np.ones(1, dtype=np.float32))]
    expected, current = width, "x0"
    for index, (weights, bias) in enumerate(layers, start=1):
        if weights.shape[0] != expected or bias.shape != (weights.shape[1],):
            raise ValueError(
                f"layer {index}: weights {weights.shape} and bias {bias.shape} do not fit {expected} inputs"
            )
        tensors += [_tensor(f"w{index}", weights), _tensor(f"b{index}", bias)]
        last = index == len(layers)
        nodes.append(_node("Gemm", [current, f"w{index}", f"b{index}"], f"z{index}"))
        current = "probability" if last else f"x{index}"
        nodes.append(_node("Sigmoid" if last else "Relu", [f"z{index}"], current))
        expected = weights.shape[1]
    if expected != 1:
        raise ValueError(f"the last layer is {expected} wide; a probability needs 1")
    graph = (
        b"".join(_bytes(1, node) for node in nodes)
        + _text(2, "fraud_detection")
        + b"".join(_bytes(5, tensor) for tensor in tensors)
        + _bytes(11, _value("input", ["batch", width]))
        + _bytes(12, _value("probability", ["batch", 1]))
    )
    opset = _bytes(8, _text(1, "") + _number(2, OPSET))
    return _number(1, IR_VERSION) + _text(2, "customhouse-demo") + _text(3, producer_version) + _bytes(7, graph) + opset
