"""Long work says how far it has come, on stderr alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from customhouse._kit import progress
from customhouse.cli.long_work import Line


def _line(*, terminal: bool, moments: Iterator[float]) -> Line:
    return Line(terminal=terminal, now=lambda: next(moments))


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    line = _line(terminal=True, moments=iter([0.0, 1.0, 1.9]))
    line.tell("judging", 1, 9)
    line.tell("judging", 2, 9)
    line.end()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_one_line_that_is_gone_in_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    line = _line(terminal=True, moments=iter([0.0, 2.1, 2.1, 2.2, 2.4, 2.4]))
    line.tell("judging", 10, 99)
    line.tell("judging", 11, 99)
    line.tell("judging", 9, 99)
    line.end()
    assert capsys.readouterr() == ("", "\rjudging: 10 of 99\rjudging: 9 of 99 \r" + " " * 16 + "\r")


def test_a_log_has_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    line = _line(terminal=False, moments=iter([0.0, 3.0, 3.0, 4.0, 13.5, 13.5]))
    with progress.listening(line.tell):
        for done in (1, 2, 3):
            progress.tell("reading", done, 3)
    progress.tell("reading", 3, 3)  # nobody listens any more
    line.end()
    assert capsys.readouterr() == ("", "reading: 1 of 3\nreading: 3 of 3\n")
