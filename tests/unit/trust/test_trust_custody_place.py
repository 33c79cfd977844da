"""Where in a broken JSON text something is wrong, said as a pointer."""

from __future__ import annotations

import json

import pytest

from customhouse.trust.custody_place import first_difference, place_of

TEXT = json.dumps({"a": [1, {"b": 'x"y,[z'}, "c"], "d/e": {"f": None}}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("part", "pointer"),
    [(b"1,", "/a/0"), (b"x\\", "/a/1/b"), (b"[z", "/a/1/b"), (b'c"', "/a/2"), (b"null", "/d~1e/f")],
)
def test_the_innermost_member_is_named(part: bytes, pointer: str) -> None:
    assert place_of(TEXT, TEXT.index(part) + 1) == pointer


def test_what_is_no_json_any_more_still_has_a_place() -> None:
    for at in range(len(TEXT) + 5):
        assert place_of(TEXT[:at], at).startswith("/")
        assert place_of(b"\xff" * at, at).startswith("/")
    assert place_of(b"[" * 100_000, 100_000).startswith("/0")


def test_two_texts_part_where_they_part() -> None:
    assert first_difference(b"abc", b"abx") == 2
    assert first_difference(b"abc", b"abc") == 3
    assert first_difference(b"", b"x") == 0
    assert first_difference(b"ab" * 1000 + b"x", b"ab" * 1000) == 2000
