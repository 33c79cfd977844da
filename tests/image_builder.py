"""Images made by hand for tests: layers of named files, as a layout, as an archive or in a registry."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from customhouse._kit.digest import bytes_digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
Item = bytes | str | tuple[str, str] | None
"""A file's bytes; text; ("link" | "hard", target); None: a folder."""


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.size, item.linkname, item.mode = kind, size, link, mode
    return item


def tar_of(files: Mapping[str, Item] | Iterable[tuple[str, Item]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A layer's archive; a mapping, or pairs where one name stands twice."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, item in files.items() if isinstance(files, Mapping) else files:
            if item is None:
                tar.addfile(entry(name, tarfile.DIRTYPE, mode=0o755))
            elif isinstance(item, tuple):
                tar.addfile(entry(name, tarfile.SYMTYPE if item[0] == "link" else tarfile.LNKTYPE, link=item[1]))
            else:
                data = item.encode() if isinstance(item, str) else item
                tar.addfile(entry(name, size=len(data)), io.BytesIO(data))
    return out.getvalue()


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


class ImageBuilder:
    """Collects layers; `layout`, `saved` and `push` write the image out."""

    def __init__(self, **config: Any) -> None:
        self.layers: list[tuple[bytes, bytes, str]] = []
        """Packed, unpacked, media type."""
        self.history: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {"architecture": "amd64", "os": "linux", "config": config}
        self.annotations: dict[str, str] = {}

    def layer(
        self,
        files: Mapping[str, Item] | Iterable[tuple[str, Item]] | bytes,
        command: str = "",
        packed: bytes | None = None,
        media_type: str = LAYER + "+gzip",
    ) -> ImageBuilder:
        plain = files if isinstance(files, bytes) else tar_of(files)
        self.layers.append((gzipped(plain) if packed is None else packed, plain, media_type))
        self.history.append({"created_by": command})
        return self

    def configuration(self) -> bytes:
        diff_ids = [bytes_digest(plain) for _, plain, _ in self.layers]
        rootfs = {"type": "layers", "diff_ids": diff_ids}
        return json.dumps({"rootfs": rootfs, "history": self.history, **self.config}).encode()

    def manifest(self) -> dict[str, Any]:
        config = self.configuration()
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": bytes_digest(config), "size": len(config)},
            "layers": [
                {"mediaType": kind, "digest": bytes_digest(packed), "size": len(packed)}
                for packed, _, kind in self.layers
            ],
            "annotations": self.annotations,
        }

    def layout(self, folder: Path, tag: str = "v1") -> Path:
        """Write an OCI layout; a second image of another tag may go into the same folder."""
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        body = json.dumps(self.manifest()).encode()
        for data in (body, self.configuration(), *(packed for packed, _, _ in self.layers)):
            (blobs / bytes_digest(data).removeprefix("sha256:")).write_bytes(data)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        known = json.loads((folder / "index.json").read_text())["manifests"] if (folder / "index.json").exists() else []
        known.append(
            {
                "mediaType": MANIFEST,
                "digest": bytes_digest(body),
                "size": len(body),
                "annotations": {"org.opencontainers.image.ref.name": tag},
            }
        )
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": known}))
        return folder

    def saved(self, place: Path, tag: str = "shop/app:v1") -> Path:
        """Write what `docker save` writes (before version 25: no layout in it)."""
        config = self.configuration()
        name = bytes_digest(config).removeprefix("sha256:") + ".json"
        names = [f"{number}/layer.tar" for number in range(len(self.layers))]
        said = [{"Config": name, "RepoTags": [tag], "Layers": names}]
        files: dict[str, Item] = {f"{number}/layer.tar": plain for number, (_, plain, _) in enumerate(self.layers)}
        place.write_bytes(tar_of({name: config, **files, "manifest.json": json.dumps(said)}))
        return place

    def push(self, registry: Any, repository: str, tag: str) -> str:
        """Push to a real registry (`tests/oci_registry.py`); the manifest's digest."""
        for data in (self.configuration(), *(packed for packed, _, _ in self.layers)):
            registry.blob(repository, data)
        return str(registry.document(repository, tag, self.manifest(), MANIFEST))
