"""A packed layer as a stream: unpacked piece by piece, hashed on both sides while it is read once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from customhouse._kit.digest import same_digest
from customhouse.trust.images.bounds import Bounds, LayerError
from customhouse.trust.scan.compressed import unpacked
from customhouse.trust.scan.source import CHUNK, Backing, Source, UnreadableError

_KINDS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))
_SKIPPED = tuple(bytes([0x50 + low]) + b"\x2a\x4d\x18" for low in range(16))


class _Hashing:
    """A backing that hashes what is read of it, in order and each byte once."""

    def __init__(self, source: Source) -> None:
        self._source, self._done = source, 0
        self._hasher = hashlib.sha256()

    def pread(self, offset: int, count: int) -> bytes:
        data = self._source.peek(offset, count)
        if offset <= self._done < offset + len(data):
            self._hasher.update(data[self._done - offset :] if offset < self._done else data)
            self._done = offset + len(data)
        return data

    def digest(self) -> str:
        """Of all, the rest read now."""
        while self._done < self._source.size and self.pread(self._done, CHUNK):
            pass
        return f"sha256:{self._hasher.hexdigest()}"


class Packed:
    """One layer, read forward. `take` and `skip` raise LayerError for broken data and past the bounds."""

    def __init__(self, source: Source, bounds: Bounds, where: str) -> None:
        hashing = _Hashing(source)
        self._hashing, self._packed, self._bounds, self._where = hashing, source.size, bounds, where
        backing: Backing = hashing
        head = source.peek(0, 6)
        kind = next((name for mark, name in _KINDS if head.startswith(mark)), "")
        if head.startswith(_SKIPPED):
            kind = "zstd"
        self._pieces = self._checked(Source(backing, 0, source.size), kind)
        self._hasher = hashlib.sha256()
        self._buffer, self._at = b"", 0
        self.size = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end."""
        parts: list[bytes] = []
        while count > 0:
            piece = self.some(count)
            if not piece:
                break
            parts.append(piece)
            count -= len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def some(self, most: int) -> bytes:
        """Between one and `most` of the next bytes, without putting pieces together; none at the end."""
        if self._at >= len(self._buffer):
            self._buffer, self._at = next(self._pieces, b""), 0
        piece = self._buffer[self._at : self._at + most] if self._at or most < len(self._buffer) else self._buffer
        self._at += len(piece)
        return piece

    def skip(self, count: int) -> bool:
        """Pass over `count` bytes; False when there are fewer."""
        while count > 0:
            if self._at >= len(self._buffer):
                self._buffer, self._at = next(self._pieces, b""), 0
                if not self._buffer:
                    return False
            step = min(count, len(self._buffer) - self._at)
            self._at += step
            count -= step
        return True

    def drain(self) -> bool:
        """Read to the end; whether anything but zeros was left."""
        odd = bool(self._buffer[self._at :].strip(b"\x00"))
        for piece in self._pieces:
            odd = odd or piece.count(0) != len(piece)
        self._buffer, self._at = b"", 0
        return odd

    def check(self, digest: str, unpacked_digest: str) -> None:
        """Compare with what the manifest and the configuration say (empty: they say nothing). Raises LayerError."""
        self.drain()
        self.check_packed(digest)
        plain = f"sha256:{self._hasher.hexdigest()}"
        if unpacked_digest and not same_digest(plain, unpacked_digest):
            raise LayerError(
                f"unpacked it has the digest {plain}, and the image's configuration says {unpacked_digest}",
                where=self._where,
                hint="no runtime starts such an image; build it again",
            )

    def check_packed(self, digest: str) -> None:
        """Compare the packed bytes with what the manifest says (empty: nothing). Raises LayerError."""
        found = self._hashing.digest() if digest else ""
        if digest and not same_digest(found, digest):
            raise LayerError(
                f"its bytes have the digest {found}", where=self._where, hint="do not use it: it was changed"
            )

    def _checked(self, source: Source, kind: str) -> Iterator[bytes]:
        pieces = unpacked(source, kind) if kind else (data for _, data in source.chunks())
        try:
            for piece in pieces:
                if not piece:
                    continue
                self.size += len(piece)
                self._bounds.unpacked -= len(piece)
                if self.size > self._bounds.free and self.size > self._bounds.ratio * max(1, self._packed):
                    raise LayerError(
                        f"unpacks to more than {self._bounds.ratio} times its size: a bomb", where=self._where
                    )
                if self._bounds.unpacked < 0:
                    raise LayerError("the image unpacks to more than is read of one", where=self._where)
                self._hasher.update(piece)
                yield piece
        except UnreadableError as error:
            raise LayerError(f"cannot be unpacked: {error.reason}", where=self._where) from error
