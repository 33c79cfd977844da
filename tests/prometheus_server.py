"""A real Prometheus for a test, and a small exporter that it scrapes: both on loopback, both ended with the test."""

from __future__ import annotations

import http.server
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class _Exporter(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(self.server.said[0])  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def prometheus_of(program: Path, folder: Path, text: Callable[[], str]) -> Iterator[str]:
    """The address of a server that scrapes what `text()` says, asked four times a second however slow it is."""
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Exporter)
    said, ended = [b""], threading.Event()
    exporter.said = said  # type: ignore[attr-defined]

    def ask() -> None:
        while not ended.is_set():
            said[0] = text().encode()
            ended.wait(0.25)

    threads = [threading.Thread(target=work, daemon=True) for work in (ask, exporter.serve_forever)]
    for thread in threads:
        thread.start()
    port, config = free_port(), folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
        f"scrape_configs:\n- job_name: x\n  static_configs:\n  - targets: ['127.0.0.1:{exporter.server_address[1]}']\n"
    )
    arguments = (f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}")
    with (folder / "prometheus.log").open("wb") as log:
        child = subprocess.Popen(
            [program, *arguments, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()
        ended.set()
        exporter.shutdown()
        exporter.server_close()
        threads[0].join(60)
