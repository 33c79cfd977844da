"""`.npz` files: what NumPy writes is rows, labels and splits; what nobody should read is named and not unpickled."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest

from customhouse._kit.digest import tree
from customhouse.trust.dataset import packed_arrays
from customhouse.trust.dataset.layout import layout
from customhouse.trust.dataset.source import row_tree
from dataset_cases import found, looked_at, rules

RANDOM = np.random.default_rng(1)
X, Y = RANDOM.normal(size=(300, 4)), np.arange(300) % 2


def packed(folder, /, *, pack=np.savez, **arrays):
    pack(folder / "data.npz", **arrays)
    return folder


def member(array) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def zipped(folder, *members, **options):
    with zipfile.ZipFile(folder / "data.npz", "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return folder


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
def test_arrays_and_labels_are_rows_whatever_the_order_of_the_bytes(tmp_path, pack):
    report = looked_at(packed(tmp_path, pack=pack, x=X, y=Y))
    assert (report.rows, dict(report.labels), rules(report)) == (300, {"0": 150, "1": 150}, set())
    assert [row["name"] for row in report.columns] == ["x0", "x1", "x2", "x3", "label"]
    root = report.tree.root
    for other in (np.asfortranarray(X), X.astype(">f8")):
        assert looked_at(packed(tmp_path, x=other, y=Y)).tree.root == root
    (tmp_path / "data.npz").unlink()
    np.save(tmp_path / "x.npy", X)
    assert row_tree(layout(tmp_path, tree(tmp_path))).root == root


def test_names_of_arrays_are_splits_and_what_leaks_between_them_is_found(tmp_path):
    report = looked_at(packed(tmp_path, x_train=X[:200], y_train=Y[:200], x_test=X[195:], y_test=Y[195:]))
    assert report.splits == ("test", "train")
    assert report.rows == 305
    assert "leakage-rows" in rules(report) or "leakage" in "".join(rules(report))
    places = [row for item in report.findings for row in item.rows]
    assert any(place.startswith("data.npz/x_") for place in places)


def test_a_folder_called_test_does_not_hide_the_splits_inside(tmp_path):
    (tmp_path / "test").mkdir()
    packed(tmp_path / "test", x_train=X[:200], y_train=Y[:200], x_test=X[195:], y_test=Y[195:])
    assert "leakage" in "".join(rules(looked_at(tmp_path)))


def test_columns_beside_one_another_one_hot_labels_and_pictures(tmp_path):
    hot = np.eye(3, dtype=np.uint8)[np.arange(300) % 3]
    report = looked_at(
        packed(tmp_path, age=np.arange(300.0) * 1.7, name=np.array([f"n{i}" for i in range(300)]), y=hot)
    )
    assert [row["name"] for row in report.columns] == ["age", "name", "label"]
    assert dict(report.labels) == {"0": 100, "1": 100, "2": 100}
    images = RANDOM.integers(0, 255, (300, 8, 8, 3), np.uint8)
    report = looked_at(packed(tmp_path, images=images, labels=Y[:, None]))
    assert [row["name"] for row in report.columns] == ["minimum", "maximum", "mean", "spread", "label"]
    assert dict(report.labels) == {"0": 150, "1": 150}


def test_what_is_not_looked_at_is_told(tmp_path):
    report = looked_at(packed(tmp_path, x=X, y=Y, classes=np.array(["no", "yes"]), seed=np.array(7)))
    item = found(report, "array-not-read")
    assert (item.severity, item.count, report.passed) == ("warning", 2, True)
    report = looked_at(packed(tmp_path, x=X, y=Y, more=X[:299]))
    item = found(report, "array-not-read")
    assert (item.severity, report.passed) == ("error", False)
    assert "more has 299 rows, not 300" in item.message


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("x.npy", member(np.array([{"a": 1}], dtype=object)))], "never unpickled"),
        ([("x.npy", member(X)), ("notes.txt", b"hi")], "no array"),
        ([("x.npy", member(X)[:-8])], "promises"),
        ([("x.npy", member(X) + b"tail")], "promises"),
        ([("x.npy", b"cos\nsystem\n(S'true'\ntR.")], "header"),
        ([("x.npy", member(X)), ("x.npy", member(Y))], "twice"),
        ([(f"{name}.npy", member(Y)) for name in ("indices", "indptr", "format", "shape", "data")], "sparse"),
        ([("x.npy", member(np.zeros((2, 20_000))))], "columns"),
        ([("x.npy", member(np.zeros(3, dtype="V8")))], "numbers or texts"),
        ([("x.npy", member(np.zeros((0, 1))).replace(b"(0, 1)", b"(9, 0)"))], "numbers or texts"),
        ([("x.npy", member(np.zeros((0, 12345678))).replace(b"(0, 12345678)", b"(99999999, 0)"))], "numbers or texts"),
        ([("x.npy", member(np.zeros((300, 2)))), ("y.npy", member(np.full((300, 2), 0.5)))], "0 or 1"),
    ],
)
def test_what_cannot_be_read_fails_the_data_with_its_reason(tmp_path, members, said):
    with pytest.warns(UserWarning, match="Duplicate") if said == "twice" else np.errstate():
        zipped(tmp_path, *members)
    report = looked_at(tmp_path)
    item = found(report, "unreadable-file")
    assert said in item.message
    assert (report.passed, item.file) == (False, "data.npz")
    assert item.fix


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    zipped(tmp_path, ("x.npy", member(np.zeros((1 << 18, 16)))), compression=zipfile.ZIP_DEFLATED)
    assert "1000 times" in found(looked_at(tmp_path), "unreadable-file").message
    monkeypatch.setattr(packed_arrays, "MAX_MEMBERS", 3)
    zipped(tmp_path, *((f"a{i}.npy", member(Y)) for i in range(4)))
    assert "4 members" in found(looked_at(tmp_path), "unreadable-file").message


def test_a_directory_that_says_it_is_huge_is_not_read(tmp_path):
    zipped(tmp_path, ("x.npy", member(X)))
    place = tmp_path / "data.npz"
    data = bytearray(place.read_bytes() + b"")
    end = data.rfind(b"PK\5\6")
    padding = b"\0" * (packed_arrays.MAX_DIRECTORY + 10)
    start = struct.unpack_from("<I", data, end + 16)[0]
    struct.pack_into("<I", data, end + 12, struct.unpack_from("<I", data, end + 12)[0] + len(padding))
    place.write_bytes(bytes(data[:start]) + padding + bytes(data[start:]))
    assert "directory" in found(looked_at(tmp_path), "unreadable-file").message


def test_no_flipped_byte_is_read_as_other_numbers(tmp_path):
    root = looked_at(packed(tmp_path, x=X[:250], y=Y[:250])).tree.root
    place = tmp_path / "data.npz"
    whole = place.read_bytes()
    for at in range(0, len(whole), 97):
        data = bytearray(whole)
        data[at] ^= 0x10
        place.write_bytes(bytes(data))
        report = looked_at(tmp_path)
        assert not report.passed or report.tree.root == root or report.rows != 250, at
