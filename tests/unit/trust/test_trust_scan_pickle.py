"""Pickles: what runs code is found however it is spelled; what real libraries write is clean."""

from __future__ import annotations

import bz2
import collections
import datetime as dt
import decimal
import gzip
import lzma
import pickle
import struct
import zlib

import numpy as np
import pytest

from customhouse.trust.scan import FileScan, Limits, Verdict, scan_bytes

ARGUMENT = b"(X\x04\x00\x00\x00truet"


def _rules(scan: FileScan) -> set[str]:
    return {finding.rule for finding in scan.findings}


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"cos\nsystem\n" + ARGUMENT + b"R.", "pickle-dangerous-global"),
        (b"\x80\x02cposix\nsystem\n" + ARGUMENT + b"R.", "pickle-dangerous-global"),
        (b"(S'true'\nios\nsystem\n.", "pickle-dangerous-global"),
        (b"(cos\nsystem\nX\x04\x00\x00\x00trueo.", "pickle-dangerous-global"),
        (b"\x80\x04" + _text("os") + b"\x94" + _text("system") + b"\x94h\x00h\x01\x93.", "pickle-dangerous-global"),
        (b"\x80\x04" + _text("builtins") + _text("eval") + b"\x93" + _text("1") + b"\x85R.", "pickle-dangerous-global"),
        (b"S'\\x6fs'\nS'sys\\x74em'\n\x93.", "pickle-dangerous-global"),
        (b"V\\u006fs\nVsystem\n\x93.", "pickle-dangerous-global"),
        (b"c__builtin__\neval\n" + ARGUMENT + b"R.", "pickle-dangerous-global"),
        (b"cfunctools\npartial\n.", "pickle-dangerous-global"),
        (b"coperator\nattrgetter\n.", "pickle-dangerous-global"),
        (b"\x80\x04" + _text("numpy") + _text("ndarray.__class__.mro") + b"\x93.", "pickle-dangerous-global"),
        (b"ccollections\nOrderedDict\n)R" + _text("system") + b"\x93.", "pickle-computed-name"),
        (b"ccollections\nOrderedDict\n)R)R.", "pickle-computed-call"),
        (b"ccollections\nOrderedDict\n}b.", "pickle-patches-class"),
        (b"ccollections\nOrderedDict\n(K\x01K\x02u.", "pickle-patches-class"),
        (b"\x80\x04" + _text("sklearn.utils") + _text("os") + b"\x93.", "pickle-dangerous-global"),
        (b"ctorch\nload\n" + ARGUMENT + b"R.", None),
    ],
)
def test_code_that_runs_on_load_is_found(data: bytes, rule: str | None) -> None:
    scan = scan_bytes(data)
    assert scan.verdict in ((Verdict.MALICIOUS,) if rule else (Verdict.MALICIOUS, Verdict.SUSPICIOUS)), scan
    assert rule is None or rule in _rules(scan)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"\x80\x02cmy_models\nNet\n)\x81.", "pickle-unknown-global"),
        (b"\x80\x02\x82\x05.", "pickle-extension"),
        (b"Pmagic\n.", "pickle-persistent-id"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "pickle-odd-codec"),
        (b"\x80\x02cdatetime\ndate\nctorch.storage\n_load_from_bytes\n\x85R.", "pickle-indirect-call"),
    ],
)
def test_what_is_not_known_safe_is_suspicious(data: bytes, rule: str) -> None:
    scan = scan_bytes(data)
    assert scan.verdict is Verdict.SUSPICIOUS
    assert rule in _rules(scan)


def test_payload_before_broken_opcodes_is_still_found() -> None:
    scan = scan_bytes(b"cos\nsystem\n" + ARGUMENT + b"R\xff\xff")
    assert scan.verdict is Verdict.MALICIOUS
    assert {"pickle-dangerous-global", "pickle-broken"} <= _rules(scan)


