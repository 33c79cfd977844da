"""Traces of requests: the three forms, packed or not, and what is refused with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from customhouse.app.requesttrace import Durations, read_trace
from customhouse.core.errors import UsageError

SAME = Durations(None, 2.0)


def _file(folder: Path, text: str, name: str = "t.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_row_a_request_with_seconds_tokens_or_neither(tmp_path: Path) -> None:
    own = read_trace(_file(tmp_path, "timestamp,seconds\n2026-01-01T00:00:03Z,5\n2026-01-01T00:00:01Z,4\n"), SAME)
    assert (list(own.arrivals), list(own.seconds), own.span) == ([0.0, 2.0], [4.0, 5.0], 4.0)
    azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:47.68,1,10\n"
    tokens = read_trace(_file(tmp_path, azure), Durations(lambda tokens: tokens / 10, None))
    assert [round(value, 6) for value in tokens.arrivals] == [0.0, 0.99941]
    assert list(tokens.seconds) == [4.4, 1.0]
    assert list(read_trace(_file(tmp_path, azure), SAME).seconds) == [2.0, 2.0]


def test_counts_by_interval_are_placed_in_it_and_parts_are_carried(tmp_path: Path) -> None:
    text = "timestamp,value\n2026-01-01T00:00Z,1.5\n2026-01-01T00:05Z,0\n2026-01-01T00:10Z,2.5\n"
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    trace = read_trace(str(path), SAME)
    assert (len(trace.arrivals), trace.span) == (4, 900.0)
    assert trace.arrivals[0] < 300 <= 600 <= min(trace.arrivals[1:])
    assert list(trace.arrivals) == sorted(trace.arrivals)
    assert trace == read_trace(str(path), SAME), "placed the same each time"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "no column timestamp"),
        ("timestamp,value\n", "no requests"),
        ("timestamp,value\nyesterday,2\n", ":2: 'yesterday' is not a time"),
        ("timestamp,value\n2026-01-01T00:00Z,2\n2026-01-01T00:05Z,nan\n", ":3: value is 'nan'"),
        ("timestamp,value\n2026-01-01T00:00Z,2\n2026-01-01T00:05Z,-2\n", ":3: value is '-2'"),
        ("timestamp,value\n2026-01-01T00:00Z,2\n", "one interval alone"),
        ("timestamp,value\n2026-01-01T00:00Z,9e8\n2026-01-01T00:05Z,9e8\n", "are more than"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        read_trace(_file(tmp_path, text), SAME)
    assert said in str(error.value)


def test_no_file_no_durations_and_a_cut_archive_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_trace(str(tmp_path / "none"), SAME)
    rows = "timestamp\n2026-01-01T00:00Z\n"
    with pytest.raises(UsageError, match="how long a request takes"):
        read_trace(_file(tmp_path, rows), Durations())
    (tmp_path / "cut.gz").write_bytes(gzip.compress(rows.encode() * 100)[:-9])
    with pytest.raises(UsageError, match="not whole"):
        read_trace(str(tmp_path / "cut.gz"), SAME)
