"""Images that lie on a disk: OCI layouts (folders and archives) and what `docker save` writes.

Whoever scans gets a manifest and, for each layer, a source of its packed bytes; nothing is believed before its digest
was compared, which `layer` does while it reads.
"""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

from customhouse._kit.digest import bytes_digest, is_digest, same_digest
from customhouse._kit.single_keys import each_once
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.images.bounds import Bounds, LayerError
from customhouse.trust.images.packed import Packed
from customhouse.trust.images.tar_entries import TarEntries
from customhouse.trust.oci import MAX_MANIFEST, Descriptor, is_index, listed, read_json
from customhouse.trust.packages.found import visible
from customhouse.trust.scan.source import CHUNK, FileBacking, Source

MAX_CONFIGURATION = 8 << 20
_MAX_MEMBERS = 50_000
REF_NAME = "org.opencontainers.image.ref.name"
_LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"


class Blobs(Protocol):
    """Where the parts of one image are. Raises ArtifactError for what is not there or is another."""

    def manifest(self, digest: str) -> bytes:
        """A manifest or index, checked against its digest."""

    def configuration(self, descriptor: Descriptor) -> bytes:
        """The configuration, checked against its digest."""

    def layer(self, descriptor: Descriptor) -> Any:
        """A context that gives the packed bytes of a layer as a Source; their digest is NOT checked yet."""


@dataclass(frozen=True, slots=True)
class Parts:
    """One image: its manifest taken apart. `digest` is empty for what `docker save` wrote: it has no manifest."""

    digest: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, Any]
    index: str = ""
    platform: str = ""
    passed_over: tuple[str, ...] = ()
    """Other platforms of the index."""


def parts_of(blobs: Blobs, digest: str, platform: str | None, default: str, where: str) -> Parts:
    """Take a manifest apart; of an index the image for `platform`, else `default`, else its only one.

    Raises ArtifactError, UsageError.
    """
    document = read_json(blobs.manifest(digest), where)
    index = ""
    passed: tuple[str, ...] = ()
    if is_index(document):
        index = digest
        chosen, passed = _choose(listed(document, "manifests", where), platform, default, where)
        digest = chosen.digest
        document = read_json(blobs.manifest(digest), where)
        if is_index(document):
            raise ArtifactError("an index in an index", where=where, hint="name the image by its digest")
        found = visible(chosen.platform)
    else:
        found = ""
    layers = listed(document, "layers", where)
    config = document.get("config")
    annotations = document.get("annotations")
    told = annotations if isinstance(annotations, dict) else {}
    return Parts(digest, Descriptor.of(config, where), layers, told, index, found, passed)


def _choose(
    images: tuple[Descriptor, ...], platform: str | None, default: str, where: str
) -> tuple[Descriptor, tuple[str, ...]]:
    real = [item for item in images if not item.platform.startswith("unknown/")]
    wanted = platform or default
    fitting = [item for item in real if item.platform == wanted or item.platform.startswith(wanted + "/")]
    if not fitting and platform is None and len(real) == 1:
        fitting = real
    if not fitting:
        names = ", ".join(sorted({item.platform or "no platform" for item in real})) or "nothing"
        raise ArtifactError(f"it has nothing for {wanted}", where=where, hint=f"--platform; it has {names}")
    if len({item.digest for item in fitting}) > 1 and fitting[0].platform != wanted:
        names = ", ".join(sorted(item.platform for item in fitting))
        raise ArtifactError(f"it has several for {wanted}", where=where, hint=f"--platform, one of {names}")
    others = tuple(sorted({visible(item.platform) for item in real if item.digest != fitting[0].digest}))
    return fitting[0], others


class _Checked:
    """What layouts in folders and in archives have in common."""

    def _content(self, digest: str, most: int) -> bytes:
        raise NotImplementedError

    def manifest(self, digest: str) -> bytes:
        return self._content(digest, MAX_MANIFEST)

    def configuration(self, descriptor: Descriptor) -> bytes:
        return self._content(descriptor.digest, MAX_CONFIGURATION)


