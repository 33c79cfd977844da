"""Models registered in S3-compatible stores: files below a prefix, evidence below `PREFIX.evidence/`.

An object that is there with other bytes is never written over, and a prefix with other files is another model's. The
evidence lies beside the prefix and not below it: what is below it are the files that the digest is of.
"""

from __future__ import annotations

from io import BytesIO

from customhouse._kit.digest import FileEntry, bytes_digest
from customhouse.core.errors import ArtifactError, TamperError, UsageError
from customhouse.trust.adapters.registries.s3 import Place, S3Store
from customhouse.trust.publishing import (
    MAX_EVIDENCE_FILE,
    MAX_EVIDENCE_FILES,
    Parcel,
    Published,
    Settle,
    Watched,
    is_there,
)
from customhouse.trust.remote import Exposure, Located, RemoteFile

SUFFIX = ".evidence"


class S3Models:
    """The buckets of one endpoint."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def publish(self, target: str, parcel: Parcel, settle: Settle) -> Published:
        """The files, then the evidence. Each object is written only where none is."""
        place = _prefix(target)
        known = {file.path: file for file in self._store.below(place.bucket, f"{place.key}/")}
        strange = sorted(known.keys() - {file.path for file in parcel.files})
        if strange:
            raise TamperError(
                f"there are other files already, such as {strange[0][:200]!r}",
                where=target,
                hint="choose another prefix: what is there is never written over",
            )
        sent = there = 0
        # All of what is there is looked at first: a prefix of another model's gets none of this one's files.
        missing = [file for file in parcel.files if not self._kept(place, known.get(file.path), file)]
        for file in missing:
            with (parcel.folder / file.path).open("rb") as source:
                self._store.put_new(
                    place.bucket, f"{place.key}/{file.path}", source, file.size, file.digest, Watched(file)
                )
            sent += 1
        there = len(parcel.files) - sent
        more, kept = self._send_evidence(place, parcel, settle)
        return Published(f"s3://{place.bucket}/{place.key}@{parcel.digest}", sent + more, there + kept)

    def evidence(self, reference: str, digest: str) -> tuple[tuple[str, bytes], ...]:
        """What lies below `PREFIX.evidence/` about these files."""
        place = Place.parse(reference.partition("@sha256:")[0])
        if not place.key:
            return ()
        folder = f"{place.key}{SUFFIX}/{digest.removeprefix('sha256:')}/"
        listed = [file for file in self._store.below(place.bucket, folder) if "/" not in file.path]
        if len(listed) > MAX_EVIDENCE_FILES:
            raise ArtifactError(
                f"more than {MAX_EVIDENCE_FILES} files of evidence", where=f"s3://{place.bucket}/{folder}"
            )
        found = []
        for file in listed:
            if file.size <= MAX_EVIDENCE_FILE:
                data = bytearray()
                self._store.fetch(Located(f"s3://{place.bucket}/{folder}", ()), file, data.extend)
                found.append((file.path, bytes(data)))
        return tuple(found)

    def exposure(self, reference: str, *, probe: bool = False) -> Exposure:
        """What the bucket says of itself, as far as the keys may ask; nothing is tried."""
        del probe
        return self._store.exposure(Place.parse(reference.partition("@sha256:")[0]).bucket)

    def _kept(self, place: Place, there: RemoteFile | None, file: FileEntry) -> bool:
        if there is None:
            return False
        located = Located(f"s3://{place.bucket}/{place.key}", ())
        same = there.size == file.size and (
            there.digest == file.digest
            if there.digest is not None
            else is_there(file, lambda take: self._store.fetch(located, there, take))
        )
        if not same:
            raise TamperError(
                "an object with other bytes is there",
                where=f"s3://{place.bucket}/{place.key}/{file.path}",
                hint="choose another prefix: what is there is never written over",
            )
        return True

    def _send_evidence(self, place: Place, parcel: Parcel, settle: Settle) -> tuple[int, int]:
        listed = self.evidence(f"s3://{place.bucket}/{place.key}", parcel.digest)
        known, evidence = dict(listed), settle(listed)
        sent = 0
        for name, data in sorted(evidence.items()):
            if data in known.values():
                continue
            # Evidence of the same kind that says something else stays: who pulls gets both, and the gate judges.
            stored = name if name not in known else f"oci-{bytes_digest(data)[7:23]}.sigstore.json"
            key = f"{place.key}{SUFFIX}/{parcel.hex}/{stored}"
            self._store.put_new(place.bucket, key, BytesIO(data), len(data), bytes_digest(data), _unwatched)
            sent += 1
        return sent, len(evidence) - sent


def _prefix(target: str) -> Place:
    place = Place.parse(target)
    if not place.key or place.version:
        raise UsageError("a model is registered below a prefix", where=target, hint="s3://BUCKET/PREFIX")
    return place


def _unwatched(_: bytes) -> None:
    """Bytes in memory do not change."""
