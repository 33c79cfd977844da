"""Where bundles come from: files and folders, https, OCI registries. Bytes only; the shelf decides what counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from customhouse._kit.digest import bytes_digest
from customhouse._kit.reading import open_regular
from customhouse.app.policyshelf import MAX_SIGNATURE, Fetched
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.policy.bundle_archive import MAX_ARCHIVE

MAX_ARCHIVES = 200
_SLOW_S = 30.0


class Layer(Protocol):
    """One blob of an OCI manifest."""

    @property
    def media_type(self) -> str:
        """What it says it is."""

    @property
    def digest(self) -> str:
        """Of its bytes."""


class Registry(Protocol):
    """The part of an OCI client that pulling a bundle takes."""

    def resolve(self, repository: str, tag: str) -> str:
        """The digest that a tag names now."""

    def layers(self, repository: str, digest: str) -> Sequence[Layer]:
        """The layers of a manifest."""

    def blob(self, repository: str, digest: str, *, max_bytes: int = MAX_ARCHIVE) -> bytes:
        """A blob, checked against its digest."""


OpenRegistry = Callable[[str], tuple[Registry, str, str | None, str | None]]
"""A reference → the client, the repository, the tag and the digest in it."""


class Sources:
    """`root` is where relative paths start."""

    def __init__(self, root: Path, registry: OpenRegistry) -> None:
        self._root = root
        self._registry = registry

    def fetch(self, source: str, digest: str | None) -> Fetched:
        """The archive and its signature. Raises ArtifactError, UsageError."""
        if source.startswith("oci://"):
            return self._from_registry(source, digest)
        scheme = urlsplit(source).scheme if "://" in source else ""
        if scheme in ("https", "http"):
            return _from_web(source)
        if scheme:
            raise UsageError(f"bundles are not pulled by {scheme}://", hint="a path, https:// or oci://")
        return _from_disk(self._root / source, digest)

    def _from_registry(self, source: str, digest: str | None) -> Fetched:
        from customhouse.trust.bundle import BUNDLE_TYPE

        registry, repository, tag, pinned = self._registry(source)
        layers = registry.layers(repository, pinned or registry.resolve(repository, tag or "latest"))
        signatures = [layer for layer in layers if layer.media_type == BUNDLE_TYPE]
        archives = [layer for layer in layers if layer.media_type != BUNDLE_TYPE]
        if digest is not None:
            archives = [layer for layer in archives if layer.digest == digest]
        if len(archives) != 1 or len(signatures) > 1:
            raise ArtifactError(
                f"{len(archives)} of its layers may be the bundle and {len(signatures)} its signature",
                where=source,
                hint=f"push the archive alone, or with its signature as {BUNDLE_TYPE}",
            )
        archive = registry.blob(repository, archives[0].digest, max_bytes=MAX_ARCHIVE)
        signature = None
        if signatures:
            signature = registry.blob(repository, signatures[0].digest, max_bytes=MAX_SIGNATURE)
        return Fetched(archive, signature)


def _from_web(source: str) -> Fetched:
    archive = _get(source, MAX_ARCHIVE)
    if archive is None:
        raise ArtifactError("there is nothing", where=source)
    from customhouse.trust.attestation import SUFFIX

    return Fetched(archive, _get(source + SUFFIX, MAX_SIGNATURE))


def _get(url: str, limit: int) -> bytes | None:
    from customhouse._kit.http import HttpError, request

    try:
        answer = request("GET", url, timeout_s=_SLOW_S, max_bytes=limit)
    except HttpError as error:
        raise ArtifactError(str(error)) from error
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise ArtifactError(f"the server answers {answer.status}", where=answer.url)
    return answer.body


def _from_disk(place: Path, digest: str | None) -> Fetched:
    if place.is_dir():
        place = _of_folder(place, digest)
    archive = _read(place, MAX_ARCHIVE)
    if archive is None:
        raise ArtifactError("there is no such file", where=str(place))
    from customhouse.trust.attestation import SUFFIX

    return Fetched(archive, _read(place.with_name(place.name + SUFFIX), MAX_SIGNATURE))


def _of_folder(folder: Path, digest: str | None) -> Path:
    """The archive of a folder: the one with the digest, else the only one."""
    found = sorted(item for item in folder.glob("*.tar.gz") if item.is_file())[:MAX_ARCHIVES]
    if digest is not None:
        found = [item for item in found if bytes_digest(_read(item, MAX_ARCHIVE) or b"") == digest]
    if not found or (digest is None and len(found) != 1):
        raise ArtifactError(
            f"{len(found)} archives in the folder may be meant",
            where=str(folder),
            hint="name the file, or pin its digest",
        )
    return found[0]


def _read(place: Path, limit: int) -> bytes | None:
    try:
        with open_regular(place) as handle:
            return handle.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"it cannot be read: {error.strerror}", where=str(place)) from error
