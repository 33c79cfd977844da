"""Stretches of constants are moved over in one loop: what is found is what opcode by opcode finds."""

from __future__ import annotations

import pickle
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.trust.scan import FileScan, opcodes, scan_bytes

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
    st.sampled_from([b"a", b"s", b"\x93", b"R", b"b", b"\x81", b"\x88", b"l", b"d", b"1"]),
    st.just(b"ccollections\nOrderedDict\n"),
    st.sampled_from([b"cbuiltins\ngetattr\n", b"G" + b"\0" * 8, b"M\1\2", b"C\2ab", b"\x8c\2\xff\xfe", b"\xff"]),
)  # fmt: skip


def _seen(scan: FileScan) -> tuple[object, ...]:
    return scan.verdict, scan.format, [(finding.rule, finding.message, finding.offset) for finding in scan.findings]


def _slowly(data: bytes) -> FileScan:
    with patch.object(opcodes, "run_ahead", lambda machine: 0):
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
