"""Files as they come: every encoding, dialect and kind of damage is read or named, with its line."""

from __future__ import annotations

import gzip
import json
import struct
import zlib

import numpy as np
import pytest

from customhouse._kit.digest import tree
from customhouse.core.errors import ArtifactError
from customhouse.trust.dataset import encoding
from customhouse.trust.dataset.layout import layout
from customhouse.trust.dataset.pictures import picture
from customhouse.trust.dataset.rowtree import verify_range
from customhouse.trust.dataset.source import row_proof, row_tree
from dataset_cases import found, looked_at, rules, table, written

ROWS = "name,amount\nMüller,1\nŁukasz,2\n日本,3\n"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (ROWS.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + ROWS.encode(), "utf-8"),
        (ROWS.encode("utf-16"), "utf-16-le"),
        (b"\xfe\xff" + ROWS.encode("utf-16-be"), "utf-16-be"),
        (ROWS.encode("utf-32"), "utf-32-le"),
        (gzip.compress(ROWS.encode(), mtime=0), "utf-8"),
    ],
)
def test_the_same_rows_in_any_encoding_have_the_same_tree(tmp_path, data, name):
    report = looked_at(written(tmp_path, rows__csv=data) if data[:2] != b"\x1f\x8b" else _packed(tmp_path, data))
    assert report.rows == 3
    assert report.files[0]["encoding"] == name
    plain = written(tmp_path / "..", plain__csv=ROWS) / "plain.csv"
    assert report.tree.root == looked_at(plain).tree.root


def _packed(folder, data):
    return written(folder, rows__csv__gz=data)


def test_latin_1_is_read_and_told_and_a_declared_encoding_is_not(tmp_path):
    data = "name,amount\n" + "Müller,1\n" * 3 + "Jürgen,2\n"
    report = looked_at(written(tmp_path, rows__csv=data.encode("latin-1")))
    assert "cp1252" in found(report, "encoding").message
    report = looked_at(tmp_path, {"encoding": "cp1252"})
    assert "encoding" not in rules(report)


def test_a_byte_of_another_encoding_is_named_by_its_line(tmp_path):
    lines = ["name,amount"] + [f"Müller {i},{i}" for i in range(50)]
    data = "\n".join(lines).encode().replace("Müller 41,".encode(), b"M\xfcller 41,")
    item = found(looked_at(written(tmp_path, rows__csv=data)), "undecodable")
    assert (item.severity, item.rows, item.count) == ("error", ("rows.csv:43",), 1)


def test_a_byte_far_behind_the_first_block_is_named_by_its_line(tmp_path):
    row = "x" * 99 + ",1\n"
    data = ("a,b\n" + row * 20_000).encode() + b"\xff,2\n"
    item = found(looked_at(written(tmp_path, rows__csv=data)), "undecodable")
    assert item.rows == ("rows.csv:20002",)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path, delimiter):
    report = looked_at(written(tmp_path, rows__csv=table(30).replace(",", delimiter)))
    assert [row["name"] for row in report.columns] == ["a", "b", "label"]
    assert report.files[0]["delimiter"] == delimiter


def test_line_ends_of_every_system(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        report = looked_at(written(tmp_path, rows__csv=table(30).replace("\n", end)))
        assert (report.rows, rules(report)) == (30, set())


def test_ragged_rows_are_named_and_left_out(tmp_path):
    report = looked_at(written(tmp_path, rows__csv=table(9) + "1,2\n" + "1,2,3,4\n" + '"a\nb",2,3\n7,8\n'))
    item = found(report, "ragged-row")
    assert item.rows == ("rows.csv:11", "rows.csv:12", "rows.csv:15")
    assert report.rows == 10


def test_a_million_columns_are_refused_with_the_limit(tmp_path):
    wide = ",".join(f"c{i}" for i in range(1_000_000))
    report = looked_at(written(tmp_path, rows__csv=wide + "\n"))
    item = found(report, "unreadable-file")
    assert "1000000 columns; 16384 are read at the most" in item.message
    assert not report.passed


def test_an_open_quote_is_named_where_it_begins(tmp_path, monkeypatch):
    data = table(9) + '1,"open,2\n' + table(200_000)
    report = looked_at(written(tmp_path, rows__csv=data))
    assert "rows.csv:11" in found(report, "unreadable-file").message


def test_a_huge_line_and_a_huge_cell_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "MAX_LINE", 1 << 21)
    report = looked_at(written(tmp_path, rows__csv="a,b\n" + "x" * (5 << 20)))
    assert "a line of more than" in found(report, "unreadable-file").message
    report = looked_at(written(tmp_path, rows__csv='a,b\n1,"' + "x\n" * (1 << 20) + '"\n'))
    assert "cannot be read" in found(report, "unreadable-file").message


