"""A blocking one-shot HTTP call over a unix socket: how the target speaks with the gateway."""

from __future__ import annotations

import socket

import httptools


class DialError(Exception):
    """Nobody answers on the socket, or not in time, or not in HTTP."""


class _Collector:
    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.done = False

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.done = True


def call(path: str, method: str, target: str, body: bytes = b"", *, timeout_s: float = 1.0) -> tuple[int, bytes]:
    """Status and body of the answer. Raises DialError."""
    collector = _Collector()
    parser = httptools.HttpResponseParser(collector)
    head = f"{method} {target} HTTP/1.1\r\nhost: local\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(path)
            sock.sendall(head.encode("latin-1") + body)
            while not collector.done:
                data = sock.recv(1 << 16)
                if not data:
                    break
                parser.feed_data(data)
    except (OSError, httptools.HttpParserError) as error:
        raise DialError(f"{path}: {error}") from error
    if not collector.done:
        raise DialError(f"{path}: the answer ended early")
    return parser.get_status_code(), b"".join(collector.body)
