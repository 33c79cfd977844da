"""Rows of a dataset under one digest: what is a row, what is proved of a range, which alterations are found."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.digest import tree
from customhouse.core.errors import ArtifactError, TamperError, UsageError
from customhouse.trust import custody_rows
from customhouse.trust.custody_rows import RowTree, check_rows, prove_rows, read_range, row_tree


def table(path: Path, rows: int = 3000) -> Path:
    path.write_text("amount,note\n" + "".join(f'{i},"line {i}\nsecond line"\n' for i in range(1, rows + 1)))
    return path


def test_a_line_end_between_quotes_ends_no_row_and_the_header_is_none(tmp_path: Path) -> None:
    found = row_tree(table(tmp_path / "t.csv"))
    assert found.rows == 3000
    assert [(item.header, len(item.leaves)) for item in found.files] == [(True, 4)]


def test_a_folder_has_the_rows_of_its_files_in_order_and_pictures_have_none(tmp_path: Path) -> None:
    table(tmp_path / "b.csv", 10)
    (tmp_path / "a.jsonl").write_text('{"a":1}\n{"a":2}')
    (tmp_path / "c.png").write_bytes(b"\x89PNG\n\n")
    found = row_tree(tmp_path)
    assert [(item.path, item.rows) for item in found.files] == [("a.jsonl", 2), ("b.csv", 10)]


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 3000), (1024, 1025), (3000, 3000), (1025, 2048)])
def test_a_range_of_rows_is_proved_against_what_the_entry_holds(tmp_path: Path, first: int, last: int) -> None:
    found = row_tree(table(tmp_path / "t.csv"))
    said = prove_rows(found, "", first, last)
    check_rows(found.to_json(), said)
    assert found.entered() == {"chunk": 1024, "rows": 3000, "root": found.to_json()["root"]}


def _altered(listing: dict[str, Any], said: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    made = []
    for change in (
        lambda a, b: b["leaves"][0].update(hash=b["leaves"][1]["hash"]),
        lambda a, b: b["leaves"].pop(),
        lambda a, b: b["leaves"].reverse(),
        lambda a, b: b["leaves"][0]["proof"].pop(),
        lambda a, b: b["leaves"][0].update(index=7),
        lambda a, b: b.update(rows=[1, 4000]),
        lambda a, b: b.update(rows=[2000, 1]),
        lambda a, b: b.update(file="other.csv"),
        lambda a, b: b["leaves"][0].update(hash="???"),
        lambda a, b: a["files"][0].update(rows=3001),
        lambda a, b: a.update(rows=2999),
        lambda a, b: a.update(chunk=1000),
        lambda a, b: a.update(root="sha256:" + "0" * 64),
    ):
        one, other = copy.deepcopy(listing), copy.deepcopy(said)
        change(one, other)  # type: ignore[no-untyped-call]
        made.append((one, other))
    return made


def test_every_alteration_of_a_proof_is_found(tmp_path: Path) -> None:
    found = row_tree(table(tmp_path / "t.csv"))
    for listing, said in _altered(found.to_json(), prove_rows(found, "t.csv", 1000, 2000)):
        with pytest.raises(TamperError):
            check_rows(listing, said)


def test_one_altered_row_gives_another_root(tmp_path: Path) -> None:
    before = row_tree(table(tmp_path / "t.csv"))
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(text.replace("line 77\n", "line 78\n", 1))
    assert row_tree(tmp_path / "t.csv").root != before.root


def test_rows_that_are_not_there_cannot_be_proved(tmp_path: Path) -> None:
    found = row_tree(table(tmp_path / "t.csv", 10))
    for path, first, last in (("", 1, 11), ("", 0, 1), ("other.csv", 1, 1)):
        with pytest.raises(UsageError):
            prove_rows(found, path, first, last)
    for text in ("", "0", "3-2", "1-", "a", "1-2-3", "9" * 40):
        with pytest.raises(UsageError):
            read_range(text)
    assert read_range("5") == (5, 5)


def test_what_is_kept_leads_to_the_same_root_and_damage_is_told(tmp_path: Path) -> None:
    found = row_tree(table(tmp_path / "t.csv"))
    document = found.to_document()
    assert document is not None
    assert RowTree.from_document(document).root == found.root
    with pytest.raises(TamperError):
        RowTree.from_document({"files": [{}]})


def test_a_row_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custody_rows, "MAX_ROW", 1000)
    (tmp_path / "t.csv").write_text('a\n"' + "x\n" * 2000)
    with pytest.raises(ArtifactError, match="double quote"):
        row_tree(tmp_path / "t.csv")


def test_a_file_that_changed_since_its_digest_was_made_is_refused(tmp_path: Path) -> None:
    before = tree(table(tmp_path / "t.csv", 10))
    table(tmp_path / "t.csv", 11)
    with pytest.raises(ArtifactError, match="changed while"):
        row_tree(tmp_path / "t.csv", before)
