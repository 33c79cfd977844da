"""Evidence in registries: what is attached to a manifest, gathered as files, and statements attached to it.

Looked at: referrers (API or tag schema) with Sigstore bundles, cosign's experimental signatures and Notary Project
signatures; cosign's tags `sha256-<hex>.sig` and `.att`. The files are what `trust.filed` reads: a registry is a place,
and a place gives no trust. What cannot be read is told and left out: otherwise anybody who may push shut the gate.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from customhouse._kit.clock import SystemClock, to_rfc3339
from customhouse._kit.digest import bytes_digest, same_digest
from customhouse.core.errors import ArtifactError, EvidenceError
from customhouse.trust.attestation import SUFFIX
from customhouse.trust.bundle import BUNDLE_TYPE
from customhouse.trust.cosign import SIMPLE_SIGNING, SIMPLE_SUFFIX, wrapped_attestations, wrapped_signature
from customhouse.trust.oci import (
    EMPTY_TYPE,
    MANIFEST_TYPE,
    MEDIA_TYPES,
    Descriptor,
    Registry,
    WritableRegistry,
    is_index,
    listed,
    read_json,
)
from customhouse.trust.platforms import MAX_PLATFORMS, pack, platforms_of
from customhouse.trust.platforms import SUFFIX as INDEX_SUFFIX

PREFIX = "oci-"
"""What names of files begin with that came from a registry."""
NOTARY_TYPE = "application/vnd.cncf.notary.signature"
NOTARY_SUFFIXES: Mapping[str, str] = {"application/jose+json": ".notary.jws", "application/cose": ".notary.cose"}
_BUNDLE_TYPES = "application/vnd.dev.sigstore.bundle"
_OLD_SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
_ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
MAX_STATEMENT = 16 * 1024 * 1024
MAX_TOTAL = 64 * 1024 * 1024
MAX_STATEMENTS = 200
MAX_SECONDS = 180
"""For one image: longer than any registry needs, and less than a CI waits for a step."""
_EMPTY = b"{}"


@dataclass(frozen=True, slots=True)
class Gathered:
    """Name → bytes of what is attached to one manifest, and why something was left out."""

    files: Mapping[str, bytes]
    ignored: tuple[str, ...] = ()


def gather(registry: Registry, repository: str, digest: str, where: str) -> Gathered:
    """Everything that is attached to the manifest `digest`, and of an index to each image in it.

    Raises ArtifactError when the registry does not answer.
    """
    budget = _Budget(where)
    found, ignored = _gathered(registry, repository, digest, where, budget)
    index = registry.tagged(repository, digest)
    if index is not None and same_digest(bytes_digest(index), digest) and is_index(read_json(index, where)):
        images = platforms_of(index, where)
        if len(images) > MAX_PLATFORMS:
            ignored.append(f"{where}: for more than {MAX_PLATFORMS} platforms, which are not looked at one by one")
            images = ()
        own: dict[str, Mapping[str, bytes]] = {}
        for image in images:
            place = f"{where} {image.platform or image.digest}"
            own[image.digest], passed = _gathered(registry, repository, image.digest, place, budget)
            ignored += passed
        if any(own.values()):
            packed = pack(index, own)
            found[_name(packed, INDEX_SUFFIX)] = packed
    return Gathered(dict(sorted(found.items())), tuple(ignored))


class _Budget:
    """What may still be read of one image, and for how long, over all that is in it."""

    def __init__(self, where: str) -> None:
        self._where, self._count, self._size = where, 0, 0
        self._clock = SystemClock()
        self._until = self._clock.monotonic() + MAX_SECONDS

    def look(self) -> None:
        """Raises ArtifactError when it takes too long: a registry may answer each request, and never be done."""
        if self._clock.monotonic() > self._until:
            raise ArtifactError(f"what is attached could not be read within {MAX_SECONDS} s", where=self._where)

    def take(self, data: bytes) -> None:
        self._count += 1
        self._size += len(data)
        if self._count > MAX_STATEMENTS or self._size > MAX_TOTAL:
            raise ArtifactError(
                f"more than {MAX_STATEMENTS} statements or {MAX_TOTAL >> 20} MiB of them are attached",
                where=self._where,
                hint="look at them with `oras discover` or `cosign tree` and delete what is not needed, or restrict "
                "who may push there",
            )


def _gathered(
    registry: Registry, repository: str, digest: str, where: str, budget: _Budget
) -> tuple[dict[str, bytes], list[str]]:
    found: dict[str, bytes] = {}
    ignored: list[str] = []
    for said, make in _attached(registry, repository, digest, where, budget, ignored):
        budget.look()
        try:
            made = make()
        except EvidenceError as error:
            ignored.append(f"{said}: {error.message}")
            continue
        for suffix, data in made:
            budget.take(data)
            found[_name(data, suffix)] = data
    return found, ignored


def _name(data: bytes, suffix: str) -> str:
    return f"{PREFIX}{hashlib.sha256(data).hexdigest()[:16]}{suffix}"


class _Layer:
    """One attached layer, not yet fetched."""

    def __init__(self, registry: Registry, repository: str, layer: Descriptor, where: str) -> None:
        self._registry, self._repository, self._layer, self._where = registry, repository, layer, where

    def __call__(self) -> list[tuple[str, bytes]]:
        layer, where = self._layer, self._where
        if layer.size > MAX_STATEMENT:
            raise EvidenceError(f"larger than {MAX_STATEMENT >> 20} MiB", where=where)
        data = self._registry.blob(self._repository, layer.digest, max_bytes=MAX_STATEMENT)
        if layer.media_type == SIMPLE_SIGNING:
            return [(SIMPLE_SUFFIX, wrapped_signature(data, layer.annotations, where))]
        if layer.media_type == _ENVELOPE_TYPE:
            return [(SUFFIX, item) for item in wrapped_attestations(data, layer.annotations, where)]
        if layer.media_type.startswith(_BUNDLE_TYPES):
            return [(SUFFIX, data)]
        if layer.media_type in NOTARY_SUFFIXES:
            return [(NOTARY_SUFFIXES[layer.media_type], data)]
        return []


def _attached(
    registry: Registry, repository: str, digest: str, where: str, budget: _Budget, ignored: list[str]
) -> Iterator[tuple[str, _Layer]]:
    """What is attached, not yet fetched; a document that cannot be read is added to `ignored`, and is no evidence.

    Raises ArtifactError when the registry does not answer: then it is not known what there is.
    """
    for referrer in registry.referrers(repository, digest):
        budget.look()
        if referrer.media_type not in MEDIA_TYPES or not _may_matter(referrer.artifact_type):
            continue
        body = registry.manifest(repository, referrer.digest)
        yield from _layers(registry, repository, body, f"{where} {referrer.digest[:19]}…", ignored, digest)
    for suffix in (".sig", ".att"):
        tagged = registry.tagged(repository, f"{digest.replace(':', '-')}{suffix}")
        if tagged is not None:
            yield from _layers(registry, repository, tagged, f"{where} {suffix}", ignored)


def _layers(
    registry: Registry, repository: str, body: bytes, where: str, ignored: list[str], subject: str | None = None
) -> Iterator[tuple[str, _Layer]]:
    """The layers of an attached manifest: of one about `subject`, where that is given."""
    try:
        document = read_json(body, where)
        if "layers" not in document or (subject is not None and (_subject(document) != subject or is_index(document))):
            return
        layers = listed(document, "layers", where)
    except ArtifactError as error:
        ignored.append(f"{where}: {error.message}")
        return
    for layer in layers[: MAX_STATEMENTS + 1]:
        yield where, _Layer(registry, repository, layer, where)


def _may_matter(artifact_type: str) -> bool:
    """Whether a referrer may be evidence: by its type, or when its list does not say one."""
    known = (_BUNDLE_TYPES, NOTARY_TYPE, _OLD_SIGNATURE)
    return not artifact_type or artifact_type.startswith(known)


def _subject(document: Mapping[str, Any]) -> str | None:
    subject = document.get("subject")
    value = subject.get("digest") if isinstance(subject, dict) else None
    return value if isinstance(value, str) else None


def subject_of(registry: Registry, repository: str, digest: str, where: str) -> Descriptor:
    """The descriptor of a manifest that something is attached to. Raises ArtifactError."""
    body = registry.manifest(repository, digest)
    media_type = str(read_json(body, where).get("mediaType") or MANIFEST_TYPE)
    return Descriptor(media_type, digest, len(body))


def attach_bundle(
    registry: WritableRegistry, repository: str, subject: Descriptor, bundle: bytes, predicate_type: str, at: datetime
) -> str:
    """Attach a Sigstore bundle as cosign 3 does: a referrer of the manifest. Gives the digest of the new manifest."""
    layer = registry.push_blob(repository, bundle, BUNDLE_TYPE)
    config = registry.push_blob(repository, _EMPTY, EMPTY_TYPE)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": BUNDLE_TYPE,
        "config": {**config.to_json(), "artifactType": BUNDLE_TYPE},
        "layers": [layer.to_json()],
        "subject": subject.to_json(),
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": predicate_type,
            "org.opencontainers.image.created": to_rfc3339(at),
        },
    }
    return registry.push_manifest(repository, document).digest


def attach_signature(registry: WritableRegistry, repository: str, digest: str, payload: bytes, signature: str) -> str:
    """Add a simple-signing signature under cosign's tag `sha256-<hex>.sig`, beside those that are there."""
    tag = f"{digest.replace(':', '-')}.sig"
    body = registry.tagged(repository, tag)
    where = f"{repository}:{tag}"
    document = None if body is None else read_json(body, where)
    known = [] if document is None else list(document.get("layers") or ())
    layer = registry.push_blob(repository, payload, SIMPLE_SIGNING)
    added = {**layer.to_json(), "annotations": {"dev.cosignproject.cosign/signature": signature}}
    layers = [*(item for item in known if item != added), added]
    config = {
        "architecture": "",
        "os": "",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [item["digest"] for item in layers]},
        "history": [{} for _ in layers],
    }
    kept = registry.push_blob(repository, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": kept.to_json(), "layers": layers}
    return registry.push_manifest(repository, manifest, tag).digest
