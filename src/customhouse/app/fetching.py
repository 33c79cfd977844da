"""Fetching: what a digest names, from the files of this machine, else from the registry that Git names.

Everything is held against its digest each time that it is read, also from the cache: what lies there is believed as
little as a registry. What cannot be kept (a folder that cannot be written) is fetched again.
"""

from __future__ import annotations

import os
import secrets
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from customhouse._kit.digest import bytes_digest, same_digest
from customhouse._kit.reading import open_regular
from customhouse.control.outside import CHART_LAYER, Content, Pin
from customhouse.control.unpacking import MAX_ARCHIVE, unpack
from customhouse.core.errors import ArtifactError, CannotDecideError, CustomhouseError
from customhouse.trust.oci import MAX_MANIFEST, Descriptor, Reference, Registry, is_index, listed, read_json

_KEPT_BYTES = 128 * 1024 * 1024
"""Unpacked, in memory: a fleet's charts, so that a round of reconciling reads no file."""
_HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"


class Archives(Protocol):
    """Where archives of chart repositories come from."""

    def archive(self, url: str, max_bytes: int = MAX_ARCHIVE) -> bytes:
        """The bytes at an address. Raises ArtifactError."""


@dataclass(frozen=True, slots=True)
class Means:
    """With what is fetched: the folder of the cache (None: nothing is kept), registries by host, chart repositories."""

    cache: Path | None
    registry: Callable[[str], Registry]
    archives: Archives


class CachedFetcher:
    """`means` is asked each time that something has to be read: logins and folders are those of that moment."""

    def __init__(self, means: Callable[[], Means]) -> None:
        self._means = means
        self._kept: OrderedDict[Pin, Content] = OrderedDict()
        self._lock = Lock()

    def content(self, pin: Pin) -> Content:
        """The files of an archive. Raises CannotDecideError (a subclass): it cannot be had, or is another."""
        with self._lock:
            kept = self._kept.get(pin)
            if kept is not None:
                self._kept.move_to_end(pin)
                return kept
        data, chart = archive_of(self._means(), pin)
        made = Content(unpack(data, f"{pin.source}@{pin.digest[:19]}…", chart=chart), chart)
        with self._lock:
            self._kept[pin] = made
            while sum(_size(one) for one in self._kept.values()) > _KEPT_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)
        return made


def archive_of(means: Means, pin: Pin) -> tuple[bytes, bool]:
    """The bytes of an archive, and whether it is a chart's. Raises CannotDecideError."""
    most = min(pin.size or MAX_ARCHIVE, MAX_ARCHIVE)
    try:
        if not pin.source.startswith("oci://"):
            return _digested(means, pin.digest, lambda: means.archives.archive(pin.source, most), pin.source), True
        reference = Reference.parse(pin.source)
        where = f"{pin.source}@{pin.digest[:19]}…"
        registry: Callable[[], Registry] = lambda: means.registry(reference.host)  # noqa: E731 - a login may be asked for
        body = _digested(
            means, pin.digest, lambda: registry().manifest(reference.repository, pin.digest), where, MAX_MANIFEST
        )
        layer, chart = layer_of(body, pin.layer, where)
        if layer.size > most:
            raise ArtifactError(f"its archive has {layer.size} bytes; at most {most} are read", where=where)
        data = _digested(
            means,
            layer.digest,
            lambda: registry().blob(reference.repository, layer.digest, max_bytes=layer.size),
            where,
        )
    except CannotDecideError:
        raise
    except CustomhouseError as error:  # an address or a login that cannot be read: nothing can be decided without it
        raise ArtifactError(error.message, where=error.where or pin.source, hint=error.hint) from error
    return data, chart


def layer_of(manifest: bytes, wanted: str, where: str) -> tuple[Descriptor, bool]:
    """The layer that holds the archive, and whether it is a chart's. Raises ArtifactError.

    A chart's where it has one, else the first, as Flux takes it; `wanted` is a media type.
    """
    document = read_json(manifest, where)
    if is_index(document):
        raise ArtifactError("its digest names an index of several", where=where, hint="pin the digest of one manifest")
    layers = listed(document, "layers", where)
    config = document.get("config")
    helm = isinstance(config, dict) and config.get("mediaType") == _HELM_CONFIG
    type_of = wanted or (CHART_LAYER if helm or any(one.media_type == CHART_LAYER for one in layers) else "")
    found = next((one for one in layers if type_of in ("", one.media_type)), None)
    if found is None:
        raise ArtifactError(f"it has no layer {type_of[:200]}".rstrip(), where=where)
    return found, found.media_type == CHART_LAYER


def _digested(means: Means, digest: str, fetch: Callable[[], bytes], where: str, most: int = MAX_ARCHIVE) -> bytes:
    """Bytes with a digest: kept ones, else fetched and kept. Raises ArtifactError for others."""
    place = None if means.cache is None else means.cache / digest.replace(":", "-")
    if place is not None:
        with suppress(OSError), open_regular(place) as handle:
            data = handle.read(most + 1)
            if same_digest(bytes_digest(data), digest):
                return data
    data = fetch()
    found = bytes_digest(data)
    if not same_digest(found, digest):
        raise ArtifactError(
            f"what came has the digest {found}, and {digest} is what Git names",
            where=where,
            hint="do not use it: who serves it, or somebody on the way, changes it",
        )
    if place is not None:
        with suppress(OSError):
            _keep(place, data)
    return data


def _keep(place: Path, data: bytes) -> None:
    """Written beside and renamed: another process sees all of it or nothing. Raises OSError."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = place.with_name(f".{place.name}.{secrets.token_hex(6)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
        beside.replace(place)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _size(content: Content) -> int:
    return sum(map(len, content.files.values()))
