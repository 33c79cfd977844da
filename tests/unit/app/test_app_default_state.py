"""Where state lies when nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

from customhouse.app.settings import read_settings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUSTOMHOUSE_STATE", raising=False)


def test_a_repository_made_by_init_brings_its_own_state(tmp_path: Path) -> None:
    (tmp_path / "mine" / ".customhouse").mkdir(parents=True)
    assert read_settings(repo="mine").state == tmp_path / "mine" / ".customhouse"


@pytest.mark.parametrize("repo", [None, ".", "elsewhere", "https://example.com/x.git"])
def test_other_repositories_use_the_working_directory(tmp_path: Path, repo: str | None) -> None:
    assert read_settings(repo=repo).state == tmp_path / ".customhouse"


def test_what_is_named_goes_before(tmp_path: Path) -> None:
    (tmp_path / "mine" / ".customhouse").mkdir(parents=True)
    assert read_settings(state="given", repo="mine").state == tmp_path / "given"
