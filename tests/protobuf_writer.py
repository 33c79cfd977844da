"""Protocol buffers as bytes, for tests that need files of their own: fields, and what ONNX models are made of."""

from __future__ import annotations


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, body: bytes | int) -> bytes:
    if isinstance(body, int):
        return varint(number << 3) + varint(body)
    return varint(number << 3 | 2) + varint(len(body)) + body


def onnx_node(operator: str, domain: str = "", attribute: bytes = b"") -> bytes:
    body = field(1, b"x") + field(2, b"y") + field(4, operator.encode())
    body += field(7, domain.encode()) if domain else b""
    return field(1, body + (field(5, attribute) if attribute else b""))


def onnx_model(graph: bytes, extra: bytes = b"") -> bytes:
    return field(1, 8) + field(7, graph) + field(8, field(2, 17)) + extra
