"""The dashboard over real sockets: who is let in, what is refused and how, event streams that come and go."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from customhouse.core.errors import TargetError
from customhouse.server.application import PARTS
from customhouse.server.serving import Server
from customhouse.server.streams import MOST

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit" / "server"))
from server_boards import PICTURE, StillBoard


@pytest.fixture
def board() -> StillBoard:
    return StillBoard()


@pytest.fixture
def server(board: StillBoard) -> Iterator[Server]:
    with Server(board) as running:
        yield running


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    with closing(http.client.HTTPConnection(server.address.host, server.address.port, timeout=5)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, fields, answer.read().decode()


class Stream:
    """One open event stream."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection((server.address.host, server.address.port), timeout=5)
        host = f"{server.address.host}:{server.address.port}"
        self.socket.sendall(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])

    def event(self) -> tuple[str, dict[str, object]]:
        """The next event; ("", {}) at the end of the stream."""
        name = ""
        for line in self.file:
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                return name, json.loads(line[6:])
        return "", {}

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost:1:2"])
def test_a_page_elsewhere_cannot_read_through_a_name_of_its_own(server: Server, host: str) -> None:
    for path in ("/", "/api/v1/overview", "/events", "/static/live.js"):
        status, headers, text = ask(server, path, Host=host)
        assert status == 400
        assert "Customhouse" not in text
        assert "content-security-policy" in headers


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST:9", "[::1]:8440"])
def test_the_names_of_the_loopback_are_answered(server: Server, host: str) -> None:
    assert ask(server, "/healthz", Host=host)[0] == 200


def test_it_can_listen_on_the_loopback_of_ipv6(board: StillBoard) -> None:
    if not socket.has_ipv6 or not _has_ipv6_loopback():
        pytest.skip("this machine has no ::1")
    with Server(board, host="::1") as server:
        assert server.address.url == f"http://[::1]:{server.address.port}/"
        assert ask(server, "/healthz")[0] == 200


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_every_answer_keeps_scripts_and_frames_of_others_out(server: Server, board: StillBoard) -> None:
    for path in ("/", "/fragment", "/api/v1/overview", "/nowhere", "/static/customhouse.css"):
        headers = ask(server, path)[1]
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
    board.broken = True
    assert "content-security-policy" in ask(server, "/api/v1/overview")[1]


def test_what_cannot_be_asked_for_is_said_in_the_form_that_was_asked_for(server: Server) -> None:
    assert ask(server, "/nowhere")[::2] == (404, "Not Found\n")
    status, _, text = ask(server, "/api/v1/nowhere")
    assert (status, json.loads(text)["error"]["status"]) == (404, 404)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        status, headers, text = ask(server, "/api/v1/overview", method)
        assert (status, json.loads(text)["error"]["message"]) == (405, "Method Not Allowed")
        assert set(headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert ask(server, "/static/../application.py")[0] == 404
    assert ask(server, "/static/%2e%2e/application.py")[0] == 404
    assert ask(server, "/static/")[0] == 404


@pytest.mark.parametrize("path", ["/", "/api/v1/overview", "/metrics", "/healthz", "/events", "/static/live.js"])
def test_head_gives_the_headers_and_ends(server: Server, path: str) -> None:
    status, headers, text = ask(server, path, "HEAD")
    assert (status, text) == (200, "")
    assert headers["content-type"]


def test_before_the_first_look_it_waits_and_says_so(server: Server, board: StillBoard) -> None:
    board.picture = None
    status, headers, text = ask(server, "/")
    assert (status, headers["retry-after"]) == (503, "1")
    assert "The control plane is starting" in text
    status, _, text = ask(server, "/api/v1/overview")
    assert (status, json.loads(text)["error"]["message"]) == (503, "nothing has been looked at yet")
    assert ask(server, "/readyz")[0] == 503
    assert ask(server, "/healthz")[0] == 200
    board.show(PICTURE)
    assert ask(server, "/readyz")[0] == 200


def test_a_bug_is_not_explained_to_who_asks(
    server: Server, board: StillBoard, capfd: pytest.CaptureFixture[str]
) -> None:
    board.broken = True
    for path in ("/", "/fragment", "/api/v1/costs", "/readyz"):
        status, _, text = ask(server, path)
        assert status == 500
        assert "secret detail" not in text
        assert "Traceback" not in text
    board.broken = False
    assert ask(server, "/")[0] == 200


def test_the_parts_of_the_api_are_those_of_the_whole(server: Server) -> None:
    whole = json.loads(ask(server, "/api/v1/overview")[2])
    for part in PARTS:
        assert json.loads(ask(server, f"/api/v1/{part}")[2]) == {"at": whole["at"], part: whole[part]}


def test_metrics_are_prometheus_text(server: Server) -> None:
    status, headers, text = ask(server, "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert re.fullmatch(r"(# (HELP|TYPE) [a-z_]+ .+\n|[a-z_]+(\{[^}]*\})? [-+0-9.eE]+\n)+", text)


def test_a_change_reaches_an_open_page_within_half_a_second(server: Server, board: StillBoard) -> None:
    with closing(Stream(server)) as stream:
        assert stream.event() == ("changed", {"version": 1})
        began = time.monotonic()
        board.show(replace(PICTURE, head="00" * 20))
        assert stream.event() == ("changed", {"version": 2})
        assert time.monotonic() - began < 0.5


def test_many_pages_hear_of_the_same_change_and_one_too_many_is_told(server: Server, board: StillBoard) -> None:
    streams = [Stream(server) for _ in range(MOST)]
    try:
        assert {stream.event()[0] for stream in streams} == {"changed"}
        with closing(Stream(server)) as refused:
            assert refused.status == 503
        began = time.monotonic()
        board.show(PICTURE)
        assert all(stream.event() == ("changed", {"version": 2}) for stream in streams)
        assert time.monotonic() - began < 1.5
    finally:
        for stream in streams:
            stream.close()


def test_a_page_that_was_closed_makes_room(server: Server) -> None:
    for _ in range(3):
        streams = [Stream(server) for _ in range(MOST)]
        assert all(stream.status == 200 for stream in streams)
        assert all(stream.event()[0] for stream in streams)
        for stream in streams:
            stream.close()
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            with closing(Stream(server)) as again:
                if again.status == 200:
                    break
            time.sleep(0.05)
        else:
            pytest.fail("closed streams still count")
        time.sleep(0.6)


def test_a_page_that_does_not_read_holds_nobody_up(server: Server, board: StillBoard) -> None:
    with closing(Stream(server)) as sleeper, closing(Stream(server)) as reader:
        assert sleeper.status == 200
        assert reader.event()[0] == "changed"
        for _ in range(20):
            board.show(PICTURE)
            time.sleep(0.01)
        assert reader.event()[0] == "changed"
        assert ask(server, "/healthz")[0] == 200


def test_open_streams_end_with_the_server_within_two_seconds(board: StillBoard) -> None:
    with Server(board) as server:
        stream = Stream(server)
        assert stream.event()[0] == "changed"
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert stream.event() == ("", {})
    stream.close()


def test_a_taken_port_is_a_clear_error(server: Server, board: StillBoard) -> None:
    with pytest.raises(TargetError, match=r"cannot listen on 127\.0\.0\.1") as caught:
        Server(board, port=server.address.port)
    assert "--port" in caught.value.hint
