"""Archives: the tricks of the container are found, and what is inside is scanned as if it stood alone."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from customhouse.trust.scan import FileScan, Limits, Verdict, scan_bytes

EVIL = b"cos\nsystem\n(X\x04\x00\x00\x00truetR."
STATE = (
    b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs."
)
"""A state dictionary of one tensor of four floats, storage `0`."""


def _rules(scan: FileScan) -> set[str]:
    return {finding.rule for finding in scan.findings}


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def _torch(storage: bytes = b"\x00" * 16, **extra: bytes) -> bytes:
    members = {"archive/data.pkl": STATE, "archive/version": b"3\n", "archive/data/0": storage}
    return _zip(members | extra)


def _tar(*entries: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for entry, data in entries:
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def test_torch_state_dictionary_is_clean() -> None:
    scan = scan_bytes(_torch())
    assert (scan.format, scan.verdict) == ("torch-zip", Verdict.CLEAN)


def test_torch_storage_of_another_size_than_declared_is_not_clean() -> None:
    assert "torch-storage-size" in _rules(scan_bytes(_torch(b"\x00" * 12)))


def test_torch_archive_without_its_storage_is_not_clean() -> None:
    scan = scan_bytes(_zip({"archive/data.pkl": STATE}))
    assert scan.verdict is Verdict.UNSCANNABLE
    assert "torch-storage-missing" in _rules(scan)


def test_pickle_hidden_among_raw_tensors_is_found() -> None:
    scan = scan_bytes(_torch(**{"archive/data/1": EVIL}))
    assert "hidden-pickle" in _rules(scan)
    assert scan.verdict is Verdict.MALICIOUS


def test_numbers_that_look_like_opcodes_are_numbers() -> None:
    rng = np.random.default_rng(7)
    for _ in range(50):
        assert scan_bytes(_torch(rng.bytes(16))).verdict is Verdict.CLEAN


def test_torchscript_that_reaches_outside_is_malicious_and_plain_one_clean() -> None:
    plain = {"archive/constants.pkl": pickle.dumps((), 2), "archive/code/__torch__.py": b"class M(Module):\n  pass\n"}
    assert scan_bytes(_torch(**plain)).verdict is Verdict.CLEAN
    evil = plain | {"archive/code/__torch__.py": b"def forward(self):\n  return torch.from_file('/etc/passwd')\n"}
    assert scan_bytes(_torch(**evil)).verdict is Verdict.MALICIOUS


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..\\x", "C:\\x"])
def test_members_that_unpack_elsewhere_are_malicious(name: str) -> None:
    assert "archive-traversal" in _rules(scan_bytes(_zip({name: b"hello"})))
    assert "archive-traversal" in _rules(scan_bytes(_tar((tarfile.TarInfo(name), b"hello"))))


def test_deflated_members_are_read() -> None:
    assert scan_bytes(_zip({"a.json": b"{}" + b" " * 500}, zipfile.ZIP_DEFLATED)).verdict is Verdict.CLEAN
    assert scan_bytes(_zip({"a.bin": EVIL}, zipfile.ZIP_DEFLATED)).verdict is Verdict.MALICIOUS
    assert scan_bytes(_zip({"a.bin": EVIL}, zipfile.ZIP_BZIP2)).verdict is Verdict.MALICIOUS


def test_wrong_checksum_and_differing_headers_are_found() -> None:
    data = bytearray(_zip({"a.txt": b"hello"}))
    data[data.index(b"hello")] ^= 1
    assert "zip-checksum" in _rules(scan_bytes(bytes(data)))
    data = bytearray(_zip({"a.txt": b"hello"}))
    data[30:35] = b"b.txt"
    assert "zip-headers-differ" in _rules(scan_bytes(bytes(data)))


def test_junk_before_and_hidden_bytes_between_members_are_found() -> None:
    assert (
        "zip-prefix" in _rules(scan_bytes(b"\x00" * 64 + _zip({"a.txt": b"hello"})))
        or scan_bytes(b"\x00" * 64 + _zip({"a.txt": b"hello"})).verdict is Verdict.SUSPICIOUS
    )
    whole = _zip({"a.txt": b"hello"})
    directory = whole.index(b"PK\x01\x02")
    moved = bytearray(whole[:directory] + b"Z" * 100 + whole[directory:])
    end = moved.rindex(b"PK\x05\x06")
    moved[end + 16 : end + 20] = struct.pack("<I", directory + 100)
    assert "zip-hidden" in _rules(scan_bytes(bytes(moved)))


def test_duplicate_members_and_links_are_suspicious() -> None:
    twice = _zip({"a.txt": b"1", "b.txt": b"2"}).replace(b"b.txt", b"a.txt")
    assert "zip-duplicate" in _rules(scan_bytes(twice))
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "archive-link" in _rules(scan_bytes(buffer.getvalue()))


def test_overlapping_members_are_a_bomb() -> None:
    data = bytearray(_zip({"a": b"x" * 50, "b": b"y" * 50}))
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 10)
    scan = scan_bytes(bytes(data))
    assert scan.verdict is not Verdict.CLEAN


def _sealed(data: bytearray) -> bytearray:
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return data


def test_encrypted_members_are_unscannable() -> None:
    data = _sealed(bytearray(_zip({"a.txt": b"hello"})))
    data[35:40] = b"\x8f\x12\xaa\x03\xc4"
    scan = scan_bytes(bytes(data))
    assert scan.verdict is Verdict.UNSCANNABLE
    assert "archive-encrypted" in {finding.rule for finding in scan.findings}


def test_a_member_marked_as_encrypted_that_is_not_is_read_all_the_same() -> None:
    scan = scan_bytes(bytes(_sealed(bytearray(_zip({"a.txt": b"hello"})))))
    assert [finding.rule for finding in scan.findings] == ["zip-false-flag"]
    assert scan.verdict is Verdict.SUSPICIOUS


def test_bomb_ends_at_the_limit_of_expansion() -> None:
    scan = scan_bytes(_zip({"zeros.txt": b" " * 5_000_000}, zipfile.ZIP_DEFLATED), limits=Limits(expanded=1_000_000))
    assert scan.verdict is Verdict.UNSCANNABLE
    assert "limit-expansion" in _rules(scan)


def test_nesting_ends_at_the_limit_of_depth() -> None:
    data = b"hello"
    for _ in range(20):
        data = _zip({"inner.zip": data})
    scan = scan_bytes(data)
    assert scan.verdict is Verdict.UNSCANNABLE
    assert "limit-depth" in _rules(scan)


def test_zip_behind_another_format_is_seen() -> None:
    scan = scan_bytes(pickle.dumps({"a": 1}) + _zip({"archive/data.pkl": EVIL}))
    assert scan.verdict is Verdict.MALICIOUS


def test_tar_members_are_scanned_and_links_judged() -> None:
    assert (
        scan_bytes(_tar((tarfile.TarInfo("a.json"), b"{}"), (tarfile.TarInfo("b/c.txt"), b"hi"))).verdict
        is Verdict.CLEAN
    )
    assert scan_bytes(_tar((tarfile.TarInfo("w.ckpt"), EVIL), mode="w:gz")).verdict is Verdict.MALICIOUS
    for target, verdict in (("../../etc/passwd", Verdict.MALICIOUS), ("a", Verdict.SUSPICIOUS)):
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, target
        assert scan_bytes(_tar((link, b""))).verdict is verdict
    device = tarfile.TarInfo("null")
    device.type = tarfile.CHRTYPE
    assert "tar-special" in _rules(scan_bytes(_tar((device, b""))))


def test_long_tar_names_are_read_whole() -> None:
    name = "d/" * 60 + "../" * 70 + "evil"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        assert "archive-traversal" in _rules(scan_bytes(buffer.getvalue()))


def test_npz_is_read_with_its_object_arrays() -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.arange(9.0), b=np.array([{"x": 1}], dtype=object))
    scan = scan_bytes(buffer.getvalue())
    assert (scan.format, scan.verdict) == ("npz", Verdict.CLEAN)


def test_other_archives_are_unscannable_and_say_what_to_do() -> None:
    scan = scan_bytes(b"Rar!\x1a\x07\x01\x00" + b"\x01" * 40)
    assert (scan.format, scan.verdict) == ("rar", Verdict.UNSCANNABLE)
    assert "convert" in scan.findings[0].message