def test_second_pickle_in_the_file_is_read_too() -> None:
    assert scan_bytes(pickle.dumps([1]) + b"cos\nsystem\n" + ARGUMENT + b"R.").verdict is Verdict.MALICIOUS


def test_bytes_after_the_pickle_are_not_clean() -> None:
    scan = scan_bytes(pickle.dumps({"a": 1}) + b"\xde\xad\xbe\xef")
    assert scan.verdict is Verdict.UNSCANNABLE
    assert "pickle-trailing-bytes" in _rules(scan)


def test_nested_pickle_in_torch_storage_bytes_is_opened() -> None:
    inner = b"cos\nsystem\n" + ARGUMENT + b"R."
    data = (
        b"\x80\x04"
        + _text("torch.storage")
        + _text("_load_from_bytes")
        + b"\x93C"
        + bytes([len(inner)])
        + inner
        + b"\x85R."
    )
    scan = scan_bytes(data)
    assert scan.verdict is Verdict.MALICIOUS
    assert any(finding.member.startswith("bytes@") for finding in scan.findings)


def test_text_that_only_mentions_dangerous_names_is_clean() -> None:
    value = ["os.system", b"cos\nsystem\n", {"note": "subprocess.Popen(...)", "n": "__import__('os')"}]
    for protocol in range(6):
        assert scan_bytes(pickle.dumps(value, protocol)).verdict is Verdict.CLEAN


VALUES = [
    np.arange(6.0).reshape(2, 3),
    np.array([{"a": 1}, None], dtype=object),
    np.zeros(2, dtype=[("a", "f4"), ("b", "O")]),
    np.float32(3),
    np.random.default_rng(0),
    np.random.RandomState(1),
    np.ma.array([1, 2], mask=[0, 1]),
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    decimal.Decimal("1.10"),
    collections.Counter("aab"),
    collections.defaultdict(list, {"a": [1]}),
    collections.deque([1], 3),
    {1, 2},
    frozenset([1]),
    bytearray(b"xx"),
    b"abc" * 300,
    2**200,
    slice(1, 2),
    complex(1, 2),
    ValueError("x"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_picklers_write_of_common_values_is_clean(value: object) -> None:
    for protocol in range(6):
        scan = scan_bytes(pickle.dumps(value, protocol))
        assert scan.verdict is Verdict.CLEAN, (protocol, scan.findings)


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress, bz2.compress, lzma.compress])
def test_compressed_pickles_are_opened(pack: object) -> None:
    assert callable(pack)
    assert scan_bytes(pack(pickle.dumps({"a": 1}))).verdict is Verdict.CLEAN
    assert scan_bytes(pack(b"cos\nsystem\n" + ARGUMENT + b"R.")).verdict is Verdict.MALICIOUS


def test_truncated_compression_keeps_what_was_found_before() -> None:
    payload = b"cos\nsystem\n" + ARGUMENT + b"R0" + bytes(range(256)) * 400 + b"."
    assert scan_bytes(gzip.compress(payload)[:-40]).verdict is Verdict.MALICIOUS


def test_joblib_arrays_in_line_are_passed_over_and_object_arrays_read() -> None:
    def wrapper(dtype: bytes, raw: bytes) -> bytes:
        named = _text("joblib.numpy_pickle") + _text("NumpyArrayWrapper") + b"\x93)\x81"
        kind = _text("numpy") + _text("dtype") + b"\x93" + _text(dtype.decode()) + b"\x89\x88\x87R"
        state = b"}(" + _text("shape") + b"K\x02\x85" + _text("dtype") + kind + b"u"
        return b"\x80\x04" + named + state + b"b" + raw + b"."

    assert scan_bytes(wrapper(b"f8", struct.pack("<2d", 1, 2))).format == "joblib"
    assert scan_bytes(wrapper(b"f8", struct.pack("<2d", 1, 2))).verdict is Verdict.CLEAN
    assert scan_bytes(wrapper(b"f8", b"short")).verdict is Verdict.UNSCANNABLE
    assert scan_bytes(wrapper(b"O8", b"cos\nsystem\n.")).verdict is Verdict.MALICIOUS


