"""Who may ask: host names that are ours, one of them, readable; and what every answer carries."""

from __future__ import annotations

import pytest

from customhouse.server.door import host_name


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("127.0.0.1:8440", "127.0.0.1"),
        ("localhost", "localhost"),
        ("LOCALHOST:1", "localhost"),
        ("[::1]:8440", "[::1]"),
        ("[::1]", "[::1]"),
        ("evil.example:8440", "evil.example"),
    ],
)
def test_the_port_is_no_part_of_a_host_name(value: str, host: str) -> None:
    assert host_name([value]) == host


@pytest.mark.parametrize(
    "values",
    [[], [""], [":80"], ["localhost:80:90"], ["localhost:x"], ["[::1]x"], ["[::1]:"[:-1] + ":x"], ["localhost"] * 2],
)
def test_a_host_that_cannot_be_read_is_nobodys(values: list[str]) -> None:
    assert host_name(values) not in ("localhost", "127.0.0.1", "[::1]")
