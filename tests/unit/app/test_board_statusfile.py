"""The picture that other processes read: whole or not at all, and a clear error when it is neither."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from customhouse.app.settings import Settings, read_settings
from customhouse.app.statusfile import read_status, write_status
from customhouse.core.errors import StateError, UsageError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "server"))
from server_boards import PICTURE


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(read_settings(state=None, engine=None, quiet=True, config=None), state=tmp_path)


def test_what_is_written_is_what_the_api_gives(settings: Settings) -> None:
    write_status(settings, PICTURE)
    found = read_status(settings)
    assert found["releases"][0]["version"] == "v2.1"
    assert found.keys() == PICTURE.to_json().keys()
    write_status(settings, replace(PICTURE, problem="é"))
    assert read_status(settings)["problem"] == "é"
    assert [path.name for path in settings.state.iterdir()] == ["overview.json"]


def test_before_the_first_picture_it_says_what_to_run(settings: Settings) -> None:
    with pytest.raises(UsageError, match="no control plane has run") as caught:
        read_status(settings)
    assert "customhouse up" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_file_that_is_no_picture_is_named_with_the_way_out(settings: Settings, content: bytes) -> None:
    (settings.state / "overview.json").write_bytes(content)
    with pytest.raises(StateError) as caught:
        read_status(settings)
    assert caught.value.where.endswith("overview.json")
    assert "delete it" in caught.value.hint


def test_a_write_that_fails_leaves_the_picture_before_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(settings, PICTURE)

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_status(settings, replace(PICTURE, problem="new"))
    assert read_status(settings)["problem"] == ""


def test_texts_and_numbers_beyond_other_writers_are_kept(settings: Settings) -> None:
    write_status(settings, replace(PICTURE, problem="half \ud83d", ledger_size=2**70))
    assert (read_status(settings)["problem"], read_status(settings)["ledger_size"]) == ("half \ud83d", 2**70)
    write_status(settings, replace(PICTURE, cluster=MappingProxyType({"waiting": (1, 2)})))
    assert read_status(settings)["cluster"] == {"waiting": [1, 2]}
