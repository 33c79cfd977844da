"""HDF5: what a file reads outside of itself and what code its Keras configuration carries."""

from __future__ import annotations

import json
import struct

import pytest

from customhouse.trust.scan import FileScan, Verdict, scan_bytes

ROOT = 48


def _file(*messages: tuple[int, bytes], flags: int = 0) -> bytes:
    """A superblock of version 2 and a root group whose header holds the messages."""
    body = b"".join(struct.pack("<BHB", kind, len(data), flags) + data for kind, data in messages)
    header = b"OHDR\x02\x01" + struct.pack("<H", len(body)) + body + bytes(4)
    superblock = b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00" + struct.pack("<QQQQ", 0, 2**64 - 1, ROOT + len(header), ROOT)
    return superblock + bytes(4) + header


def _link(kind: int, value: bytes) -> tuple[int, bytes]:
    return 0x06, b"\x01\x08" + bytes([kind]) + b"\x01w" + value


def _attribute(name: str, text: bytes) -> tuple[int, bytes]:
    title = name.encode() + b"\x00"
    kind = b"\x13\x00\x00\x00" + struct.pack("<I", len(text))
    space = b"\x02\x00\x00\x00"
    return 0x0C, b"\x03\x00" + struct.pack(
        "<HHH", len(title), len(kind), len(space)
    ) + b"\x00" + title + kind + space + text


def _config(layer: str) -> bytes:
    layers = [{"class_name": layer, "config": {"name": "x"}}]
    return json.dumps({"class_name": "Sequential", "config": {"layers": layers}}).encode()


def _rules(scan: FileScan) -> set[str]:
    return {finding.rule for finding in scan.findings}


def test_a_group_with_links_inside_the_file_is_clean() -> None:
    scan = scan_bytes(_file(_link(0, struct.pack("<Q", ROOT)), _link(1, b"\x02\x00/w")))
    assert (scan.format, scan.verdict) == ("hdf5", Verdict.CLEAN)


def test_links_to_other_files_are_malicious() -> None:
    target = b"\x00/etc/passwd\x00/x\x00"
    scan = scan_bytes(_file(_link(64, struct.pack("<H", len(target)) + target)))
    assert scan.verdict is Verdict.MALICIOUS
    assert "/etc/passwd" in scan.findings[0].message


def test_data_stored_in_other_files_and_plug_ins_are_found() -> None:
    assert "hdf5-external-storage" in _rules(scan_bytes(_file((0x07, bytes(24)))))
    plug_in = b"\x02\x01" + struct.pack("<HHHH", 32015, 0, 0, 0)
    assert "hdf5-filter" in _rules(scan_bytes(_file((0x0B, plug_in))))
    deflate = b"\x02\x01" + struct.pack("<HHHI", 1, 0, 1, 6)
    assert scan_bytes(_file((0x0B, deflate))).verdict is Verdict.CLEAN


def test_lambda_layers_in_the_model_configuration_are_malicious() -> None:
    assert scan_bytes(_file(_attribute("model_config", _config("Dense")))).verdict is Verdict.CLEAN
    scan = scan_bytes(_file(_attribute("model_config", _config("Lambda"))))
    assert (scan.verdict, _rules(scan)) == (Verdict.MALICIOUS, {"keras-lambda"})
    assert scan_bytes(_file(_attribute("model_config", b"not json"))).verdict is Verdict.UNSCANNABLE


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (_file(_attribute("a", b"x"), flags=2), "hdf5-shared-message"),
        (_file((0x02, b"\x00\x00" + struct.pack("<QQ", 64, 64))), "hdf5-dense"),
        (_file((0x10, struct.pack("<QQ", 0, 64))), "hdf5-object"),
        (b"\x89HDF\r\n\x1a\n\x09" + bytes(64), "hdf5-version"),
        (b"\x89HDF\r\n\x1a\n\x00", "malformed"),
    ],
)
def test_layouts_that_are_not_read_are_never_clean(data: bytes, rule: str) -> None:
    scan = scan_bytes(data)
    assert scan.verdict is Verdict.UNSCANNABLE
    assert rule in _rules(scan)