def test_nul_characters_are_named(tmp_path):
    report = looked_at(written(tmp_path, rows__csv=b"a,b\n1,2\n3,x\x00y\n"))
    assert found(report, "nul-character").rows == ("rows.csv:3",)


@pytest.mark.parametrize("header", ["a,a,c", "a, ,a"])
def test_a_name_that_is_there_twice_is_refused(tmp_path, header):
    report = looked_at(written(tmp_path, rows__csv=f"{header}\n1,2,3\n"))
    assert "there twice" in found(report, "unreadable-file").message


def test_an_index_without_a_name_is_read(tmp_path):
    report = looked_at(written(tmp_path, rows__csv=",amount\n0,2.5\n1,3.5\n"))
    assert [row["name"] for row in report.columns] == ["(column 1)", "amount"]


def test_a_table_without_a_header_is_told(tmp_path):
    report = looked_at(written(tmp_path, rows__csv="1,2,3\n4,5,6\n"))
    assert "is it data?" in found(report, "header").message


def test_empty_files_and_files_of_empty_lines(tmp_path):
    report = looked_at(written(tmp_path, rows__csv="", more__csv="\n\n", head__csv="a,b\n"))
    assert {"unreadable-file", "no-rows"} <= rules(report)
    assert not report.passed


def test_a_broken_and_a_short_gzip_and_a_bomb(tmp_path):
    packed = gzip.compress(table(5000).encode())
    bomb = gzip.compress(b"a,b\n" + (b"x" * 9000 + b",2\n") * 2000, 9)
    cases = {"short": packed[:-20], "broken": packed[:50] + b"\0" * 20 + packed[70:]}
    for name, data in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        assert "gzip stream" in found(looked_at(_packed(folder, data)), "unreadable-file").message
    folder = tmp_path / "bomb"
    folder.mkdir()
    encoding_limit = encoding.MAX_RATIO
    try:
        encoding.MAX_RATIO = 100
        assert "times its size" in found(looked_at(_packed(folder, bomb)), "unreadable-file").message
    finally:
        encoding.MAX_RATIO = encoding_limit


def test_two_members_of_a_gzip_are_one_file(tmp_path):
    whole = table(40).encode()
    report = looked_at(_packed(tmp_path, gzip.compress(whole[:100]) + gzip.compress(whole[100:])))
    assert (report.rows, report.files[0]["gzip"]) == (40, True)


def test_json_lines_with_their_damage(tmp_path):
    good = [json.dumps({"a": i, "b": "x" if i % 3 else None}) for i in range(30)]
    lines = [
        *good,
        "{broken",
        '{"a": 1, "a": 2, "b": "y"}',
        "[1, 2]",
        "",
        '{"a": "text", "b": "z"}',
        '{"b": "\\":", "a": 3}',
        '{"b" : "y", "b": "n", "a": 4}',
    ]
    report = looked_at(written(tmp_path, rows__jsonl="\n".join(lines)))
    assert report.rows == 32
    assert found(report, "broken-row").rows == ("rows.jsonl:31", "rows.jsonl:33")
    assert found(report, "doubled-key").rows == ("rows.jsonl:32", "rows.jsonl:37")
    assert "1 text" in found(report, "mixed-type").message


def test_json_with_another_key_later_is_one_table(tmp_path):
    lines = [json.dumps({"a": i}) for i in range(5000)] + [json.dumps({"a": 1, "late": "x"})]
    report = looked_at(written(tmp_path, rows__jsonl="\n".join(lines)))
    assert report.rows == 5001
    assert {row["name"]: row["rows"] for row in report.columns} == {"a": 5001, "late": 905}


def test_deep_json_is_no_crash(tmp_path):
    report = looked_at(written(tmp_path, rows__jsonl='{"a": ' + "[" * 100_000 + "\n" + '{"a": 1}\n'))
    assert (report.rows, found(report, "broken-row").count) == (1, 1)


