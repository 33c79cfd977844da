"""Addresses of the lock file: none leaves the place that is trusted, however it is written."""

from __future__ import annotations

import pytest

from customhouse.control.lockfile import Locked, is_trusted, place_of, read_lock, write_lock
from customhouse.core.errors import DeclarationError

HOST = "https://charts.example"
LEADS_OUT = (
    "%2e%2e/team-b/web.tgz",
    "%2E%2E/team-b/web.tgz",
    ".%2e/team-b/web.tgz",
    "%2e./team-b/web.tgz",
    "..%2fteam-b/web.tgz",
    "..%2Fteam-b/web.tgz",
    "..%5cteam-b/web.tgz",
    "..\\team-b/web.tgz",
    "%252e%252e/team-b/web.tgz",
    "%c0%ae%c0%ae/team-b/web.tgz",
    "..%3b/team-b/web.tgz",
    "..%00/team-b/web.tgz",
    "../team-b/web.tgz",
    "./web.tgz",
    "a//web.tgz",
    "%zz/web.tgz",
    "web.tgz?x=1",
    "web.tgz%",
)


@pytest.mark.parametrize("path", LEADS_OUT)
def test_what_a_server_may_read_as_a_way_out_is_no_place_and_no_line(path: str) -> None:
    url = f"{HOST}/team-a/{path}"
    assert place_of(url) == ""
    assert not is_trusted(place_of(url), ["charts.example/team-a"])
    line = Locked(f"{HOST}/team-a", "1.0.0", "sha256:" + "0" * 64, 1, "web", "1.0.0", url=url)
    with pytest.raises(DeclarationError, match="is no address"):
        read_lock(write_lock([line]))


@pytest.mark.parametrize("name", ["web-1.0.0.tgz", "a/b_c/web-1.0.0+build.1.tgz", "web%2B1.tgz", "w%C3%A4b.tgz", "~x"])
def test_what_a_chart_repository_calls_its_files_is_a_place(name: str) -> None:
    url = f"{HOST}/team-a/{name}"
    assert place_of(url) == f"charts.example/team-a/{name}"
    line = Locked(f"{HOST}/team-a", "1.0.0", "sha256:" + "0" * 64, 1, "web", "1.0.0", url=url)
    assert read_lock(write_lock([line]))[line.key] == line
