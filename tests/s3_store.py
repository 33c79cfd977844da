"""A real S3-compatible store for tests (versitygw over a folder), which checks every signature."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from customhouse._kit.clock import SystemClock
from customhouse._kit.sigv4 import Keys
from customhouse.trust.adapters.registries.s3 import S3Store

ACCESS, SECRET = "tester", "a-secret-of-tests"


class ObjectStore:
    """`environment` is what a client needs; `client` is ours with the root's keys."""

    def __init__(self, program: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        for name in ("data", "versions", "sidecar"):
            (folder / name).mkdir()
        place = [f"--versioning-dir={folder / 'versions'}", f"--sidecar={folder / 'sidecar'}", str(folder / "data")]
        with (folder / "store.log").open("wb") as log:
            self._child = subprocess.Popen(
                [program, "--port", f"127.0.0.1:{port}", "--health", "/health", "--quiet", "posix", *place],
                env={**os.environ, "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET},
                stdout=log,
                stderr=log,
            )
        self.data = folder / "data"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        self.client = S3Store(SystemClock(), Keys(ACCESS, SECRET), endpoint=self.url)
        self._wait(folder / "store.log")

    def _wait(self, log: Path) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and self._child.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(log.read_text())

    def bucket(self, name: str, *, versioned: bool = False) -> str:
        self._call("PUT", name, {})
        if versioned:
            body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            self._call("PUT", name, {"versioning": ""}, body)
        return name

    def _call(self, method: str, bucket: str, query: dict[str, str], body: bytes | None = None) -> None:
        answer = self.client._ask(method, bucket, "", query, body=body)
        assert answer.status == 200, answer.body

    def stop(self) -> None:
        self._child.terminate()
        self._child.wait(30)
