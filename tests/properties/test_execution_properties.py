"""Execution: what strangers send never does anything but be read or be refused; weights are exact."""

from __future__ import annotations

import contextlib
from collections import Counter

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.execution.adapters.local.model import TensorSpec
from customhouse.execution.adapters.local.protobuf import ProtobufError, external_locations
from customhouse.execution.adapters.local.routing import Table
from customhouse.execution.adapters.local.tensors import InvalidRequestError, decode

SPECS = (TensorSpec("x", "FP32", (-1, 2)), TensorSpec("n", "INT8", (-1,)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "n", "y"]) | JSON,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
        "datatype": st.sampled_from(["FP32", "INT8"]) | JSON,
        "data": JSON,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size"]), JSON) | JSON,
    },
)


@given(st.fixed_dictionaries({"inputs": st.lists(TENSOR, max_size=3) | JSON}, optional={"id": JSON, "outputs": JSON}))
def test_any_request_is_read_into_the_declared_tensors_or_refused(document: object) -> None:
    body = orjson.dumps(document)
    try:
        ask = decode(body, None, SPECS, SPECS)
    except InvalidRequestError:
        return
    assert ask.feeds["x"].dtype == "float32"
    assert ask.feeds["x"].shape[1] == 2
    assert ask.feeds["n"].dtype == "int8"


@given(st.binary(max_size=200), st.text(max_size=4))
def test_any_bytes_are_a_request_or_refused(body: bytes, length: str) -> None:
    try:
        decode(body, length or None, SPECS, SPECS)
    except InvalidRequestError:
        return
    raise AssertionError("random bytes cannot name both inputs")


@given(st.binary(max_size=300))
def test_any_bytes_are_protobuf_or_refused(data: bytes) -> None:
    with contextlib.suppress(ProtobufError):
        assert isinstance(external_locations(data), frozenset)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=4).filter(any))
def test_over_one_whole_round_every_revision_gets_exactly_its_weight(weights: list[int]) -> None:
    table = Table()
    revisions = {f"r{i}": {"weight": weight, "replicas": {f"r{i}": f"/x{i}"}} for i, weight in enumerate(weights)}
    table.configure({"services": {"ns/name": {"revisions": revisions}}})
    for replica in table.replicas():
        replica.ready = True
    service = table.services["ns/name"]
    drawn = Counter(replica.release for _ in range(sum(weights)) if (replica := service.choose(set())))
    assert drawn == {f"r{i}": weight for i, weight in enumerate(weights) if weight}
