"""Open Inference Protocol: what a client sends is checked before it reaches the runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from customhouse.execution.adapters.local.model import TensorSpec
from customhouse.execution.adapters.local.tensors import InvalidRequestError, decode, encode, prediction

X = TensorSpec("x", "FP32", (-1, 2))
TEXT = TensorSpec("t", "BYTES", (-1,))
OUT = (TensorSpec("y", "FP32", (-1, 1)), TensorSpec("z", "INT64", (-1,)))


def _tensor(**change: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2], **change}


def _read(document: Any, inputs: tuple[TensorSpec, ...] = (X,), tail: bytes = b"") -> Any:
    body = orjson.dumps(document)
    return decode(body + tail, str(len(body)) if tail else None, inputs, OUT)


def test_flat_and_nested_data_mean_the_same() -> None:
    flat = _read({"inputs": [_tensor(shape=[2, 2], data=[1, 2, 3, 4])]}).feeds["x"]
    nested = _read({"inputs": [_tensor(shape=[2, 2], data=[[1, 2], [3, 4]])]}).feeds["x"]
    assert flat.dtype == np.float32
    assert (flat == nested).all()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "not a JSON object"),
        ({}, "inputs is not a list"),
        ({"inputs": []}, "'x' is missing"),
        ({"inputs": [7]}, "not an object"),
        ({"inputs": [_tensor(), _tensor()]}, "twice"),
        ({"inputs": [_tensor(shape=[1])]}, "not [-1, 2]"),
        ({"inputs": [_tensor(shape=[-1, 2])]}, "whole numbers"),
        ({"inputs": [_tensor(shape=[True, 2])]}, "whole numbers"),
        ({"inputs": [_tensor(shape=[1 << 40, 2])]}, "more than"),
        ({"inputs": [_tensor(data=[[1], 2])]}, "mixed"),
        ({"inputs": [_tensor(data=[1, None])]}, "NoneType"),
        ({"inputs": [_tensor(data={"a": 1})]}, "no data list"),
        ({"inputs": [_tensor(parameters={"binary_data_size": 9})]}, "binary_data_size"),
        ({"inputs": [_tensor(parameters=[])]}, "parameters"),
        ({"inputs": [_tensor()], "outputs": [{"name": "q"}]}, "unknown"),
        ({"inputs": [_tensor()], "id": 7}, "id is not"),
    ],
)
def test_a_wrong_request_is_refused_with_the_tensor_named(document: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        _read(document)
    assert words in str(error.value)


def test_deep_nesting_is_refused_quickly() -> None:
    data: Any = [1]
    for _ in range(150):
        data = [data]
    with pytest.raises(InvalidRequestError, match="nested deeper"):
        _read({"inputs": [_tensor(data=data)]})


@pytest.mark.parametrize(("datatype", "value"), [("UINT8", 256), ("INT8", -129), ("INT64", 2**63), ("UINT64", -1)])
def test_a_number_that_does_not_fit_its_type_is_refused(datatype: str, value: int) -> None:
    spec = TensorSpec("x", datatype, (-1,))
    with pytest.raises(InvalidRequestError):
        _read({"inputs": [_tensor(shape=[1], datatype=datatype, data=[value])]}, (spec,))


def test_binary_tensors_go_in_and_out() -> None:
    values = np.array([[1, 2]], dtype="<f4")
    ask = _read(
        {
            "inputs": [{**_tensor(parameters={"binary_data_size": 8}), "data": None}],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}, {"name": "z"}],
        },
        tail=values.tobytes(),
    )
    assert (ask.feeds["x"] == values).all()
    body, head = encode("m", "1", ask, "id", [np.array([[0.5]], np.float32), np.array([3], np.int64)])
    assert head is not None
    assert np.frombuffer(body[head:], "<f4").tolist() == [0.5]
    assert orjson.loads(body[:head])["outputs"][1]["data"] == [3]


def test_texts_go_in_as_json_and_as_binary() -> None:
    json_form = {"inputs": [{"name": "t", "shape": [2], "datatype": "BYTES", "data": ["a", "bc"]}]}
    assert _read(json_form, (TEXT,)).feeds["t"].tolist() == ["a", "bc"]
    tail = b"\x01\0\0\0a\x02\0\0\0bc"
    given = {"name": "t", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(tail)}}
    assert _read({"inputs": [given]}, (TEXT,), tail).feeds["t"].tolist() == ["a", "bc"]
    short = {**given, "parameters": {"binary_data_size": 4}}
    with pytest.raises(InvalidRequestError, match="beyond the data"):
        _read({"inputs": [short]}, (TEXT,), b"\xff\xff\0\0")


def test_only_small_finite_floating_outputs_are_kept_for_feedback() -> None:
    assert prediction([np.array([1]), np.array([[0.25]], np.float32)]) == [[0.25]]
    assert prediction([np.array([0.25, 0.5], np.float32)]) == [[0.25], [0.5]]
    assert prediction([np.array([[np.nan]], np.float32)]) is None
    assert prediction([np.zeros((65, 1), np.float32)]) is None
    assert prediction([np.array([1])]) is None
