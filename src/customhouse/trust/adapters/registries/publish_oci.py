"""Models registered in OCI registries: an artifact with a layer a file, and its evidence as one referrer.

As ORAS writes artifacts: layers named by `org.opencontainers.image.title`, the empty configuration, an artifact type.
A layout in a folder takes them as a registry does.
The manifest is made of the files alone, so the same files give the same digest. A tag that names something else is
never moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import bytes_digest, is_digest
from customhouse.core.errors import ArtifactError, TamperError, UsageError
from customhouse.trust.adapters.registries.layout import LayoutRegistry, parse
from customhouse.trust.adapters.registries.oci import OciRegistry
from customhouse.trust.oci import EMPTY_TYPE, MANIFEST_TYPE, Descriptor, Reference, listed, read_json
from customhouse.trust.publishing import (
    EVIDENCE_TYPE,
    MAX_EVIDENCE_FILE,
    MAX_EVIDENCE_FILES,
    Parcel,
    Published,
    Settle,
    watched,
)
from customhouse.trust.remote import Exposure
from customhouse.trust.unpack import TITLE

MODEL_TYPE = "application/vnd.customhouse.model.v1+json"
FILE_TYPE = "application/octet-stream"
DIGEST = "customhouse.dev/tree-digest"
_EMPTY = b"{}"
_MAX_REFERRERS = 50


Blobs = OciRegistry | LayoutRegistry


@dataclass(frozen=True, slots=True)
class Place:
    """Where models are registered: `name` is the reference without tag and digest."""

    registry: Blobs
    repository: str
    name: str
    tag: str | None
    digest: str | None


def in_registry(text: str, connect: Callable[[str], OciRegistry]) -> Place:
    """`oci://HOST/REPOSITORY:TAG`; `connect` gives a registry by its host. Raises UsageError."""
    said = Reference.parse(text)
    return Place(connect(said.host), said.repository, f"oci://{said.name}", said.tag, said.digest)


def in_layout(text: str) -> Place:
    """`oci-layout://FOLDER:TAG`. Raises UsageError."""
    folder, tag, digest = parse(text)
    registry = LayoutRegistry(folder)
    return Place(registry, str(folder), registry.name, tag, digest)


class OciModels:
    """The registries and layouts that `locate` finds by their references."""

    def __init__(self, locate: Callable[[str], Place]) -> None:
        self._locate = locate

    def publish(self, target: str, parcel: Parcel, settle: Settle) -> Published:
        """Blobs, the manifest by digest, the evidence, and the tag last."""
        place = self._locate(target)
        if place.tag is None or place.digest is not None:
            raise UsageError("a model is registered under a tag", where=target, hint=f"{place.name}:TAG")
        registry, repository = place.registry, place.repository
        document = _manifest(parcel)
        digest = bytes_digest(canonical_json(document))
        before = registry.tagged(repository, place.tag)
        if before is not None and bytes_digest(before) != digest:
            raise TamperError(
                f"the tag names something else already ({bytes_digest(before)})",
                where=target,
                hint="choose another tag: one that is there is never moved",
            )
        sent = there = 0
        for file in parcel.files:
            with (parcel.folder / file.path).open("rb") as source:
                new = registry.push_file(repository, file.digest, watched(source, file))
            sent, there = sent + new, there + (not new)
        registry.push_blob(repository, _EMPTY, EMPTY_TYPE)
        if before is None:
            registry.push_manifest(repository, document)
        subject = Descriptor(MANIFEST_TYPE, digest, len(canonical_json(document)))
        kept = self._attached(registry, repository, digest, parcel.hex)
        parcel = replace(parcel, evidence=settle(kept))
        missing = set(parcel.evidence.values()) - {data for _, data in kept}
        if missing:
            self._attach(registry, repository, subject, parcel)
        if before is None:
            registry.push_manifest(repository, document, place.tag)
        count = len(parcel.evidence)
        return Published(f"{place.name}@{digest}", sent + (count if missing else 0), there + (0 if missing else count))

    def evidence(self, reference: str, digest: str) -> tuple[tuple[str, bytes], ...]:
        """What the referrers of the manifest hold about these files."""
        place = self._locate(reference)
        registry = place.registry
        found = place.digest
        if found is None:
            body = registry.tagged(place.repository, place.tag or "latest")
            if body is None:
                return ()
            found = bytes_digest(body)
        return tuple(self._attached(registry, place.repository, found, digest.removeprefix("sha256:")))

    def exposure(self, reference: str, *, probe: bool = False) -> Exposure:
        """Unknown, unless it is tried whether a stranger may begin an upload (which is given up at once)."""
        place = self._locate(reference)
        if isinstance(place.registry, LayoutRegistry):
            return place.registry.exposure()
        if not probe:
            return Exposure(notes=("a registry does not say who may push; --probe tries whether a stranger may",))
        may = place.registry.strangers_push(place.repository)
        if may is None:
            return Exposure(notes=("whether a stranger may push could not be told",))
        return Exposure(may, notes=("a stranger began an upload, which was given up",) if may else ())

    def _attach(self, registry: Blobs, repository: str, subject: Descriptor, parcel: Parcel) -> None:
        layers = []
        for name, data in sorted(parcel.evidence.items()):
            layer = registry.push_blob(repository, data, EVIDENCE_TYPE)
            layers.append({**layer.to_json(), "annotations": {TITLE: f"{parcel.hex}/{name}"}})
        config = Descriptor(EMPTY_TYPE, bytes_digest(_EMPTY), len(_EMPTY))
        registry.push_manifest(
            repository,
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "artifactType": EVIDENCE_TYPE,
                "config": config.to_json(),
                "layers": layers,
                "subject": subject.to_json(),
                "annotations": {DIGEST: parcel.digest},
            },
        )

    def _attached(self, registry: Blobs, repository: str, digest: str, tree: str) -> list[tuple[str, bytes]]:
        """Anybody who may push may have attached something: it is bounded, and believed by nobody here."""
        if not is_digest(digest):
            raise UsageError(f"{digest[:100]!r} is no digest")
        found: list[tuple[str, bytes]] = []
        said = [item for item in registry.referrers(repository, digest) if item.artifact_type == EVIDENCE_TYPE]
        for item in said[:_MAX_REFERRERS]:
            where = f"{repository}@{item.digest}"
            document = read_json(registry.manifest(repository, item.digest), where)
            subject = document.get("subject")
            if not isinstance(subject, dict) or subject.get("digest") != digest:
                continue
            for layer in listed(document, "layers", where):
                folder, _, name = layer.annotations.get(TITLE, "").partition("/")
                if folder != tree or layer.size > MAX_EVIDENCE_FILE:
                    continue
                if len(found) >= MAX_EVIDENCE_FILES:
                    raise ArtifactError(f"more than {MAX_EVIDENCE_FILES} files of evidence", where=where)
                found.append((name, registry.blob(repository, layer.digest, max_bytes=MAX_EVIDENCE_FILE)))
        return found


def _manifest(parcel: Parcel) -> dict[str, Any]:
    """Of the files alone: no time, and no name that somebody could change."""
    layers = [
        {**Descriptor(FILE_TYPE, file.digest, file.size).to_json(), "annotations": {TITLE: file.path}}
        for file in parcel.files
    ]
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": MODEL_TYPE,
        "config": Descriptor(EMPTY_TYPE, bytes_digest(_EMPTY), len(_EMPTY)).to_json(),
        "layers": layers,
        "annotations": {DIGEST: parcel.digest},
    }
