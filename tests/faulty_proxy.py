"""A proxy before a real API server that breaks what it is told to break: answers, connections, streams.

It listens on loopback without TLS and takes the caller's credentials along over verified TLS. Faults are asked for by
the request; what no fault wants goes through.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from kubernetes_plane import ControlPlane


@dataclass
class Seen:
    """One request that came: `target` is its path and query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def watches(self) -> bool:
        """Whether it asks for a stream."""
        return "watch=true" in self.target


@dataclass
class Fault:
    """What happens to the next `times` requests that `wanted` picks.

    `answer`: (status, headers, body) instead of the server's. `reset`: the connection is reset `before` the request is
    passed on, or `after` the server has answered it. `hang`: nothing comes back until the proxy ends, or the fault is
    `over`. Of a stream that
    is passed on, `end_with` is put after `lines` lines of it, then the connection is closed (`hang`: then silence).
    `drip`: the answer is passed on in pieces of so many bytes. `until`: the server's answer is held back until some
    stream has passed on a line that it picks, and `after_s` longer (who hears the stream has taken it in by then).
    """

    wanted: Callable[[Seen], bool]
    times: int = 1
    answer: tuple[int, Mapping[str, str], bytes] | None = None
    reset: str = ""
    hang: bool = False
    lines: int | None = None
    end_with: bytes = b""
    drip: int = 0
    until: Callable[[bytes], bool] | None = None
    after_s: float = 1.0
    over: threading.Event | None = None
    hit: int = field(default=0, init=False)


def status_answer(code: int, reason: str, headers: Mapping[str, str] | None = None) -> tuple[int, Any, bytes]:
    """An answer with a Status, as the API server writes it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "no"}
    return code, {"Content-Type": "application/json", **(headers or {})}, json.dumps(body).encode()


class FaultyProxy:
    """Runs until `stop`; `down` and `up` make it disappear and come back at the same address, as a restart does."""

    def __init__(self, plane: ControlPlane, token: str = "") -> None:
        """`token` is for callers that send none: Go's client shows none to who does not speak TLS."""
        self._token = token
        self._upstream = urlsplit(plane.server)
        self._tls = ssl.create_default_context(cafile=str(plane.authority))
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._open: set[socket.socket] = set()
        self._passed = threading.Condition()
        self._lines: list[bytes] = []
        self.ended = threading.Event()
        self.seen: list[Seen] = []
        self.most_at_once = 0
        self._at_once = 0
        self._server = self._listen(0)
        self.port = self._server.server_port
        self.address = f"http://127.0.0.1:{self.port}"

    def fault(self, fault: Fault) -> Fault:
        """Have it from now on; earlier ones come first."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def down(self) -> None:
        """Listen no more, and reset what is open."""
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _reset(connection)

    def up(self) -> None:
        """Listen again."""
        self._server = self._listen(self.port)

    def stop(self) -> None:
        """End everything."""
        self.ended.set()
        with self._passed:
            self._passed.notify_all()
        self.down()

    def _listen(self, port: int) -> ThreadingHTTPServer:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with proxy._lock:
                    proxy._open.add(self.connection)

            def finish(self) -> None:
                with proxy._lock:
                    proxy._open.discard(self.connection)
                with contextlib.suppress(OSError):  # it was reset, as asked for
                    super().finish()

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen = Seen(self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body)
                with proxy._lock:
                    proxy._at_once += not seen.watches
                    proxy.most_at_once = max(proxy.most_at_once, proxy._at_once)
                try:
                    proxy._handle(self, seen, body)
                except (OSError, http.client.HTTPException):
                    self.close_connection = True  # one of the two went away
                finally:
                    with proxy._lock:
                        proxy._at_once -= not seen.watches

            do_GET = do_PATCH = do_DELETE = do_POST = do_PUT = _serve  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def _pick(self, seen: Seen) -> Fault | None:
        with self._lock:
            self.seen.append(seen)
            for fault in self._faults:
                if fault.over is not None and fault.over.is_set():
                    continue
                if fault.hit < fault.times and fault.wanted(seen):
                    fault.hit += 1
                    return fault
        return None

    def _handle(self, handler: BaseHTTPRequestHandler, seen: Seen, body: bytes) -> None:
        fault = self._pick(seen)
        if fault is not None and fault.reset == "before":
            _reset(handler.connection)
            handler.close_connection = True
            return
        if fault is not None and fault.answer is not None:
            code, headers, text = fault.answer
            _head(handler, code, {**headers, "Content-Length": str(len(text))})
            handler.wfile.write(text)
            return
        if fault is not None and fault.hang and fault.lines is None:
            (fault.over or self.ended).wait()
            handler.close_connection = True
            return
        upstream = http.client.HTTPSConnection(
            str(self._upstream.hostname), self._upstream.port, context=self._tls, timeout=300
        )
        try:
            headers = {key: value for key, value in seen.headers.items() if key not in ("host", "connection")}
            if self._token:
                headers.setdefault("authorization", f"Bearer {self._token}")
            upstream.request(seen.method, seen.target, body or None, headers)
            answer = upstream.getresponse()
            if fault is not None and fault.reset == "after":
                answer.read()
                _reset(handler.connection)
                handler.close_connection = True
                return
            if fault is not None and fault.until is not None:
                until = fault.until
                with self._passed:
                    self._passed.wait_for(lambda: any(map(until, self._lines)) or self.ended.is_set())
                self.ended.wait(fault.after_s)
            self._pass_on(handler, answer, fault, streams=seen.watches)
        finally:
            upstream.close()

    def _told(self, line: bytes) -> None:
        if any(fault.until is not None for fault in self._faults):
            with self._passed:
                self._lines.append(line)
                self._passed.notify_all()

    def _pass_on(
        self,
        handler: BaseHTTPRequestHandler,
        answer: http.client.HTTPResponse,
        fault: Fault | None,
        *,
        streams: bool = False,
    ) -> None:
        kept = ("content-type", "content-encoding", "retry-after", "warning")
        headers = [(key, value) for key, value in answer.getheaders() if key.lower() in kept]
        handler.send_response(answer.status)
        for key, value in headers:
            handler.send_header(key, value)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        count, rest = 0, b""
        while data := (answer.readline() if fault is not None and fault.lines is not None else answer.read1(65_536)):
            if fault is not None and fault.lines is not None:
                if count == fault.lines:
                    break
                count += 1
            size = fault.drip if fault is not None and fault.drip else len(data)
            for start in range(0, len(data), size):
                _chunk(handler, data[start : start + size])
            if streams:
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    self._told(line)
        if fault is not None and fault.lines is not None:
            if fault.end_with:
                _chunk(handler, fault.end_with)
            if fault.hang:
                self.ended.wait()
        handler.wfile.write(b"0\r\n\r\n")
        handler.wfile.flush()


def _head(handler: BaseHTTPRequestHandler, code: int, headers: Mapping[str, str]) -> None:
    handler.send_response(code)
    for key, value in headers.items():
        handler.send_header(key, value)
    handler.end_headers()


def _chunk(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    handler.wfile.flush()


def _reset(connection: socket.socket) -> None:
    """Close it so that the other side sees a reset and not an end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # wakes who reads it; the system keeps it open for as long as somebody does
        os.close(connection.detach())  # the files made of it would keep it open as well
