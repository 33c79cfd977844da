"""ONNX values on their own (TensorProto, SequenceProto, OptionalProto), as test data and calibration sets hold them."""

from __future__ import annotations

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.protobuf import Field, fields
from customhouse.trust.scan.source import Source, UnreadableError

_TENSOR = frozenset({1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16})
"""Without 13 and 14: a tensor whose data lies elsewhere is no value on its own."""
_LAST_TYPE = 30
_MAX_DEPTH = 16


def is_onnx_tensor(source: Source, look: Inspection) -> bool:
    """Whether all of it reads as one value of ONNX."""
    try:
        return _is_value(source, look, 0)
    except UnreadableError as error:
        if error.rule.startswith("limit"):
            raise
        return False


def inspect_onnx_tensor(_source: Source, look: Inspection) -> None:
    """Nothing to judge: numbers and texts only."""
    look.format = "onnx-tensor"


def _is_value(source: Source, look: Inspection, depth: int) -> bool:
    items = list(_some(source, look))
    return _is_tensor(items) or _is_sequence(items, look, depth)


def _some(source: Source, look: Inspection) -> list[Field]:
    items: list[Field] = []
    for item in fields(source, look):
        items.append(item)
        if len(items) > 1 << 20:
            raise UnreadableError("a value of too many parts", rule="limit-steps")
    return items


def _is_tensor(items: list[Field]) -> bool:
    kinds = [item.value for item in items if item.number == 2 and item.body is None]
    raw = any(item.number in (4, 5, 6, 7, 9, 10, 11) for item in items)
    empty = any(item.number == 1 and item.body is None and item.value == 0 for item in items)
    return (
        len(kinds) == 1
        and 1 <= kinds[0] <= _LAST_TYPE
        and {item.number for item in items} <= _TENSOR
        and (raw or empty or any(item.number == 8 for item in items))
    )


def _is_sequence(items: list[Field], look: Inspection, depth: int) -> bool:
    """A name (1), a kind of element (2), then values under the kind's number (3 to 7)."""
    kinds = [item.value for item in items if item.number == 2 and item.body is None]
    if len(kinds) != 1 or depth > _MAX_DEPTH or any(item.number not in (1, 2, 3, 4, 5, 6, 7) for item in items):
        return False
    if any((item.number == 1 and item.body is None) or (item.number > 2 and item.body is None) for item in items):
        return False
    return all(_is_value(item.message(), look, depth + 1) for item in items if item.number in (3, 5, 7))
