"""The quick writer of Facts writes what the careful one does, or nothing."""

from __future__ import annotations

import uuid
from enum import Enum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from customhouse._kit import canonical
from customhouse.core.errors import CustomhouseError
from customhouse.policy.limits import written
from customhouse.policy.projection import MAX_DEPTH, MAX_STRING, _within_limits, check_bounds

TEXT = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(
    ["\ud800", "\U0001f600", "\ue000", "\x7f", "\x1f"]
)
NUMBER = st.integers(-(2**54), 2**54) | st.booleans() | st.none()
ODD = st.floats(allow_nan=True) | st.just((1, 2)) | st.just({1: 2})
VALUE = st.recursive(NUMBER | TEXT | ODD, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=12)


def careful(value: Any) -> bytes | None:
    parts: list[str] = []
    try:
        canonical._write(value, parts, [])
        return "".join(parts).encode()
    except (canonical.CanonicalError, UnicodeEncodeError):
        return None


@given(st.dictionaries(TEXT, VALUE))
@example({"a": 2**53 - 1, "b": -(2**53 - 1)})
@example({"a": 2**53})
@example({"\ue000": 1, "\U0001f600": 2})
@example({"\ud7ff": 1, "\U0001f600": 2})
def test_what_is_written_quickly_is_canonical(value: dict[str, Any]) -> None:
    quick, slow = written(value, depth=MAX_DEPTH), careful(value)
    assert quick is None or quick == slow


def nested(levels: int) -> dict[str, Any]:
    value: Any = "x"
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


@pytest.mark.parametrize("levels", range(MAX_DEPTH - 2, MAX_DEPTH + 3))
def test_the_quick_way_refuses_what_the_careful_one_does(levels: int) -> None:
    value = nested(levels)
    try:
        _within_limits(value, "", 0, longest=MAX_STRING)
        allowed = True
    except CustomhouseError:
        allowed = False
    assert (written(value, depth=MAX_DEPTH) is not None) == allowed
    if allowed:
        assert check_bounds(value, "it") == careful(value)


class Kind(Enum):
    ONE = "one"


@pytest.mark.parametrize("odd", [Kind.ONE, uuid.UUID(int=1), float("nan"), 1.0, type("Text", (str,), {})("x")])
def test_what_is_of_no_plain_type_is_left_to_the_careful_way(odd: object) -> None:
    assert written({"a": odd}, depth=MAX_DEPTH) is None
