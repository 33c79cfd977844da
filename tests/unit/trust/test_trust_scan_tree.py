"""Scanning folders: a row a file, links refused, the evidence bound to the very bytes."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import tree
from customhouse.core.errors import ArtifactError
from customhouse.trust.scan import Verdict, inspector, rules_digest, scan_file, scan_paths, scan_predicate, scan_tree
from customhouse.trust.scan import __file__ as scanner

EVIL = b"cos\nsystem\n(X\x04\x00\x00\x00truetR."


def _onnx_with_data(location: str, length: int) -> bytes:
    pairs = [("location", location), ("offset", "0"), ("length", str(length))]
    body = b"\x08\x02\x10\x01"
    for key, value in pairs:
        inner = b"\x0a" + bytes([len(key)]) + key.encode() + b"\x12" + bytes([len(value)]) + value.encode()
        body += b"\x6a" + bytes([len(inner)]) + inner
    tensor = b"\x2a" + bytes([len(body) + 2]) + body + b"\x70\x01"
    node = b"\x0a\x09\x0a\x01x\x22\x04Relu"
    graph = node + tensor
    return b"\x08\x08\x3a" + bytes([len(graph)]) + graph


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "sub").mkdir(parents=True)
    (root / "b.pkl").write_bytes(pickle.dumps([1]))
    (root / "README.md").write_text("# hello\n")
    (root / "sub" / "c.json").write_text("{}")
    return root


def test_a_folder_gives_a_row_a_file_in_order(folder: Path) -> None:
    told: list[str] = []
    scan = scan_tree(folder, lambda one: told.append(one.path))
    assert [one.path for one in scan.files] == ["README.md", "b.pkl", "sub/c.json"] == told
    assert scan.verdict is Verdict.CLEAN
    assert scan.exit_status == 0


def test_json_has_the_documented_shape(folder: Path) -> None:
    (folder / "evil.bin").write_bytes(EVIL)
    document = json.loads(json.dumps(scan_tree(folder).to_json()))
    row = next(row for row in document["files"] if row["path"] == "evil.bin")
    assert row["verdict"] == "malicious"
    assert row["format"] == "pickle"
    assert {"rule", "severity", "message"} <= set(row["findings"][0])


def test_exit_status_is_worst_first(folder: Path) -> None:
    (folder / "x").write_bytes(bytes(range(256)))
    assert scan_tree(folder).exit_status == 3
    (folder / "y").write_bytes(EVIL)
    assert scan_tree(folder).exit_status == 1


def test_an_empty_folder_is_not_clean(tmp_path: Path) -> None:
    assert scan_tree(tmp_path).verdict is Verdict.UNSCANNABLE


def test_links_pipes_and_unreadable_files_are_rows_that_are_not_clean(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    rows = {one.path: one for one in scan_tree(folder).files}
    assert rows["link"].verdict is rows["pipe"].verdict is Verdict.UNSCANNABLE
    assert "link" in rows["link"].findings[0].message
    (folder / "loop").symlink_to(folder)
    assert len(scan_tree(folder).files) == 6, "a link to a folder is not followed"


def test_nothing_there_is_an_error_that_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="absent"):
        scan_file(tmp_path / "absent")
    with pytest.raises(ArtifactError, match="absent"):
        scan_tree(tmp_path / "absent")


def test_arguments_keep_their_order_and_names(folder: Path) -> None:
    scan = scan_paths([folder / "sub", folder / "b.pkl"])
    assert [one.path for one in scan.files] == [str(folder / "sub/c.json"), str(folder / "b.pkl")]


def test_raw_weights_are_explained_by_the_model_that_reads_them(folder: Path) -> None:
    raw = bytes(range(255, 0, -1)) * 2
    (folder / "model.onnx").write_bytes(_onnx_with_data("w.bin", 100))
    assert scan_tree(folder).verdict is Verdict.UNSCANNABLE, "the weights are not there"
    (folder / "w.bin").write_bytes(raw)
    rows = {one.path: one for one in scan_tree(folder).files}
    assert rows["w.bin"].verdict is rows["model.onnx"].verdict is Verdict.CLEAN
    assert rows["w.bin"].format == "raw"
    assert scan_file(folder / "w.bin").verdict is Verdict.UNSCANNABLE, "alone, nothing explains it"
    (folder / "w.bin").write_bytes(raw[:50])
    assert scan_tree(folder).verdict is Verdict.UNSCANNABLE, "too short for what the model reads"
    (folder / "w.bin").unlink()
    (folder / "w.bin").symlink_to("/etc/passwd")
    assert scan_tree(folder).verdict is Verdict.UNSCANNABLE


def test_predicate_binds_every_file_to_the_tree(folder: Path) -> None:
    predicate = scan_predicate(tree(folder), scan_tree(folder))
    assert predicate["subject_digest"] == tree(folder).digest
    assert predicate["verdict"] == "clean"
    assert predicate["counts"] == {"clean": 3, "suspicious": 0, "malicious": 0, "unscannable": 0}
    assert predicate["scanner"]["rules_digest"] == rules_digest()
    assert [row["path"] for row in predicate["files"]] == ["README.md", "b.pkl", "sub/c.json"]
    assert canonical_json(predicate) == canonical_json(scan_predicate(tree(folder), scan_tree(folder)))


def test_the_rules_digest_is_of_all_that_a_verdict_rests_on() -> None:
    root = Path(scanner).parent
    files = {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file() and file.suffix != ".pyc"}
    assert {name for name, _ in inspector._parts(root, "")} == files
    assert any(name.endswith(".txt") for name in files), "lists of names too"


def test_predicate_of_a_single_file(folder: Path) -> None:
    path = folder / "b.pkl"
    assert scan_predicate(tree(path), scan_tree(path))["files"][0]["digest"] == tree(path).digest


def test_predicate_refuses_a_file_that_changed_after_the_scan(folder: Path) -> None:
    scan = scan_tree(folder)
    (folder / "b.pkl").write_bytes(EVIL)
    with pytest.raises(ArtifactError, match=r"b\.pkl.*changed"):
        scan_predicate(tree(folder), scan)
    (folder / "b.pkl").unlink()
    with pytest.raises(ArtifactError, match="different files"):
        scan_predicate(tree(folder), scan)


def test_a_name_that_nothing_can_be_signed_of_is_said_and_hides_nothing_in_the_file(tmp_path: Path) -> None:
    try:
        (tmp_path / "a\udcff.txt").write_text("hello")
        (tmp_path / "b\udcff.pkl").write_bytes(b"cos\nsystem\n(S'id'\ntR.")
    except OSError:  # pragma: no cover - a file system with names in UTF-8 alone
        pytest.skip("the file system takes no such name")
    text, evil = scan_tree(tmp_path).files
    assert (text.verdict, [finding.rule for finding in text.findings]) == (Verdict.UNSCANNABLE, ["file-name"])
    assert evil.verdict is Verdict.MALICIOUS