class LayoutFolder(_Checked):
    """An OCI image layout (image-layout.md) in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def index(self) -> dict[str, Any]:
        """`index.json`. Raises ArtifactError."""
        place = self._folder / "index.json"
        return read_json(_short(place, MAX_MANIFEST), str(place))

    def _content(self, digest: str, most: int) -> bytes:
        place = self._place(digest)
        data = _short(place, most)
        if not same_digest(bytes_digest(data), digest):
            raise ArtifactError(f"it has the digest {bytes_digest(data)}", where=str(place), hint="it was changed")
        return data

    @contextmanager
    def layer(self, descriptor: Descriptor) -> Iterator[Source]:
        """The blob as it lies there; a link is not followed."""
        place = self._place(descriptor.digest)
        with _opened(place) as handle:
            yield _sized(Source(FileBacking(handle.fileno()), 0, os.fstat(handle.fileno()).st_size), descriptor, place)

    def _place(self, digest: str) -> Path:
        if not is_digest(digest):
            raise ArtifactError(f"{digest[:100]!r} is no sha256 digest", where=str(self._folder))
        return self._folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


class Archive(_Checked):
    """A tar archive with a layout or with what `docker save` writes. A context: it holds the file open."""

    def __init__(self, place: Path) -> None:
        self._path = place
        self._stack = ExitStack()
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}

    def __enter__(self) -> Archive:
        handle = self._stack.enter_context(_opened(self._path))
        try:
            self._handle = self._plain(handle)
            self._read_members()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def has(self, name: str) -> bool:
        """Whether a member is there."""
        return name in self._members

    def index(self) -> dict[str, Any]:
        """`index.json`. Raises ArtifactError."""
        return read_json(self._member("index.json", MAX_MANIFEST), f"{self._path}: index.json")

    def saved(self) -> list[dict[str, Any]]:
        """`manifest.json` of `docker save`. Raises ArtifactError."""
        import json

        where = f"{self._path}: manifest.json"
        try:
            said = json.loads(self._member("manifest.json", MAX_MANIFEST), object_pairs_hook=each_once)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"no JSON: {error}", where=where) from error
        if not isinstance(said, list) or not all(isinstance(item, dict) for item in said) or not said:
            raise ArtifactError("not what `docker save` writes", where=where)
        return said

    def saved_parts(self, item: Mapping[str, Any]) -> tuple[Parts, bytes, list[str]]:
        """An image of `docker save`: its parts (digests of layers are not known), configuration and layers' members."""
        where = f"{self._path}: manifest.json"
        name, layers = item.get("Config"), item.get("Layers")
        if not isinstance(name, str) or not isinstance(layers, list) or not all(isinstance(x, str) for x in layers):
            raise ArtifactError("an image without a configuration or layers", where=where)
        data = self._member(name, MAX_CONFIGURATION)
        own = name.rpartition("/")[2].removesuffix(".json")
        digest = bytes_digest(data)
        if is_digest(f"sha256:{own}") and not same_digest(digest, f"sha256:{own}"):
            raise ArtifactError(f"the configuration has the digest {digest}", where=f"{self._path}: {name}")
        config = Descriptor("application/vnd.docker.container.image.v1+json", digest, len(data))
        empty = Descriptor(_LAYER_TAR, "sha256:" + "0" * 64, 0)
        return Parts("", config, tuple(replace(empty) for _ in layers), {}), data, layers

    def _content(self, digest: str, most: int) -> bytes:
        if not is_digest(digest):
            raise ArtifactError(f"{digest[:100]!r} is no sha256 digest", where=str(self._path))
        name = f"blobs/sha256/{digest.removeprefix('sha256:')}"
        data = self._member(name, most)
        if not same_digest(bytes_digest(data), digest):
            raise ArtifactError(f"it has the digest {bytes_digest(data)}", where=f"{self._path}: {name}")
        return data

    @contextmanager
    def layer(self, descriptor: Descriptor) -> Iterator[Source]:
        """The blob where it lies in the archive."""
        name = f"blobs/sha256/{descriptor.digest.removeprefix('sha256:')}"
        yield _sized(self.member(name), descriptor, f"{self._path}: {name}")

    def member(self, name: str) -> Source:
        """A member by name; a link to another member is followed once, as `docker save` made them."""
        place = posixpath.normpath(name)
        place = self._links.get(place, place)
        if place not in self._members:
            raise ArtifactError("it is not in the archive", where=f"{self._path}: {name[:200]}")
        offset, size = self._members[place]
        return Source(FileBacking(self._handle.fileno()), offset, size)

    def _member(self, name: str, most: int) -> bytes:
        source = self.member(name)
        if source.size > most:
            raise ArtifactError(f"over {most >> 20} MiB", where=f"{self._path}: {name[:200]}")
        return source.peek(0, source.size)

    def _plain(self, handle: IO[bytes]) -> IO[bytes]:
        """The archive unpacked, if it is packed as a whole (`docker save | gzip`)."""
        size = os.fstat(handle.fileno()).st_size
        source = Source(FileBacking(handle.fileno()), 0, size)
        if source.peek(257, 5) == b"ustar" or not source.peek(0, 6).startswith(
            (b"\x1f\x8b", b"\x28\xb5", b"BZh", b"\xfd7zXZ")
        ):
            return handle
        plain = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        packed = Packed(source, Bounds(unpacked=64 << 30, ratio=300), str(self._path))
        while piece := packed.some(CHUNK):
            plain.write(piece)
        plain.flush()
        return plain

    def _read_members(self) -> None:
        size = os.fstat(self._handle.fileno()).st_size
        stream = _Plain(Source(FileBacking(self._handle.fileno()), 0, size))
        try:
            for item in TarEntries(stream, Bounds(entries=_MAX_MEMBERS), str(self._path)):
                name = item.path
                if item.odd:
                    raise ArtifactError(f"{name[:200]!r} {item.odd}", where=str(self._path))
                if item.kind != "d" and (name in self._members or name in self._links):
                    raise ArtifactError(f"{name[:200]!r} is in it twice", where=str(self._path))
                if item.kind == "f" and not item.sparse:
                    self._members[name] = (stream.at, item.size)
                elif item.kind == "l":
                    self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), item.link))
                elif item.kind == "h":
                    self._links[name] = posixpath.normpath(item.link)
        except LayerError as error:
            hint = "docker save, or an OCI layout"
            raise ArtifactError(f"no archive of an image: {error.message}", where=str(self._path), hint=hint) from error


