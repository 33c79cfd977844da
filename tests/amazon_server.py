"""A moto server: SageMaker and S3 as Amazon documents them."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from customhouse._kit.clock import SystemClock
from customhouse._kit.sigv4 import Keys
from customhouse.trust.adapters.registries.s3 import S3Store
from customhouse.trust.adapters.registries.sagemaker import SageMakerStore

KEYS = Keys("tester", "a-secret-of-tests")


class Amazon:
    """One running moto server, and what a test needs to put into it."""

    def __init__(self, program: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with (folder / "moto.log").open("wb") as log:
            self._child = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        self.objects = S3Store(SystemClock(), KEYS, endpoint=self.url)
        self.registry = SageMakerStore(SystemClock(), KEYS, self.objects, region="us-east-1", endpoint=self.url)
        end = time.monotonic() + 120
        while time.monotonic() < end and self._child.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=10):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        else:
            raise AssertionError((folder / "moto.log").read_text()[-4000:])
        assert self.objects._ask("PUT", "models", "", {}).status == 200

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEYS.access,
            "AWS_SECRET_ACCESS_KEY": KEYS.secret,
        }

    def ask(self, action: str, **body: Any) -> dict[str, Any]:
        return self.registry.ask(action, body, "a test")

    def version(self, group: str, key: str, content: bytes, folder: Path, approval: str) -> None:
        (folder / "upload").write_bytes(content)
        self.objects.put("models", key, folder / "upload")
        container = {"Image": "x", "ModelDataUrl": f"s3://models/{key}"}
        self.ask(
            "CreateModelPackage",
            ModelPackageGroupName=group,
            ModelApprovalStatus=approval,
            InferenceSpecification={
                "Containers": [container],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
        )

    def stop(self) -> None:
        self._child.terminate()
        self._child.wait(30)
