"""A real OCI registry (Debian's docker-registry) for tests, with what a test needs to put into it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from customhouse._kit.digest import bytes_digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Registry:
    """`host` is what a reference names. Pushing is plain HTTP: the client under test only pulls."""

    def __init__(self, program: Path, folder: Path, htpasswd: str | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.host = f"127.0.0.1:{port}"
        self.data = folder / "data"
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self.data)}, "delete": {"enabled": True}},
            "http": {"addr": self.host},
        }
        if htpasswd is not None:
            (folder / "htpasswd").write_text(htpasswd)
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
        (folder / "config.yml").write_text(json.dumps(config))
        with (folder / "registry.log").open("wb") as log:
            self._child = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
        self._wait()

    def stop(self) -> None:
        self._child.terminate()
        self._child.wait(10)

    def blob(self, repository: str, content: bytes) -> dict[str, Any]:
        """Push a blob; its descriptor."""
        digest = bytes_digest(content)
        place = self._call("POST", f"/v2/{repository}/blobs/uploads/", b"").headers["Location"]
        path = place.removeprefix(f"http://{self.host}")
        self._call("PUT", f"{path}{'&' if '?' in path else '?'}digest={digest}", content, "application/octet-stream")
        return {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}

    def manifest(self, repository: str, tag: str, layers: list[dict[str, Any]], **fields: Any) -> str:
        """Push a manifest under a tag; its digest."""
        config = self.blob(repository, b"{}")
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **fields}
        return self.document(repository, tag, body, body["mediaType"])

    def image(self, repository: str, tag: str, content: bytes = b"a layer") -> str:
        """Push an image of one layer; its digest."""
        config = self.blob(repository, json.dumps({"architecture": "amd64", "os": "linux"}).encode())
        config["mediaType"] = "application/vnd.oci.image.config.v1+json"
        layer = {**self.blob(repository, content), "mediaType": "application/vnd.oci.image.layer.v1.tar"}
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        return self.document(repository, tag, body, MANIFEST)

    def index(self, repository: str, tag: str, platforms: dict[str, str]) -> str:
        """Push an index of images (platform → digest); its digest."""
        entries = []
        for platform, digest in platforms.items():
            system, _, architecture = platform.partition("/")
            size = len(self.get(f"/v2/{repository}/manifests/{digest}"))
            where = {"os": system, "architecture": architecture}
            entries.append({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": where})
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        return self.document(repository, tag, body, INDEX)

    def get(self, path: str) -> bytes:
        request = urllib.request.Request(f"http://{self.host}{path}", headers={"Accept": f"{MANIFEST}, {INDEX}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def document(self, repository: str, tag: str, body: dict[str, Any], media_type: str) -> str:
        content = json.dumps(body).encode()
        self._call("PUT", f"/v2/{repository}/manifests/{tag}", content, media_type)
        return bytes_digest(content)

    def _wait(self) -> None:
        for _ in range(200):
            if self._child.poll() is not None:
                raise RuntimeError("the registry ended")
            try:
                self._call("GET", "/v2/", None)
            except urllib.error.HTTPError:
                return  # it asks for a password: it is up
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("the registry does not answer")

    def _call(self, method: str, path: str, body: bytes | None, kind: str = "application/octet-stream") -> Any:
        request = urllib.request.Request(f"http://{self.host}{path}", body, method=method)
        request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
            return answer
