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
        self.wfile.write(self.server.text().encode())  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def prometheus_of(program: Path, folder: Path, text: Callable[[], str]) -> Iterator[str]:
    """The address of a server that scrapes `text()` four times a second."""
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Exporter)
    exporter.text = text  # type: ignore[attr-defined]
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    port, config = free_port(), folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 250ms, scrape_timeout: 200ms}\n"
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
        exporter.shutdown()
        exporter.server_close()
