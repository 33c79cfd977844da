"""Formats that frameworks write beside weights: sound files are clean, the same files with something more are not."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from customhouse.trust.scan import Verdict, scan_bytes, scan_tree
from hostile_containers import sevenzipped, tarred, zipped
from hostile_formats import tflite_model
from protobuf_writer import field, varint

TEXT = b"a text of some length, to be packed\n" * 20
TENSOR = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
SAFETENSORS = struct.pack("<Q", len(TENSOR)) + TENSOR + bytes(4)


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


def _records(*bodies: bytes) -> bytes:
    """TFRecords; only the lengths' checksums are looked at."""
    table = [0] * 256
    for start in range(256):
        value = start
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table[start] = value
    out = b""
    for body in bodies:
        length, crc = struct.pack("<Q", len(body)), 0xFFFFFFFF
        for byte in length:
            crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
        crc ^= 0xFFFFFFFF
        out += length + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF) + body + bytes(4)
    return out


def _index(shards: int = 1, shard: int = 0, size: int = 8) -> bytes:
    """A checkpoint's table: one block of a header and a tensor, an index block, a footer."""

    def block(*pairs: tuple[bytes, bytes]) -> bytes:
        rows = b"".join(b"\x00" + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs)
        return rows + struct.pack("<II", 0, 1)

    data = block((b"", field(1, shards)), (b"w", field(1, 1) + field(3, shard) + field(5, size)))
    index = block((b"x", varint(0) + varint(len(data))))
    footer = varint(0) + varint(0) + varint(len(data) + 5) + varint(len(index))
    packed = data + bytes(5) + index + bytes(5)
    return packed + footer.ljust(40, b"\x00") + bytes.fromhex("57fb808b247547db")


PIECES = b"".join(field(1, field(1, b"tok%d" % n) + b"\x15" + struct.pack("<f", -n)) for n in range(9))
SOUND = {
    "7z": ("m.7z", sevenzipped(SAFETENSORS, "m.safetensors")),
    "7z-lzma2": ("m.7z", sevenzipped(SAFETENSORS, "m.safetensors", method="lzma2", encoded=True)),
    "msgpack": ("flax_model.msgpack", b"\x82\xa1a\x93\x01\x02\xc0\xa1b\xc4\x03xyz"),
    "ubjson": ("m.ubj", b"{L" + (1).to_bytes(8, "big") + b"a[$d#L" + (2).to_bytes(8, "big") + bytes(8) + b"}"),
    "sentencepiece": ("tok.model", PIECES + field(2, field(4, 9)) + field(3, b"")),
    "onnx-tensor": ("input_0.pb", field(1, 2) + field(2, 1) + field(9, bytes(8))),
    "tfrecord": ("x.tfrecord", _records(b"abc", b"")),
    "png": ("p.png", _png()),
    "coreml": ("m.mlmodel", field(1, 4) + field(2, field(1, b"")) + field(300, field(1, b""))),
    "coreml-weights": (
        "weight.bin",
        struct.pack("<II", 1, 2) + bytes(56) + struct.pack("<IIQQ", 0xDEADBEEF, 1, 64, 128) + bytes(40) + bytes(64),
    ),
    "pmml": ("m.pmml", b'<?xml version="1.0"?><PMML version="4.4"><Header/></PMML>'),
    "openvino": ("m.xml", b'<net><layers><layer id="0" type="Relu" version="opset1"/></layers></net>'),
    "json": ("modules.json", b'[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Pooling"}]'),
    "text": ("vocab.txt", b"[UNK]\n{{\n%}\n##ing\n"),
}


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_file_is_clean(kind: str) -> None:
    name, data = SOUND[kind]
    scan = scan_bytes(data, name)
    assert (scan.verdict, scan.format) == (Verdict.CLEAN, kind.partition("-lzma2")[0]), scan.findings


@pytest.mark.parametrize("kind", [kind for kind in SOUND if kind not in ("text", "json", "pmml", "openvino")])
def test_the_same_file_with_bytes_behind_it_or_cut_is_not(kind: str) -> None:
    name, data = SOUND[kind]
    assert scan_bytes(data + b"\xffcos\nsystem\n", name).verdict is not Verdict.CLEAN
    assert scan_bytes(data[:-3], name).verdict is not Verdict.CLEAN or kind == "sentencepiece"


