"""safetensors: an 8-byte length, a JSON header, then tensors that must cover the rest exactly (format README)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from customhouse.trust.scan.configurations import inspect_json, inspect_json_text
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Source, UnreadableError

_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_MAX_HEADER = 100_000_000
"""The reference reader's own limit."""


def is_safetensors(source: Source) -> bool:
    """Whether eight bytes that are no text are followed by an opening brace, as nothing else starts."""
    head = source.peek(0, 9)
    return len(head) == 9 and head[8:] == b"{" and any(byte < 9 or byte > 126 for byte in head[:8])


def inspect_safetensors(source: Source, look: Inspection) -> None:
    """Header bounds, JSON without duplicate keys, offsets that neither overlap nor leave holes."""
    look.format = "safetensors"
    length = int.from_bytes(source.read(0, 8), "little")
    if length > source.size - 8:
        look.suspicious("safetensors-header", f"declares a header of {length} bytes in a file of {source.size}")
        return
    if length > min(_MAX_HEADER, look.budget.limits.text):
        raise UnreadableError(f"a header of {length} bytes", rule="safetensors-header", hint="save it again")
    header = _parse(source.read(8, length), look)
    if header is None:
        return
    spans: list[tuple[int, int, str]] = []
    for name, tensor in header.items():
        look.spend()
        if name == "__metadata__":
            if not isinstance(tensor, dict) or not all(isinstance(text, str) for text in tensor.values()):
                look.suspicious("safetensors-metadata", "metadata that is not text", 8)
            else:
                _metadata(tensor, look)
            continue
        span = _span(tensor, source.size - 8 - length)
        if span is None:
            look.suspicious("safetensors-tensor", f"{name[:80]!r} has a wrong type, shape or place", 8)
        else:
            spans.append((*span, name))
    position = 0
    for start, end, name in sorted(spans):
        if start != position:
            what = "overlaps the tensor before it" if start < position else "leaves a hole before it"
            look.suspicious("safetensors-layout", f"{name[:80]!r} {what}", 8 + length + start)
        position = max(position, end)
    if position != source.size - 8 - length and not any(f.rule == "safetensors-tensor" for f in look.budget.findings):
        look.suspicious(
            "safetensors-layout", f"{source.size - 8 - length - position} bytes belong to no tensor", 8 + length
        )


def _parse(data: bytes, look: Inspection) -> dict[str, object] | None:
    duplicates: list[str] = []

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            duplicates.append(items[0][0])
        return found

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("a header that is not JSON", offset=8, rule="safetensors-header") from error
    if duplicates:
        look.suspicious("json-duplicate-key", "a header with duplicate keys; readers differ in which they take", 8)
    if not isinstance(value, dict):
        look.suspicious("safetensors-header", "a header that is not an object", 8)
        return None
    return value


def _metadata(texts: Mapping[str, str], look: Inspection) -> None:
    """Some loaders build objects from configurations that they keep here (Hydra's `_target_`), so they are judged."""
    inspect_json(texts, look.same(), "metadata")
    for text in texts.values():
        if text.lstrip()[:1] in ("{", "["):
            inspect_json_text(text, look.same(), "metadata")


def _span(tensor: object, room: int) -> tuple[int, int] | None:
    if not isinstance(tensor, dict) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        return None
    shape, offsets, dtype = tensor["shape"], tensor["data_offsets"], tensor["dtype"]
    if (
        not isinstance(dtype, str)
        or dtype not in _BITS
        or not _numbers(shape)
        or not _numbers(offsets)
        or len(offsets) != 2
    ):
        return None
    bits = _BITS[dtype]
    for side in shape:
        bits *= side
        if bits > 1 << 64:
            return None
    start, end = offsets
    return (start, end) if 0 <= start <= end <= room and bits % 8 == 0 and (end - start) * 8 == bits else None


def _numbers(value: object) -> bool:
    return isinstance(value, list) and len(value) <= 64 and all(type(item) is int and item >= 0 for item in value)