def test_protocol_6_and_missing_stop_are_unscannable() -> None:
    assert scan_bytes(b"\x80\x06N.").verdict is Verdict.UNSCANNABLE
    assert scan_bytes(b"\x80\x04N").verdict is Verdict.UNSCANNABLE
    assert scan_bytes(b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.").verdict is Verdict.UNSCANNABLE
    assert scan_bytes(b"\x80\x04R.").verdict is Verdict.UNSCANNABLE
    assert scan_bytes(b"\x80\x04h\x09.").verdict is Verdict.UNSCANNABLE


def test_endless_work_ends_at_the_limit_of_steps() -> None:
    scan = scan_bytes(b"\x80\x02" + b"N0" * 60_000 + b"N.", limits=Limits(steps=50_000))
    assert scan.verdict is Verdict.UNSCANNABLE
    assert "limit-steps" in _rules(scan)


def test_huge_declared_lengths_do_not_take_memory() -> None:
    for opcode in (b"\x8d", b"\x8e", b"\x96"):
        assert scan_bytes(b"\x80\x05" + opcode + b"\xff" * 7 + b"\x00.").verdict is Verdict.UNSCANNABLE


def _legacy(storages: dict[str, tuple[bytes, int]], body: bytes) -> bytes:
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    persistent = b"".join(
        b"(X\x07\x00\x00\x00storagectorch\n" + kind + b"\nX\x01\x00\x00\x00" + key.encode() + b"X\x03\x00\x00\x00cpuK"
        + bytes([count]) + b"NtQ0"
        for key, (kind, count) in storages.items()
    )  # fmt: skip
    return magic + b"\x80\x02" + persistent + b"N." + pickle.dumps(sorted(storages), 2) + body


def test_legacy_torch_files_of_several_types_are_read_whole() -> None:
    storages = {"a": (b"FloatStorage", 2), "b": (b"LongStorage", 1)}
    body = struct.pack("<q", 2) + bytes(8) + struct.pack("<q", 1) + bytes(8)
    scan = scan_bytes(_legacy(storages, body))
    assert (scan.format, scan.verdict) == ("torch-legacy", Verdict.CLEAN)
    assert scan_bytes(_legacy(storages, body[:-1])).verdict is Verdict.UNSCANNABLE
    assert scan_bytes(_legacy(storages, body + b"x")).verdict is Verdict.UNSCANNABLE
    assert scan_bytes(_legacy(storages, struct.pack("<q", 3) + body[8:])).verdict is Verdict.UNSCANNABLE


def test_printable_pickle_that_breaks_after_its_call_is_no_text() -> None:
    scan = scan_bytes(b"cevil.module\nrun_all\n(tR and then prose")
    assert scan.format == "pickle"
    assert scan.verdict is not Verdict.CLEAN


@pytest.mark.parametrize("storm", [b"20", b"N0", b"(1", b"h\x000"])
def test_opcodes_that_no_framework_writes_in_numbers_use_up_the_steps_soon(storm: bytes) -> None:
    said = scan_bytes(b"\x80\x04Nq\x00" + storm * 2_500 + b".", limits=Limits(steps=40_000))
    assert [finding.rule for finding in said.findings] == ["limit-steps"]


def test_tuples_in_themselves_are_read_within_the_steps_of_others() -> None:
    """What the thrown away opcodes are for: `pickle` writes POP and POP_MARK for each of these."""
    inside: list[object] = []
    for size in (1, 2, 3, 5):
        members: list[object] = []
        members += [(members, *range(size - 1))]
        inside.append(members)
    said = scan_bytes(pickle.dumps([pickle.loads(pickle.dumps(inside)) for _ in range(500)]))
    assert said.verdict is Verdict.CLEAN
