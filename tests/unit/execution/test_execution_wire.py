"""The HTTP layer against clients that are broken, slow, greedy or hostile, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from customhouse.execution.adapters.local import wire
from customhouse.execution.adapters.local.wire import LostError, Request, Response, Server, open_channel


async def _echo(request: Request) -> Response:
    if request.path == "/slow":
        await asyncio.sleep(0.1)
    if request.path == "/broken":
        raise RuntimeError("a fault of ours")
    return Response(200, f"{request.method} {request.path} {len(request.body)}".encode(), "text/plain")


def _serve(talk: Callable[[int, Server], Awaitable[bytes]]) -> bytes:
    async def run() -> bytes:
        server = Server(_echo, max_body=1000)
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        await server.listen(sock)
        try:
            return await asyncio.wait_for(talk(sock.getsockname()[1], server), 5)
        finally:
            await server.drain(1.0)

    return asyncio.run(run())


def _say(data: bytes) -> bytes:
    """Send, then read until the server closes or is silent for a moment."""

    async def talk(port: int, _: Server) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        got = b""
        try:
            while chunk := await asyncio.wait_for(reader.read(1 << 16), 0.4):
                got += chunk
        except TimeoutError:
            got += b"<open>"
        writer.close()
        return got

    return _serve(talk)


HEAD = b"host: x\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01 tls\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HEAD + b"content-length: 1001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\n" + HEAD + b"transfer-encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000, 413),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(80)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 400),
    ],
)
def test_a_request_that_is_broken_or_too_large_is_answered_and_the_connection_closed(data: bytes, status: int) -> None:
    got = _say(data)
    assert got.startswith(b"HTTP/1.1 %d" % status)
    assert b"connection: close" in got
    assert not got.endswith(b"<open>")


def test_pipelined_requests_are_answered_in_order() -> None:
    got = _say(b"GET /slow HTTP/1.1\r\n\r\n" + b"GET /b HTTP/1.1\r\n\r\n" * 12)
    assert got.count(b"HTTP/1.1 200") == 13
    assert got.index(b"GET /slow") < got.index(b"GET /b")
    assert got.endswith(b"<open>")


def test_chunked_bodies_and_expect_continue_are_understood() -> None:
    chunked = b"POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert b"POST /c 5" in _say(chunked)
    assert _say(b"POST /e HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nab").startswith(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"
    )


def test_a_fault_in_an_answer_is_a_500_and_not_silence(capfd: pytest.CaptureFixture[str]) -> None:
    assert _say(b"GET /broken HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500")
    assert "a fault of ours" in capfd.readouterr().err


def test_a_client_that_never_finishes_its_request_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RECEIVE_S", 0.1)
    assert _say(b"GET / HTTP/1.1\r\nx: ").startswith(b"HTTP/1.1 408")


def test_draining_finishes_what_is_in_flight() -> None:
    async def talk(port: int, server: Server) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.03)
        await server.drain(2.0)
        got = await reader.read()
        writer.close()
        return got

    got = _serve(talk)
    assert b"GET /slow 0" in got
    assert b"connection: close" in got


def test_a_client_learns_whether_an_answer_had_begun(tmp_path: object) -> None:
    path = f"{tmp_path}/s"

    async def ask(answer: bytes) -> bool:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(handle, path)
        async with server:
            channel = await open_channel(path)
            try:
                await channel.exchange(b"GET / HTTP/1.1\r\n\r\n", 2.0)
            except LostError as error:
                return error.answered
        raise AssertionError("the broken answer was taken for a whole one")

    assert asyncio.run(ask(b"")) is False
    assert asyncio.run(ask(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")) is True


def test_bodies_are_bounded_together_and_their_room_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_BUFFERED", 1500)

    def post(path: str) -> bytes:
        return b"POST " + path.encode() + b" HTTP/1.1\r\n" + HEAD + b"content-length: 900\r\n\r\n" + b"x" * 900

    async def talk(port: int, server: Server) -> bytes:
        first_in, first_out = await asyncio.open_connection("127.0.0.1", port)
        first_out.write(post("/slow"))
        while not server.buffered:
            await asyncio.sleep(0)
        second_in, second_out = await asyncio.open_connection("127.0.0.1", port)
        second_out.write(post("/a"))
        refused = await second_in.read()
        assert b" 503 " in refused
        assert b"retry-after: 1" in refused
        assert b" 200 " in await first_in.readuntil(b"900")
        assert server.buffered == 0
        gone_in, gone_out = await asyncio.open_connection("127.0.0.1", port)
        gone_out.write(post("/slow")[:-1])
        while not server.buffered:
            await asyncio.sleep(0)
        gone_out.transport.abort()
        while server.buffered:
            await asyncio.sleep(0)
        for writer in (first_out, second_out):
            writer.close()
            await writer.wait_closed()
        del gone_in
        return b""

    _serve(talk)
