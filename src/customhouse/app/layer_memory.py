"""Remembered layers: an image that shares its base with another one is read from where they part.

Kept below the state (`cache/layers`), a file a layer, each sealed by a key of the state; a record is of the layer's
digest, of the scanner's own source and of its limits. What is remembered is a convenience of whoever scans, never a
proof for anybody else. The oldest records go when there are more than MAX_BYTES of them.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path

from customhouse.app.sealedfile import SealedFile
from customhouse.app.settings import Settings
from customhouse.trust.images.layer import Layer, from_json, to_json
from customhouse.trust.scan import Limits, rules_digest
from customhouse.trust.scan.additions import digest_of

FOLDER = Path("cache") / "layers"
MAX_BYTES = 1 << 30
_MAX_RECORD, _MAX_TEXT = 96 << 20, 1 << 30


class LayerMemory:
    """The memory of a state."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self._folder, self._keys = settings.state / FOLDER, settings.keys
        rules = f"{_source_digest()} {rules_digest()} {digest_of('', limits.names)}"
        self._rules = sha256(rules.encode()).hexdigest()[:16]

    def recall(self, digest: str, diff_id: str) -> Layer | None:
        """The layer as it was read; None for one that was not, or by other rules, or whose record does not verify."""
        text = self._file(digest, diff_id).load()
        if text is None:
            return None
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error):
            unpacker = zlib.decompressobj()
            plain = unpacker.decompress(base64.b64decode(text), _MAX_TEXT)
            layer = from_json(json.loads(plain))
            if unpacker.eof and layer.digest == digest:
                with suppress(OSError):
                    os.utime(self._place(digest, diff_id))
                return layer
        return None

    def keep(self, layer: Layer, diff_id: str) -> None:
        """Remember it. What cannot be written is no error: the next scan is only slower."""
        packed = base64.b64encode(zlib.compress(json.dumps(to_json(layer)).encode(), 6)).decode()
        with suppress(OSError, ValueError):
            if len(packed) <= _MAX_RECORD // 2:
                self._file(layer.digest, diff_id).save(packed)
                self._forget()

    def _file(self, digest: str, diff_id: str) -> SealedFile:
        return SealedFile(self._place(digest, diff_id), self._keys, _MAX_RECORD)

    def _place(self, digest: str, diff_id: str) -> Path:
        name = sha256(f"{digest} {diff_id} {self._rules}".encode()).hexdigest()
        return self._folder / f"{name}.json"

    def _forget(self) -> None:
        kept = sorted(((item.stat(), item) for item in self._folder.glob("*.json")), key=lambda row: row[0].st_mtime_ns)
        size = sum(found.st_size for found, _ in kept)
        for found, item in kept:
            if size <= MAX_BYTES:
                return
            size -= found.st_size
            item.unlink(missing_ok=True)


@cache
def _source_digest() -> str:
    """Of the readers' own source: another reader may find something else."""
    hasher = sha256()
    for name, data in _parts():
        hasher.update(f"{name} {len(data)}\n".encode() + data)
    return hasher.hexdigest()


def _parts() -> Iterator[tuple[str, bytes]]:
    for package in ("customhouse.trust.images", "customhouse.trust.packages"):
        for item in sorted(resources.files(package).iterdir(), key=lambda item: item.name):
            if item.name.endswith(".py"):
                yield f"{package}.{item.name}", item.read_bytes()
