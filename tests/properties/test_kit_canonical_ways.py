"""Canonical JSON has a quick way and a careful one; both write the same bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from customhouse._kit import canonical
from customhouse._kit.canonical import CanonicalError, canonical_json

TEXT = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(
    [",1.5", "[1e5", "\ud800", "\U0001f600", "\x7f"]
)
NUMBER = st.integers(-(2**54), 2**54) | st.floats(allow_nan=True) | st.booleans() | st.none()
VALUE = st.recursive(
    NUMBER | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT | st.integers(0, 3), inner) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(VALUE)
def test_both_ways_write_the_same_bytes_or_both_refuse(value: object) -> None:
    parts: list[str] = []
    try:
        canonical._write(value, parts, [])
        careful: bytes | None = "".join(parts).encode("utf-8")
    except (CanonicalError, UnicodeEncodeError):
        careful = None
    try:
        quick: bytes | None = canonical_json(value)
    except CanonicalError:
        quick = None
    assert quick == careful
