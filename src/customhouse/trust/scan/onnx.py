"""ONNX models: operators of known domains only, data inside the folder only (onnx.proto3 of ONNX 1.19, IR 13)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.member_names import escapes
from customhouse.trust.scan.onnx_nodes import plain_node, spend_on_tensor
from customhouse.trust.scan.onnx_operators import KNOWN_DOMAINS, STANDARD
from customhouse.trust.scan.protobuf import Field, fields
from customhouse.trust.scan.source import Source, UnreadableError

_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_ELEMENTS = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
}  # fmt: skip
_MAX_GRAPHS = 64
_MOST_IN_A_BYTE = 4
"""Elements of two bits are the smallest."""


@dataclass(frozen=True, slots=True)
class OnnxValue:
    """An input or output: element type, and a shape whose free sides are names (or `?`)."""

    name: str
    element: str
    shape: tuple[str, ...]


@dataclass(slots=True)
class OnnxModel:
    """What a model says of itself. `parameters` counts the elements of its initializers."""

    ir_version: int = 0
    producer: str = ""
    graph: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    inputs: list[OnnxValue] = field(default_factory=list)
    outputs: list[OnnxValue] = field(default_factory=list)
    operators: dict[str, int] = field(default_factory=dict)
    parameters: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    own_domains: set[str] = field(default_factory=set)
    initializers: set[str] = field(default_factory=set)


def is_onnx(source: Source, look: Inspection) -> bool:
    """Whether the top level reads as a ModelProto: an IR version and a graph, and no field that it does not have."""
    version = graph = False
    try:
        for count, item in enumerate(fields(source, look)):
            if item.number not in _MODEL_FIELDS or count > 10_000:
                return False
            version = version or (item.number == 1 and item.body is None and 1 <= item.value < 100)
            graph = graph or (item.number == 7 and item.body is not None)
    except UnreadableError:
        return False
    return version and graph


def inspect_onnx(source: Source, look: Inspection) -> None:
    """Read the whole model and judge operators and external data."""
    look.format = "onnx"
    read_onnx(source, look)


def read_onnx(source: Source, look: Inspection) -> OnnxModel:
    """The model's own description. Raises UnreadableError for broken bytes; findings go to `look`."""
    model = OnnxModel()
    graphs: list[Source] = []
    functions: list[Source] = []
    for item in fields(source, look):
        if item.number == 7:
            graphs.append(item.message())
        elif item.number == 20:  # training information: an initialisation and an algorithm
            graphs.extend(part.message() for part in fields(item.message(), look) if part.number in (1, 2))
        elif item.number == 25:
            functions.append(item.message())
        else:
            _about(item, look, model)
    for body in functions:
        model.own_domains.add(next((f.text() for f in fields(body, look) if f.number == 10), ""))
    for body in functions:
        for item in fields(body, look):
            if item.number == 7:
                _node(item.message(), look, model, 0)
    for index, graph in enumerate(graphs):
        _graph(graph, look, model, 0, main=index == 0)
    for domain in sorted(set(model.opsets) - KNOWN_DOMAINS - model.own_domains):
        look.suspicious("onnx-custom-domain", f"needs operators of {domain[:80]!r}, which come from a library of code")
    return model


def _about(item: Field, look: Inspection, model: OnnxModel) -> None:
    if item.number == 1:
        model.ir_version = item.value
    elif item.number == 2:
        model.producer = item.text()[:200]
    elif item.number == 8:
        domain, version = _opset(item, look)
        model.opsets[domain] = version
    elif item.number == 14:
        key, value = _pair(item.message(), look)
        model.metadata[key] = value


def _graph(source: Source, look: Inspection, model: OnnxModel, depth: int, *, main: bool = False) -> None:
    if depth > _MAX_GRAPHS:
        raise UnreadableError("graphs nested too deep", rule="limit-depth")
    for item in fields(source, look):
        if item.number == 1:
            _node(item.message(), look, model, depth)
        elif item.number == 2 and main:
            model.graph = item.text()[:200]
        elif item.number == 5:
            name, elements = _tensor(item.message(), look)
            model.parameters += elements
            model.initializers.add(name)
        elif item.number == 15:
            model.parameters += _sparse(item.message(), look)
        elif item.number in (11, 12) and main:
            (model.inputs if item.number == 11 else model.outputs).append(_value(item.message(), look))


