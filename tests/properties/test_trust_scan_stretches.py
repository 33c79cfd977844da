"""Stretches of constants are moved over in one loop: what is found is what opcode by opcode finds."""

from __future__ import annotations

import pickle
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.trust.scan import FileScan, onnx, opcodes, scan_bytes

WORDS = st.sampled_from(
    ["os", "system", "numpy", "dtype", "collections", "OrderedDict", "builtins", "getattr", "é", "x" * 254]
)
PIECES = st.one_of(
    WORDS.map(lambda w: b"\x8c" + bytes([len(w.encode())]) + w.encode()),
    WORDS.map(lambda w: b"X" + len(w.encode()).to_bytes(4, "little") + w.encode()),
    WORDS.map(lambda w: b"V" + w.encode("raw_unicode_escape") + b"\n"),
    st.sampled_from([b"p", b"g", b"I"]).flatmap(lambda op: st.integers(0, 9).map(lambda n: op + b"%d\n" % n)),
    st.sampled_from([b"q", b"h", b"K"]).flatmap(lambda op: st.integers(0, 9).map(lambda n: op + bytes([n]))),
    st.sampled_from([b"r", b"j", b"J"]).flatmap(lambda op: st.integers(0, 9).map(lambda n: op + bytes([n, 0, 0, 0]))),
    st.sampled_from([b"(", b"]", b"}", b")", b"N", b"0", b"2", b"\x94", b"\x85", b"\x86", b"\x87", b"t", b"e", b"u"]),
    st.sampled_from([b"S'os'\n", b"F1.5\n", b"L7L\n", b"L-7L\n", b"I01\n", b"I-3\n", b"V\\u0041\n",
        b"p12\n", b"g12\n", b"(lp0\n"]),
    st.sampled_from([b"a", b"s", b"\x93", b"R", b"b", b"\x81", b"\x88", b"l", b"d", b"1"]),
    st.just(b"ccollections\nOrderedDict\n"),
    st.sampled_from([b"cbuiltins\ngetattr\n", b"G" + b"\0" * 8, b"M\1\2", b"C\2ab", b"\x8a\1\xff", b"\x8f",
        b"\x8c\2\xff\xfe", b"\xff"]),
)  # fmt: skip


def _seen(scan: FileScan) -> tuple[object, ...]:
    return scan.verdict, scan.format, [(finding.rule, finding.message, finding.offset) for finding in scan.findings]


def _slowly(data: bytes) -> FileScan:
    with patch.object(opcodes, "run_ahead", lambda machine, moves: 0):
        return scan_bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=60))
def test_any_opcodes_read_the_same_in_stretches(pieces: list[bytes]) -> None:
    data = b"\x80\x04" + b"".join(pieces) + b"N0" * 200 + b"."
    assert _seen(scan_bytes(data)) == _seen(_slowly(data))


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers(-(2**40), 2**40) | st.text(max_size=20) | st.floats() | st.binary(max_size=9),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
        max_leaves=60,
    ),
    st.integers(0, 5),
)  # fmt: skip
def test_plain_values_are_clean_and_read_the_same(value: object, protocol: int) -> None:
    data = pickle.dumps([value, list(range(200))], protocol)
    assert _seen(scan_bytes(data)) == _seen(_slowly(data))
    assert scan_bytes(data).verdict == "clean"


def _field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2, len(body)]) + body


ATTRIBUTES = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\x15\0\0\0\0", b"\x18\1", b"\xa0\1\1", b"\x18\x80\1", b"\x15\0", b"\xa0\1", b"\x18", b"\x03"]
        ),
        st.tuples(st.sampled_from([1, 4, 5, 6, 7, 9, 10, 11, 13]), st.binary(max_size=4)).map(lambda f: _field(*f)),
        st.just(_field(6, _field(1, _field(4, b"PyOp")))),
        st.just(_field(5, b"\x70\1" + _field(13, _field(1, b"location") + _field(2, b"/etc/passwd")))),
    ),
    max_size=4,
).map(b"".join)
NODES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([1, 2, 3, 6]), st.binary(max_size=6)).map(lambda f: _field(*f)),
        st.sampled_from([_field(4, b"Relu"), _field(4, b"PyOp"), _field(4, b"Nope"), _field(7,
            b"my.domain"), b"\x22\x81\0a"]),
        st.sampled_from([b"\x18\1", b"\x22", b"\x22\5a", b"\x02\0", b"\xaa\1\0"]),
        ATTRIBUTES.map(lambda body: _field(5, body)),
    ),
    max_size=5,
).map(b"".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(NODES, min_size=1, max_size=3))
def test_nodes_of_onnx_read_the_same_the_short_way(nodes: list[bytes]) -> None:
    graph = b"".join(b"\x0a" + bytes([len(node) & 0x7F | 0x80, len(node) >> 7]) + node for node in nodes)
    data = b"\x08\x08\x3a" + bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7]) + graph
    with patch.object(onnx, "plain_node", lambda source, look: None):
        slowly = scan_bytes(data)
    assert _seen(scan_bytes(data)) == _seen(slowly)


def test_holes_of_the_memo_stay_holes() -> None:
    """Python 2's pickler counts from 1; an index that nobody put is broken, and MEMOIZE counts what was put."""
    rest = b"N0" * 200 + b"."
    assert scan_bytes(b"\x80\x02X\2\0\0\0osq\x01h\x01" + b"X\6\0\0\0systemq\x02\x93" + rest).verdict == "malicious"
    assert scan_bytes(b"\x80\x02Nq\x01h\x00" + rest).verdict == "unscannable"
    over = b"\x80\x04\x8c\x02osq\x01\x8c\x06system\x94h\x01h\x01\x93" + rest
    assert _seen(scan_bytes(over)) == _seen(_slowly(over))


def test_a_vocabulary_of_any_script_is_clean() -> None:
    words = {chr(0x4E00 + number % 20_000) + chr(0x4E00 + number // 20_000): number for number in range(200_000)}
    assert scan_bytes(pickle.dumps(words, 4)).verdict == "clean"