def test_a_checkpoint_explains_its_shards_and_nothing_else(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).bytes(64)
    (tmp_path / "variables.index").write_bytes(_index())
    shard = tmp_path / "variables.data-00000-of-00001"
    shard.write_bytes(noise)
    (tmp_path / "other.bin").write_bytes(noise)
    verdicts = {scan.path: scan.verdict for scan in scan_tree(tmp_path).files}
    assert verdicts["variables.index"] is Verdict.CLEAN
    assert verdicts[shard.name] is Verdict.CLEAN
    assert verdicts["other.bin"] is Verdict.UNSCANNABLE
    shard.write_bytes(b"\x80\x04cos\nsystem\n(Vtrue\ntR.")
    assert {scan.path: scan.verdict for scan in scan_tree(tmp_path).files}[shard.name] is Verdict.MALICIOUS
    shard.unlink()
    assert {scan.path: scan.verdict for scan in scan_tree(tmp_path).files}["variables.index"] is Verdict.UNSCANNABLE
    assert scan_bytes(_index(shards=1, shard=3), "v.index").verdict is Verdict.UNSCANNABLE


def test_openvino_explains_its_weights(tmp_path: Path) -> None:
    (tmp_path / "Net.xml").write_text(
        '<net><layers><layer type="Const" version="opset1"><data offset="0" size="32"/></layer></layers></net>'
    )
    (tmp_path / "Net.bin").write_bytes(np.random.default_rng(2).bytes(32))
    assert {scan.verdict for scan in scan_tree(tmp_path).files} == {Verdict.CLEAN}
    (tmp_path / "Net.bin").unlink()
    assert scan_tree(tmp_path).verdict is Verdict.UNSCANNABLE


def test_a_template_is_only_asked_for_where_one_is_meant() -> None:
    broken = b"{{ a ' }} {% if"
    assert scan_bytes(broken, "chat_template.jinja").verdict is Verdict.UNSCANNABLE
    assert scan_bytes(broken, "merges.txt").verdict is Verdict.CLEAN
    assert scan_bytes(b"{{ x.__class__ }}", "merges.txt").verdict is Verdict.MALICIOUS


def test_a_folder_in_a_tar_that_claims_bytes_is_told() -> None:
    """Readers differ: some pass over the bytes, some read the next header there."""
    data = bytearray(tarred({"a": b""}))
    data[156:157] = b"5"
    data[124:136] = b"00000001000\x00"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\x00 " % sum(data[:512])
    hidden = tarred({"m.pkl": b"cos\nsystem\n(Vtrue\ntR."})
    scan = scan_bytes(bytes(data[:512]) + hidden)
    assert scan.verdict is Verdict.MALICIOUS
    assert "tar-size" in {finding.rule for finding in scan.findings}


def test_a_long_document_is_judged_as_a_short_one_is() -> None:
    filling = {f"token {n}": n for n in range(80_000)}
    assert scan_bytes(json.dumps(filling).encode(), "vocab.json").verdict is Verdict.CLEAN
    plain = json.dumps({**filling, "auto_map": {"a": "b.C"}})
    assert scan_bytes(plain.encode(), "vocab.json").verdict is Verdict.SUSPICIOUS
    escaped = plain.replace("auto_map", "aut\\u006f_map")
    assert scan_bytes(escaped.encode(), "vocab.json").verdict is Verdict.SUSPICIOUS
    lines = "\n".join(f'{{"a": {n}}}' for n in range(90_000))
    assert scan_bytes(lines.encode(), "t.jsonl").format == "json-lines"


def test_a_decompression_bomb_is_refused_early() -> None:
    packed = zipped({"zeros": bytes(70 << 20)})
    scan = scan_bytes(packed, "m.zip")
    assert scan.verdict is Verdict.SUSPICIOUS
    assert "decompression-bomb" in {finding.rule for finding in scan.findings}


def test_a_zip_behind_a_tflite_model_is_its_label_files() -> None:
    buffer = io.BytesIO(tflite_model("AudioSpectrogram"))
    assert scan_bytes(buffer.getvalue(), "m.tflite").verdict is Verdict.CLEAN
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    assert scan_bytes(buffer.getvalue(), "m.tflite").verdict is Verdict.CLEAN
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("x.pkl", b"cos\nsystem\n(Vtrue\ntR.")
    assert scan_bytes(buffer.getvalue(), "m.tflite").verdict is Verdict.MALICIOUS
