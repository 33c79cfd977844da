"""HTTP requests: what is bounded, what is refused, and where credentials do not go, with a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from customhouse._kit.http import HttpError, request, shown


@pytest.mark.parametrize("value", ["token hush\n", "token hush\r\nX: y", "token hush\u2603"])
def test_a_credential_that_cannot_be_sent_is_not_shown(value: str) -> None:
    with pytest.raises(HttpError) as caught:
        request("GET", "http://127.0.0.1:1/", headers={"Authorization": value})
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str | None]]
    elsewhere = ""
    busy = 0

    def do_GET(self) -> None:
        type(self).seen.append((self.path, self.headers.get("Authorization")))
        if self.path == "/moved":
            self._send(302, b"", {"Location": f"{type(self).elsewhere}/end"})
        elif self.path == "/near":
            self._send(302, b"", {"Location": "/end"})
        elif self.path == "/circle":
            self._send(302, b"", {"Location": "/circle"})
        elif self.path == "/busy" and type(self).busy:
            type(self).busy -= 1
            self._send(503, b"later", {"Retry-After": "0"})
        elif self.path == "/large":
            self._send(200, b"x" * 5000, {})
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"only this")
            self.close_connection = True
        elif self.path == "/deep":
            self._send(200, b"[" * 100_000, {})
        else:
            self._send(200, b'{"ok": true}', {"X-Kind": "plain"})

    def do_POST(self) -> None:
        self._send(307, b"", {"Location": "/end"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[list[tuple[str, type[_Handler]]]]:
    running = []
    for _ in range(2):
        handler = type("Handler", (_Handler,), {"seen": []})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append((server, handler))
    yield [(f"http://127.0.0.1:{server.server_address[1]}", handler) for server, handler in running]
    for server, _ in running:
        server.shutdown()
        server.server_close()


def test_an_answer_has_status_headers_and_body(servers: list[tuple[str, type[_Handler]]]) -> None:
    answer = request("GET", f"{servers[0][0]}/thing?q=1")
    assert (answer.status, answer.headers["x-kind"], answer.json()) == (200, "plain", {"ok": True})


def test_a_token_is_not_sent_to_another_origin(servers: list[tuple[str, type[_Handler]]]) -> None:
    (first, one), (second, other) = servers
    one.elsewhere = second
    assert request("GET", f"{first}/moved", headers={"Authorization": "Bearer s3cret"}).status == 200
    assert one.seen == [("/moved", "Bearer s3cret")]
    assert other.seen == [("/end", None)]
    request("GET", f"{first}/near", headers={"Authorization": "Bearer s3cret"})
    assert one.seen[-1] == ("/end", "Bearer s3cret")


def test_redirects_end_and_a_post_is_not_redirected(servers: list[tuple[str, type[_Handler]]]) -> None:
    with pytest.raises(HttpError, match="redirects"):
        request("GET", f"{servers[0][0]}/circle")
    with pytest.raises(HttpError, match="redirected"):
        request("POST", f"{servers[0][0]}/x", body=b"{}")


def test_a_busy_server_is_asked_again_and_a_lasting_one_is_told(servers: list[tuple[str, type[_Handler]]]) -> None:
    address, handler = servers[0]
    handler.busy = 2
    assert request("GET", f"{address}/busy").status == 200
    handler.busy = 9
    assert request("GET", f"{address}/busy", retries=1).status == 503


@pytest.mark.parametrize(
    ("path", "message"), [("/large", "larger than 1000"), ("/short", "IncompleteRead"), ("/deep", "no JSON")]
)
def test_what_is_too_large_cut_or_too_deep_is_an_error(
    servers: list[tuple[str, type[_Handler]]], path: str, message: str
) -> None:
    with pytest.raises(HttpError, match=message):
        request("GET", servers[0][0] + path, max_bytes=1000 if path == "/large" else 1 << 20, retries=0).json()


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://user:pw@example.com/",
        "http://[::1",
        "",
    ],
)
def test_other_than_https_and_loopback_is_not_asked(address: str) -> None:
    with pytest.raises(HttpError):
        request("GET", address)


def test_an_error_does_not_show_what_may_be_secret(servers: list[tuple[str, type[_Handler]]]) -> None:
    with pytest.raises(HttpError) as caught:
        request("GET", "https://me:hunter2@127.0.0.1:1/x?token=hunter2#hunter2")
    assert "hunter2" not in str(caught.value)
    assert shown("https://a.example:8/x?y=1#z") == "https://a.example:8/x"