class _Plain:
    """A file as a stream that seeks."""

    def __init__(self, source: Source) -> None:
        self._source, self.at = source, 0

    def take(self, count: int) -> bytes:
        data = self._source.peek(self.at, count)
        self.at += len(data)
        return data

    def some(self, most: int) -> bytes:
        return self.take(min(most, CHUNK))

    def skip(self, count: int) -> bool:
        self.at += count
        return self.at <= self._source.size

    def drain(self) -> bool:
        return False


def chosen_digest(index: Mapping[str, Any], wanted: str, where: str) -> str:
    """The image of a layout's index: by tag or digest, else its only one. Raises ArtifactError."""
    images = listed(index, "manifests", where)
    if wanted:
        fitting = [item for item in images if wanted in (item.digest, item.annotations.get(REF_NAME))]
        fitting = fitting or [item for item in images if item.annotations.get(REF_NAME, "").endswith(f":{wanted}")]
    else:
        fitting = [item for item in images if not item.platform.startswith("unknown/")]
    if len({item.digest for item in fitting}) == 1:
        return fitting[0].digest
    names = ", ".join(item.annotations.get(REF_NAME) or item.digest for item in images[:20]) or "nothing"
    what = "several images" if fitting else f"no image {wanted}" if wanted else "no image"
    raise ArtifactError(f"it has {what}", where=where, hint=f"name one: {where}@DIGEST or {where}:TAG; it has {names}")


@contextmanager
def _opened(place: Path) -> Iterator[IO[bytes]]:
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", where=str(place)) from error
    with os.fdopen(descriptor, "rb", buffering=0) as handle:
        import stat

        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            raise UsageError("not a regular file", where=str(place))
        yield handle


def _short(place: Path, most: int) -> bytes:
    with _opened(place) as handle:
        data = FileBacking(handle.fileno()).pread(0, most + 1)
    if len(data) > most:
        raise ArtifactError(f"over {most >> 20} MiB", where=str(place))
    return data


def _sized(source: Source, descriptor: Descriptor, where: object) -> Source:
    if source.size != descriptor.size:
        raise ArtifactError(f"it has {source.size} bytes, {descriptor.size} are said", where=str(where))
    return source
