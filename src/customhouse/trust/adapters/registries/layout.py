"""An OCI image layout in a folder (image-layout.md, v1.1) that is read and written as a registry is.

For what goes to a machine without a network: `oras`, `skopeo` and `crane` copy from it into a registry. Blobs lie by
digest and are never written over; `index.json` is replaced as a whole, by one writer at a time. A manifest that has
neither a tag nor a subject is in no list until one names it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import bytes_digest, is_digest, same_digest
from customhouse._kit.durable import sync_folder
from customhouse._kit.http import Sending
from customhouse.core.errors import ArtifactError, CustomhouseError, StateError, TamperError, UsageError
from customhouse.trust.images.places import REF_NAME, LayoutFolder
from customhouse.trust.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor, listed, read_json
from customhouse.trust.remote import Exposure

SCHEME = "oci-layout://"
_REFERENCE = re.compile(
    r"oci-layout://(?P<folder>.+?)(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_VERSION = b'{"imageLayoutVersion":"1.0.0"}'
_MAX_REFERRERS = 1000
_PIECE = 1 << 20
_UNLIMITED = float("inf")


def parse(text: str) -> tuple[Path, str | None, str | None]:
    """`oci-layout://FOLDER[:TAG][@sha256:…]` as folder, tag and digest. Raises UsageError."""
    found = _REFERENCE.fullmatch(text) if len(text) <= 4096 and "\0" not in text else None
    if found is None:
        raise UsageError(f"{text[:200]!r} is no layout", hint="write oci-layout://FOLDER:TAG")
    return Path(found["folder"]), found["tag"], found["digest"]


class LayoutRegistry:
    """One layout; the `repository` of each call is what a registry would be asked for, and means nothing here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._layout = LayoutFolder(folder)
        self.name = f"{SCHEME}{folder}"

    def resolve(self, repository: str, tag: str) -> str:
        """The digest that a tag names now. Raises ArtifactError."""
        found = self._tag(tag)
        if found is None:
            raise ArtifactError(f"the layout has no tag {tag}", where=str(self._folder))
        return found

    def tagged(self, repository: str, tag: str) -> bytes | None:
        """The manifest that a tag names now; None without one. Raises ArtifactError, UsageError for another folder."""
        self._require_fit()
        found = self._tag(tag)
        return None if found is None else self._layout.manifest(found)

    def manifest(self, repository: str, digest: str) -> bytes:
        """The manifest with this digest, checked. Raises ArtifactError."""
        return self._layout.manifest(digest)

    def blob(self, repository: str, digest: str, *, max_bytes: int) -> bytes:
        """The blob with this digest, checked. Raises ArtifactError."""
        pieces: list[bytes] = []
        with _read(self._place(digest)) as handle:
            size = os.fstat(handle.fileno()).st_size
            if size > max_bytes:
                raise ArtifactError(f"it is larger than {max_bytes} bytes", where=handle.name)
            self._copy(handle, digest, size, pieces.append)
        return b"".join(pieces)

    def download(self, repository: str, descriptor: Descriptor, take: Callable[[bytes], object]) -> None:
        """Give a blob piece by piece. Raises ArtifactError at the end when it was another: then nothing may be kept."""
        with _read(self._place(descriptor.digest)) as handle:
            self._copy(handle, descriptor.digest, descriptor.size, take)

    def referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """What the index lists that refers to a manifest. Raises ArtifactError."""
        found = []
        for item in self._listed():
            if REF_NAME in item.annotations or item.media_type != MANIFEST_TYPE:
                continue
            document = read_json(self._layout.manifest(item.digest), f"{self._folder}@{item.digest}")
            subject = document.get("subject")
            if isinstance(subject, Mapping) and subject.get("digest") == digest:
                kind = str(document.get("artifactType", ""))[:256]
                found.append(Descriptor(item.media_type, item.digest, item.size, kind, item.annotations))
            if len(found) > _MAX_REFERRERS:
                raise ArtifactError(f"more than {_MAX_REFERRERS} referrers", where=str(self._folder))
        return tuple(found)

    def push_blob(self, repository: str, data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
        """Store a blob unless it is there; its descriptor."""
        digest = bytes_digest(data)
        self.push_file(repository, digest, data)
        return Descriptor(media_type, digest, len(data))

    def push_file(self, repository: str, digest: str, data: bytes | Sending) -> bool:
        """Store a blob of any size unless it is there; whether it was written. Raises TamperError for a wrong one."""
        self._begin()
        place = self._place(digest)
        if os.path.lexists(place):
            try:
                with _read(place) as handle:
                    self._copy(handle, digest, os.fstat(handle.fileno()).st_size, lambda _: None)
            except ArtifactError as error:
                raise TamperError("a blob is not what its name says", where=str(place), hint=error.message) from error
            return False
        hasher = hashlib.sha256()
        with self._draft(place) as out:
            for piece in _pieces(data):
                hasher.update(piece)
                out.write(piece)
            if not same_digest(f"sha256:{hasher.hexdigest()}", digest):
                raise TamperError("it was changed while it was copied", where=str(place))
        return True

    def push_manifest(self, repository: str, document: Mapping[str, Any], tag: str | None = None) -> Descriptor:
        """Store a manifest, and list it when it has a tag or a subject."""
        body = canonical_json(document)
        said = str(document.get("mediaType", MANIFEST_TYPE))
        made = Descriptor(
            said, self.push_blob(repository, body).digest, len(body), str(document.get("artifactType", ""))
        )
        if tag is not None:
            made = Descriptor(made.media_type, made.digest, made.size, made.artifact_type, {REF_NAME: tag})
        if tag is not None or "subject" in document:
            self._list(made)
        return made

    def exposure(self) -> Exposure:
        """What the folder's mode says: nothing keeps versions there, or a log."""
        try:
            mode = self._folder.stat().st_mode
        except OSError:
            return Exposure(notes=("the folder cannot be looked at",))
        return Exposure(bool(mode & stat.S_IWOTH), versioned=False, logged=False, notes=("a folder of this machine",))

    def _tag(self, tag: str) -> str | None:
        """The digest of a tag. Raises ArtifactError when two images have it."""
        found = {item.digest for item in self._listed() if item.annotations.get(REF_NAME) == tag}
        if len(found) > 1:
            raise ArtifactError(f"two manifests are called {tag}", where=str(self._folder / "index.json"))
        return next(iter(found), None)

    def _listed(self) -> tuple[Descriptor, ...]:
        place = self._folder / "index.json"
        return listed(self._layout.index(), "manifests", str(place)) if os.path.lexists(place) else ()

    def _list(self, added: Descriptor) -> None:
        with self._alone():
            place = self._folder / "index.json"
            kept: Mapping[str, Any] = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}
            if self._listed():  # what is no index is not replaced by one
                kept = self._layout.index()
            name = added.annotations.get(REF_NAME)
            if name is not None and self._tag(name) not in (None, added.digest):
                raise TamperError(f"the tag {name} names something else already", where=str(place))
            entries = [item for item in kept["manifests"] if not _same(item, added)]
            with self._draft(place) as out:
                out.write(canonical_json({**kept, "manifests": [*entries, added.to_json()]}))

    def _require_fit(self) -> None:
        """Raises UsageError for a folder with something else in it: nothing is added to what is no layout."""
        folder = self._folder
        try:
            fits = not os.path.lexists(folder) or (folder / "oci-layout").is_file()
            fits = fits or (folder.is_dir() and not any(folder.iterdir()))
        except OSError as error:
            raise _unwritten(folder, error) from error
        if not fits:
            raise UsageError("it is there, and no OCI layout", where=str(folder), hint="name a new folder, or a layout")

    def _begin(self) -> None:
        self._require_fit()
        try:
            (self._folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritten(self._folder, error) from error
        if not (self._folder / "oci-layout").is_file():
            with self._draft(self._folder / "oci-layout") as out:
                out.write(_VERSION)

    def _place(self, digest: str) -> Path:
        if not is_digest(digest):
            raise UsageError(f"{digest[:100]!r} is no digest", hint="write sha256: and 64 hexadecimal digits")
        return self._folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _copy(self, handle: IO[bytes], digest: str, size: int, take: Callable[[bytes], object]) -> None:
        hasher, count = hashlib.sha256(), 0
        while count <= size and (piece := handle.read(_PIECE)):
            count += len(piece)
            hasher.update(piece)
            if count <= size:
                take(piece)
        if count != size or not same_digest(f"sha256:{hasher.hexdigest()}", digest):
            raise ArtifactError(f"the blob is not {digest}", where=handle.name, hint="it was changed; do not use it")

    @contextmanager
    def _draft(self, place: Path) -> Iterator[IO[bytes]]:
        """A new file that gets its name when it is whole and on the disk."""
        draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        try:
            with draft.open("xb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            os.replace(draft, place)
            sync_folder(place.parent)
        except OSError as error:
            raise _unwritten(place, error) from error
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer of the index at a time, on this machine; the lock ends with its process."""
        try:
            handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unwritten(self._folder, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _same(item: Any, added: Descriptor) -> bool:
    """Whether an entry of an index is what is added now."""
    said = item if isinstance(item, dict) else {}
    return said.get("digest") == added.digest and (said.get("annotations") or {}) == dict(added.annotations)


def _pieces(data: bytes | Sending) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    data.start(_UNLIMITED)
    while piece := data.read(_PIECE):
        yield piece


@contextmanager
def _read(place: Path) -> Iterator[IO[bytes]]:
    """A blob; a link is not followed. Raises ArtifactError."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", where=str(place)) from error
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArtifactError("not a regular file", where=str(place))
        yield handle


def _unwritten(place: Path, error: OSError) -> CustomhouseError:
    return StateError(f"cannot be written: {error.strerror or error}", where=str(place))