def test_arrays_with_labels(tmp_path):
    random = np.random.default_rng(1)
    np.save(tmp_path / "x.npy", random.normal(size=(300, 4)))
    np.save(tmp_path / "y.npy", np.arange(300) % 2)
    report = looked_at(tmp_path)
    assert (report.rows, report.labels) == (300, {"0": 150, "1": 150})
    np.save(tmp_path / "y.npy", np.arange(299) % 2)
    assert "299 labels for 300 items" in found(looked_at(tmp_path), "unreadable-file").message


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "cannot be read as an array" in found(looked_at(tmp_path), "unreadable-file").message


def _png(width: int = 3, height: int = 2, *, extra: bytes = b"") -> bytes:
    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * (width * 3 + 1) * min(height, 9) + extra)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", pixels) + part(b"IEND", b"")


def test_pictures_by_their_folders(tmp_path):
    for split, label, data in (
        ("train", "cat", _png()),
        ("train", "dog", _png(4)),
        ("test", "cat", _png()),
        ("test", "dog", _png(5, extra=b"x")[:-4]),
    ):
        place = tmp_path / split / label
        place.mkdir(parents=True)
        (place / "1.png").write_bytes(data)
    report = looked_at(tmp_path)
    assert report.rows == 4
    assert report.labels == {"cat": 2, "dog": 2}
    assert found(report, "leakage").count == 1
    assert found(report, "picture").file == "test/dog/1.png"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (_png(100_000, 100_000), "too many pixels"),
        (_png()[:30], "cut short"),
        (_png().replace(b"IDAT", b"IDAX"), "checksum"),
        (b"hello", "like no picture"),
        (b"\xff\xd8\xff\xe0", "cut short"),
        (b"GIF89a\x01\x00\x01\x00", "cut short"),
        (b"RIFF\x04\x00\x00\x00WEBPVP8L", "pixels|cut short"),
        (b"", "like no picture"),
    ],
)
def test_a_damaged_picture_is_told(data, problem):
    assert any(part in picture(data).problem for part in problem.split("|"))


def test_texts_are_rows_by_file_or_by_line(tmp_path):
    report = looked_at(written(tmp_path, one__txt="a line\nanother\n\nthird\n"))
    assert report.rows == 3
    report = looked_at(written(tmp_path, two__txt="a text"))
    assert (report.rows, [row["name"] for row in report.columns]) == (2, ["path", "label", "text"])


def test_rows_are_provable_out_of_a_file(tmp_path):
    path = written(tmp_path, rows__csv=table(3000, header="a,b,c"))
    files = layout(path, tree(path))
    whole, proof = row_proof(files, 1000, 1100)
    assert whole.root == row_tree(files).root == looked_at(path).tree.root
    rows = [json.dumps([str(i), str(i * 7 % 101), str(i % 2)], separators=(",", ":")).encode() for i in range(3000)]
    verify_range(proof, whole, rows[1000:1100])


def test_a_tree_of_a_file_that_cannot_be_read_is_none(tmp_path):
    path = written(tmp_path, rows__csv="a,a\n1,2\n")
    with pytest.raises(ArtifactError, match="there twice"):
        row_tree(layout(path, tree(path)))


def test_notes_beside_a_table_are_no_data(tmp_path):
    report = looked_at(written(tmp_path, rows__csv=table(20), README__md="x", notes__txt="y", model__bin=b"\0"))
    assert (report.rows, report.others) == (20, ("README.md", "model.bin", "notes.txt"))


def test_parquet_is_read_with_its_types(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = arrow.table(
        {
            "a": [1, 2, None],
            "b": ["x", "y", "z"],
            "t": arrow.array([0, 1, 2], arrow.timestamp("s")),
            "l": [[1], [2], None],
        }
    )
    parquet.write_table(rows, tmp_path / "rows.parquet")
    report = looked_at(tmp_path)
    assert (report.rows, report.files) == (3, ({"file": "rows.parquet", "format": "parquet", "rows": 3},))
    assert [(row["name"], row["type"], row["nulls"]) for row in report.columns] == [
        ("a", "integer", 1),
        ("b", "text", 0),
        ("t", "datetime", 0),
        ("l", "text", 1),
    ]
    data = (tmp_path / "rows.parquet").read_bytes()
    for damaged in (data[:-10], data[:4] + b"\0" * 40 + data[44:], b"PAR1" + b"\xff" * 100 + b"PAR1"):
        written(tmp_path, rows__parquet=damaged)
        assert not looked_at(tmp_path).passed
