"""Word lists written as prose, so that long ones stay readable and sortable."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text, separated by any white space."""
    return frozenset(text.split())
