"""What leaves the program: tables, CSV, JSON, and where talk goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from customhouse.app.settings import Settings, read_settings
from customhouse.cli.output import talk, write_csv, write_json, write_table, write_text
from customhouse.core.errors import UsageError


def test_a_table_holds_what_looks_like_markup_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("", ["Name", "Text"], [["a", "[bold]x[/bold] [link=http://evil.example]y[/link]"]])
    out = capsys.readouterr().out
    assert "[bold]x[/bold] [link=http://evil.example]y[/link]" in out


def test_what_steers_a_terminal_is_not_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A column's name, an author or an alias: somebody else's words, between those of the program.
    hostile = "a\x1b[2J\x9b31mb\rallowed\u202ec\x07"
    write_table(hostile, [hostile], [[hostile]])
    write_text(f"ä—\t{hostile}\r\nnext")
    talk(Settings(Path("state")), hostile)
    found = capsys.readouterr()
    assert not [letter for letter in found.out + found.err if letter in "\x1b\x9b\u202e\x07"]
    assert "\r" not in found.out.replace("\r\n", "\n") + found.err
    assert "ä—\ta" in found.out
    assert "\r\nnext\n" in found.out


def test_a_table_without_rows_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("title", ["Name"], [])
    assert capsys.readouterr().out == ""


def test_a_table_is_as_wide_as_columns_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns in (40, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        write_table("", ["Text"], [["word " * 100]])
        assert max(map(len, capsys.readouterr().out.splitlines())) <= columns
    monkeypatch.setenv("COLUMNS", "wide")
    write_table("", ["Text"], [["word " * 100]])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 160


def test_csv_quotes_what_needs_it(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(["a", "b"], [{"a": 'x,"y"', "b": 1, "c": "left out"}])
    assert capsys.readouterr().out == 'a,b\n"x,""y""",1\n'


def test_json_keeps_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"name": "Grüße", "amount": "0.10"})
    out = capsys.readouterr().out
    assert "Grüße" in out
    assert json.loads(out) == {"name": "Grüße", "amount": "0.10"}


def test_talk_goes_to_stderr_and_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    talk(Settings(Path("state")), "hello")
    talk(Settings(Path("state"), quiet=True), "nothing")
    assert tuple(capsys.readouterr()) == ("", "hello\n")


def test_a_flag_counts_before_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "customhouse.yaml"
    config.write_text("apiVersion: customhouse.dev/v1\n")
    monkeypatch.setenv("CUSTOMHOUSE_STATE", str(tmp_path / "from-environment"))
    monkeypatch.setenv("CUSTOMHOUSE_ENGINE", "opa")
    monkeypatch.setenv("CUSTOMHOUSE_CONFIG", str(config))
    assert read_settings().state == tmp_path / "from-environment"
    assert read_settings().engine == "opa"
    assert read_settings().config == config
    assert read_settings(state=str(tmp_path / "flag"), engine="embedded").state == tmp_path / "flag"
    assert read_settings(engine="embedded").engine == "embedded"
    with pytest.raises(UsageError):
        read_settings(engine="magic")


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert read_settings().colour is False
