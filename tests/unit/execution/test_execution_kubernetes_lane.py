"""The short way for small writes: answers are read in whatever pieces they come, what is odd is never taken for one."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Sequence
from itertools import pairwise

import pytest

from customhouse.execution.adapters.kubernetes.lane import BadAnswerError, Lane, NotSentError, Reply, TooLongError

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nWarning: 299 - "a"\r\nwarning: 299 - "b"\r\n\r\n{}'
CHUNKED = (
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;of=no interest\r\nabc\r\n00A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
)
CLOSING = b"HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"
UNENDED = b"HTTP/1.0 200 OK\r\n\r\nuntil the end"


class _Server:
    """Answers every request with the next of a list, in the pieces that it is given; counts its connections."""

    def __init__(self, answers: Sequence[Sequence[bytes]], *, ends: bool = False) -> None:
        self._answers, self._ends = list(answers), ends
        self.connections = 0
        self.requests: list[bytes] = []

    async def __aenter__(self) -> _Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.lane = Lane(f"http://127.0.0.1:{port}/prefix", None, None, lambda _: None)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.lane.close()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while self._answers:
            try:
                self.requests.append(await reader.readuntil(b"\r\n\r\nbody"))
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            for piece in self._answers.pop(0):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if self._ends:
                break
        writer.close()

    async def ask(self, largest: int = 1000) -> Reply:
        request = self.lane.written("PATCH", "/api?a=b", [("Authorization", "Bearer t")], b"body")
        assert request is not None
        return await self.lane.ask(request, 60, largest)


def _asked(answers: Sequence[Sequence[bytes]], *, ends: bool = False) -> tuple[list[Reply], _Server]:
    async def run() -> tuple[list[Reply], _Server]:
        async with _Server(answers, ends=ends) as server:
            return [await server.ask() for _ in answers], server

    return asyncio.run(run())


def test_answers_come_whole_over_one_connection_in_whatever_pieces() -> None:
    drawn = random.Random(7)
    answers = []
    for _ in range(40):
        text = drawn.choice([OK, CHUNKED, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK])
        cuts = sorted({0, len(text), *(drawn.randrange(len(text)) for _ in range(drawn.randrange(12)))})
        answers.append([text[start:end] for start, end in pairwise(cuts)])
    replies, server = _asked(answers)
    for reply, pieces in zip(replies, answers, strict=True):
        chunked = b"chunked" in b"".join(pieces)
        assert (reply.status, reply.body) == ((201, b"abc0123456789") if chunked else (200, b"{}"))
        assert chunked or reply.all("warning") == ['299 - "a"', '299 - "b"']
    assert server.connections == 1
    assert server.requests[0].startswith(b"PATCH /prefix/api?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer t\r\nContent-Length: 4\r\n\r\nbody" in server.requests[0]


@pytest.mark.parametrize("answer", [CLOSING, OK + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_a_connection_that_says_more_or_ends_carries_no_other_request(answer: bytes) -> None:
    """What comes behind an answer was never asked for: it must not be taken for that of the next request."""
    replies, server = _asked([[answer], [OK]], ends=True)
    assert replies[1] == Reply(200, replies[1].headers, b"{}")
    assert server.connections == 2


def test_an_answer_that_ends_with_its_connection_is_whole_then() -> None:
    ((reply,), _) = _asked([[UNENDED]], ends=True)
    assert reply.body == b"until the end"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}", ConnectionResetError),
        (b"", ConnectionResetError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", ConnectionResetError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}", BadAnswerError),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", BadAnswerError),
        (b"SSH-2.0-OpenSSH\r\n\r\n", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\r\n0\r\n\r\n", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", TooLongError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n", TooLongError),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, TooLongError),
    ],
)
def test_what_is_no_whole_answer_is_an_error_and_its_connection_is_cut(answer: bytes, error: type[OSError]) -> None:
    async def run() -> None:
        async with _Server([[answer], [OK]], ends=True) as server:
            with pytest.raises(error):
                await server.ask()
            assert (await server.ask()).body == b"{}"
            assert server.connections == 2

    asyncio.run(run())


def test_nothing_was_sent_where_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        lane = Lane(f"http://127.0.0.1:{held.getsockname()[1]}", None, None, lambda _: None)
        with pytest.raises(NotSentError):
            asyncio.run(lane.ask(b"", 60, 10))


@pytest.mark.parametrize(
    ("target", "header"),
    [("/a b", "x"), ("/a\r\nX: y", "x"), ("/a", "x\r\nX: y"), ("/a", "x\ny"), ("/a", "\x00"), ("/a", "ä"), ("", "x")],
)
def test_a_request_that_could_be_read_in_another_way_is_not_written(target: str, header: str) -> None:
    lane = Lane("https://[::1]:6443", None, None, lambda _: None)
    assert lane.written("PATCH", target, [("Authorization", header)], b"") is None
    assert b"\r\nHost: [::1]:6443\r\n" in (lane.written("PATCH", "/a", [("Authorization", "x")], b"") or b"")
