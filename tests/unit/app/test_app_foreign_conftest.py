"""Files under conftest's packages: slice by slice, by one process or by more, they are judged the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from customhouse.app import foreign_conftest
from customhouse.app.foreign_conftest import ConftestRun, judge_files
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError, PolicyError, SourceError, UsageError

RULES = """\
package main
import rego.v1
deny contains sprintf("%s is no name", [input.name]) if startswith(input.name, "x")
warn contains {"msg": "warm", "degrees": input.heat} if input.heat > 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(foreign_conftest, "SLICE", 3)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "main.rego").write_text(RULES)
    (tmp_path / "files").mkdir()
    for number in range(20):
        name = "x" if number % 3 == 0 else "y"
        (tmp_path / "files" / f"{number:02}.yaml").write_text(
            f"name: {name}{number}\nheat: {number % 5}\n---\nname: b\n"
        )
    return tmp_path


def _judged(folder: Path, processes: int) -> ConftestRun:
    settings = Settings(folder / "state", engine="embedded")
    return judge_files(settings, str(folder / "policy"), [str(folder / "files")], processes=processes)


def test_more_processes_say_what_one_says(folder: Path) -> None:
    alone = _judged(folder, 1)
    assert (alone.to_json()["documents"], alone.to_json()["failures"], alone.to_json()["warnings"]) == (40, 7, 4)
    assert [_judged(folder, count) for count in (2, 3)] == [alone, alone]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("name: [", PolicyError), ("- a list\n", PolicyError), (None, SourceError)],
)
def test_the_first_error_in_the_order_of_the_files_is_told(
    folder: Path, text: str | None, kind: type[CustomhouseError]
) -> None:
    for number in (4, 11):
        place = folder / "files" / f"{number:02}.yaml"
        if text is None:
            place.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
        else:
            place.write_text(text)
    said = []
    for count in (1, 2):
        with pytest.raises(kind) as caught:
            _judged(folder, count)
        said.append((type(caught.value), caught.value.message, caught.value.where))
        assert "04.yaml" in caught.value.where
    assert said[0] == said[1]


def test_a_folder_without_documents_is_said(folder: Path) -> None:
    (folder / "empty").mkdir()
    settings = Settings(folder / "state", engine="embedded")
    with pytest.raises(UsageError, match="no document"):
        judge_files(settings, str(folder / "policy"), [str(folder / "empty")])