def _node(source: Source, look: Inspection, model: OnnxModel, depth: int) -> None:
    attributes: list[Source] = []
    plain = plain_node(source, look)
    operator, domain = plain or ("", "")
    for item in fields(source, look) if plain is None else ():
        if item.number == 4:
            operator = item.text()
        elif item.number == 7:
            domain = item.text()
        elif item.number == 5:
            attributes.append(item.message())
    shown = f"{domain}::{operator}" if domain else operator
    model.operators[shown] = model.operators.get(shown, 0) + 1
    _operator(operator, domain, look, model.own_domains)
    for attribute in attributes:
        for item in fields(attribute, look):
            if item.number in (5, 10):
                _tensor(item.message(), look)
            elif item.number in (6, 11):
                _graph(item.message(), look, model, depth + 1)
            elif item.number in (22, 23):
                _sparse(item.message(), look)


def _operator(operator: str, domain: str, look: Inspection, own: set[str]) -> None:
    if operator == "EPContext":
        look.suspicious("onnx-compiled", "holds or names a compiled model, which a driver loads as it is")
    elif operator in ("PyOp", "PythonOp", "PyCustomOp"):
        look.malicious("onnx-python-operator", f"runs Python ({domain[:40]} {operator})")
    elif domain in ("", "ai.onnx") and operator not in STANDARD and "" not in own:
        look.suspicious("onnx-unknown-operator", f"{operator[:80]!r} is no operator of ONNX")
    elif domain not in KNOWN_DOMAINS and domain not in own:
        look.suspicious("onnx-custom-domain", f"needs operators of {domain[:80]!r}, which come from a library of code")


def _sparse(source: Source, look: Inspection) -> int:
    """Elements of a sparse tensor's values and indices."""
    return sum(_tensor(part.message(), look)[1] for part in fields(source, look) if part.number in (1, 2))


def _tensor(source: Source, look: Inspection) -> tuple[str, int]:
    """Name and number of elements; external data is judged."""
    spend_on_tensor(look)
    elements, name, outside, external = 1, "", False, {}
    raw: int | None = None
    for item in fields(source, look):
        if item.number == 1:
            for side in _sides(item):
                elements = min(elements * side, 1 << 62)
        elif item.number == 8:
            name = item.text()
        elif item.number == 13:
            key, value = _pair(item.message(), look)
            external[key] = value
        elif item.number == 14:
            outside = item.value == 1
        elif item.number == 9 and item.body is not None:
            raw = item.body.size
    if external or outside:
        _external(external, look)
    elif raw is not None and elements > _MOST_IN_A_BYTE * raw:
        look.suspicious("onnx-tensor-size", f"{name[:80]!r}: {raw} bytes for {elements} elements")
    return name, elements


def _external(external: dict[str, str], look: Inspection) -> None:
    location = external.get("location", "")
    if not location or escapes(location) or "://" in location:
        look.malicious("onnx-external-data", f"reads {location[:200]!r}, outside of the model's folder")
        return
    if any(not external.get(key, "0").isdigit() for key in ("offset", "length")):
        look.suspicious("onnx-external-data", f"a place in {location[:200]!r} that is no number")
        return
    needed = int(external.get("offset", "0")[:20]) + int(external.get("length", "0")[:20])
    look.refer(location, needed)


def _sides(item: Field) -> Iterator[int]:
    if item.body is None:
        yield item.value
        return
    data, value, shift = item.octets(), 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0


def _opset(item: Field, look: Inspection) -> tuple[str, int]:
    domain, version = "", 0
    for part in fields(item.message(), look):
        if part.number == 1:
            domain = part.text()
        elif part.number == 2:
            version = part.value
    return domain, version


def _pair(source: Source, look: Inspection) -> tuple[str, str]:
    key = value = ""
    for part in fields(source, look):
        if part.number == 1:
            key = part.text()
        elif part.number == 2:
            value = part.octets(1 << 20).decode("utf-8", "replace")
    return key, value


def _value(source: Source, look: Inspection) -> OnnxValue:
    spend_on_tensor(look)
    name, element, shape = "", "", []
    for item in fields(source, look):
        if item.number == 1:
            name = item.text()
        elif item.number == 2:
            for kind in fields(item.message(), look):
                if kind.number != 1:
                    element = "sequence" if kind.number == 4 else "map" if kind.number == 5 else "other"
                    continue
                for part in fields(kind.message(), look):
                    if part.number == 1:
                        element = _ELEMENTS.get(part.value, "other")
                    elif part.number == 2:
                        shape = [
                            _side(side.message(), look) for side in fields(part.message(), look) if side.number == 1
                        ]
    return OnnxValue(name, element, tuple(shape))


def _side(source: Source, look: Inspection) -> str:
    for part in fields(source, look):
        if part.number == 1:
            return str(part.value)
        if part.number == 2:
            return part.text() or "?"
    return "?"
