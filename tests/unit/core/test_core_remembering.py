"""An object is read once within what remembers, and as often as asked beyond its bound and outside of it."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.core import remembering as kept
from customhouse.core.remembering import remembered, remembering


def test_within_it_each_reading_is_made_once_and_a_bound_keeps_it_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_KEPT", 2)
    read: list[Any] = []
    objects = [{"a": number} for number in range(3)]

    def reader(manifest: Any, one: str, _: str) -> tuple[int, str]:
        read.append(manifest)
        return manifest["a"], one

    with remembering():
        for _ in range(2):
            with remembering():  # of the outer one
                assert [remembered(reader, item, "x", "") for item in objects] == [(0, "x"), (1, "x"), (2, "x")]
        assert read == [*objects, objects[2]]
        assert remembered(reader, objects[0], "y", "") == (0, "y")
    assert remembered(reader, objects[0], "x", "") == (0, "x")
    assert len(read) == 6
