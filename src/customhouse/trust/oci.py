"""Words of OCI registries: references, descriptors, and the two ports through which trust reads and writes them.

OCI Distribution and Image Specifications v1.1. Nothing here opens a connection (`trust.adapters.registries` does). A
tag is only ever turned into a digest, never trusted; what a digest names is checked against it by whoever reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from customhouse._kit.digest import is_digest
from customhouse._kit.single_keys import each_once
from customhouse.core.errors import ArtifactError, UsageError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
INDEX_TYPES = (INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json")
MEDIA_TYPES = (MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json", *INDEX_TYPES)
MAX_MANIFEST = 4 * 1024 * 1024
"""The specification lets a registry refuse manifests above 4 MiB."""
MAX_DESCRIPTORS = 10_000
_DOCKER = "docker.io"
_REFERENCE = re.compile(
    r"(?:oci://)?(?P<host>[A-Za-z0-9.-]+(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?)"
    r"/(?P<repository>[a-z0-9]+(?:(?:[._]|__|-+|/)[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Reference:
    """`oci://host/repository[:tag][@sha256:…]`."""

    host: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference that names its registry. Raises UsageError."""
        match = _REFERENCE.fullmatch(text) if len(text) <= 512 else None
        if match is None:
            raise UsageError(
                f"{text[:200]!r} is no reference of a registry", hint="write oci://host/repository@sha256:…"
            )
        return cls(match["host"], match["repository"], match["tag"], match["digest"])

    @classmethod
    def of_image(cls, text: str) -> Reference:
        """Read an image as container runtimes do: without a host it is Docker Hub's. Raises UsageError.

        The first part is a host when it has a dot or a port, or is `localhost` (distribution/reference).
        """
        name = text.removeprefix("oci://")
        first, slash, _ = name.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            return cls.parse(name)
        return cls.parse(f"{_DOCKER}/{name}" if slash else f"{_DOCKER}/library/{name}")

    def at(self, digest: str) -> Reference:
        """The same repository, by digest."""
        return Reference(self.host, self.repository, None, digest)

    @property
    def name(self) -> str:
        """`host/repository`: what a signature calls the image."""
        return f"{self.host}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"oci://{self.host}/{self.repository}{tag}{digest}"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What an index, a manifest or a list of referrers says about one blob or manifest. `size` is in bytes."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    """`os/architecture[/variant]`; empty where none is said."""

    @classmethod
    def of(cls, value: Any, where: str) -> Descriptor:
        """Read a descriptor. Raises ArtifactError."""
        fields = value if isinstance(value, dict) else {}
        digest, size = fields.get("digest"), fields.get("size")
        if not isinstance(digest, str) or not is_digest(digest) or type(size) is not int or size < 0:
            raise ArtifactError("a descriptor without a sha256 digest or a size", where=where)
        annotations, platform = fields.get("annotations"), fields.get("platform")
        said = platform if isinstance(platform, dict) else {}
        return cls(
            str(fields.get("mediaType", ""))[:256],
            digest,
            size,
            str(fields.get("artifactType", ""))[:256],
            {str(key): str(text) for key, text in annotations.items()} if isinstance(annotations, dict) else {},
            "/".join(str(said[key])[:64] for key in ("os", "architecture", "variant") if said.get(key)),
        )

    def to_json(self) -> dict[str, Any]:
        """As a manifest or an index lists it."""
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return document


class Registry(Protocol):
    """A registry that is read. What comes back by digest has that digest; raises ArtifactError for all else."""

    def resolve(self, repository: str, tag: str) -> str:
        """The digest that a tag names now."""

    def tagged(self, repository: str, tag: str) -> bytes | None:
        """The manifest that a tag names now, None when there is no such tag."""

    def manifest(self, repository: str, digest: str) -> bytes:
        """The manifest with this digest."""

    def blob(self, repository: str, digest: str, *, max_bytes: int) -> bytes:
        """The blob with this digest."""

    def referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """What says that it refers to a manifest; none is an empty tuple. Nothing of it is checked yet."""


class WritableRegistry(Registry, Protocol):
    """A registry that is written too. Raises ArtifactError."""

    def push_blob(self, repository: str, data: bytes, media_type: str) -> Descriptor:
        """Store a blob unless it is there; its descriptor."""

    def push_manifest(self, repository: str, document: Mapping[str, Any], tag: str | None = None) -> Descriptor:
        """Store a manifest or index under its digest or a tag; with a `subject` it is listed among its referrers."""


def read_json(body: bytes, where: str) -> dict[str, Any]:
    """A manifest, index or configuration: one JSON object. Raises ArtifactError."""
    try:
        value = json.loads(body, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"the manifest is no JSON: {error}", where=where) from error
    if not isinstance(value, dict):
        raise ArtifactError("the manifest is no JSON object", where=where)
    return value


def is_index(document: Mapping[str, Any]) -> bool:
    """Whether a document lists manifests (an image for several platforms)."""
    return document.get("mediaType") in INDEX_TYPES or "manifests" in document


def listed(document: Mapping[str, Any], key: str, where: str) -> tuple[Descriptor, ...]:
    """The descriptors of `layers`, `manifests` or `blobs`. Raises ArtifactError when the list is none."""
    items = document.get(key)
    if not isinstance(items, list) or len(items) > MAX_DESCRIPTORS:
        raise ArtifactError(f"not a manifest with {key}", where=where, hint="name the manifest, not an index")
    if "layers" in document and "manifests" in document:
        # Read as either by different clients (CVE-2021-41190): so it is read by none here.
        raise ArtifactError("a document that is a manifest and an index at once", where=where)
    return tuple(Descriptor.of(item, where) for item in items)
