"""A thin client of OCI registries: pull by digest, resolve a tag, find referrers.

OCI Distribution Specification v1.1. Every byte is checked against the digest that was asked for; a tag is only ever
turned into a digest, never trusted. Registries that answer 404 to the referrers API are asked for the referrers tag
schema (`sha256-<hex>`), as the specification says.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from customhouse._kit.digest import bytes_digest, is_digest
from customhouse._kit.http import Answer, HttpError, is_loopback, request
from customhouse.core.errors import ArtifactError, UsageError

MAX_MANIFEST = 4 * 1024 * 1024
"""The specification lets a registry refuse manifests above 4 MiB."""
MAX_BLOB = 256 * 1024 * 1024
MEDIA_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_REFERENCE = re.compile(
    r"(?:oci://)?(?P<host>[A-Za-z0-9.-]+(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?)"
    r"/(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_DOCKER_HUB = "registry-1.docker.io"


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

    @classmethod
    def of(cls, value: Any, where: str) -> Descriptor:
        """Read a descriptor. Raises ArtifactError."""
        fields = value if isinstance(value, dict) else {}
        digest, size = fields.get("digest"), fields.get("size")
        if not isinstance(digest, str) or not is_digest(digest) or not isinstance(size, int) or size < 0:
            raise ArtifactError("a descriptor without digest or size", where=where)
        annotations = fields.get("annotations")
        return cls(
            str(fields.get("mediaType", "")),
            digest,
            size,
            str(fields.get("artifactType", "")),
            {str(key): str(text) for key, text in annotations.items()} if isinstance(annotations, dict) else {},
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """Name and password (or token) for one registry; never shown."""

    user: str
    password: str = field(repr=False)


class OciRegistry:
    """One registry. Plain http is spoken with loopback alone; `authority` is a file of certificates to trust."""

    def __init__(
        self,
        host: str,
        credentials: Credentials | None = None,
        *,
        authority: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._host = _DOCKER_HUB if host in ("docker.io", "index.docker.io") else host
        name = urlsplit(f"//{self._host}").hostname or ""
        self._root = f"{'http' if is_loopback(name) and authority is None else 'https'}://{self._host}/v2"
        self._credentials = credentials
        self._authority = authority
        self._timeout_s = timeout_s
        self._authorization: dict[str, str] = {}

    def resolve(self, repository: str, tag: str) -> str:
        """The digest that a tag names now. Raises ArtifactError."""
        answer = self._get(repository, f"manifests/{quote(tag, safe='')}", MAX_MANIFEST)
        return bytes_digest(answer.body)

    def manifest(self, repository: str, digest: str) -> bytes:
        """The manifest with this digest, checked. Raises ArtifactError."""
        return self._checked(repository, f"manifests/{digest}", digest, MAX_MANIFEST)

    def blob(self, repository: str, digest: str, *, max_bytes: int = MAX_BLOB) -> bytes:
        """The blob with this digest, checked. Raises ArtifactError."""
        return self._checked(repository, f"blobs/{digest}", digest, max_bytes)

    def layers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """The layers of the manifest with this digest. Raises ArtifactError, also for an index."""
        where = f"{self._host}/{repository}@{digest}"
        document = _json(self.manifest(repository, digest), where)
        listed = document.get("layers")
        if not isinstance(listed, list):
            raise ArtifactError("not a manifest with layers", where=where, hint="name the manifest, not an index")
        return tuple(Descriptor.of(item, where) for item in listed)

    def referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """What refers to a manifest (signatures, SBOMs, attestations); none is an empty tuple. Raises ArtifactError."""
        where = f"{self._host}/{repository}@{digest}"
        answer = self._find(repository, f"referrers/{digest}", MAX_MANIFEST)
        if answer is None:
            answer = self._find(repository, f"manifests/{digest.replace(':', '-')}", MAX_MANIFEST)
        if answer is None:
            return ()
        listed = _json(answer.body, where).get("manifests") or []
        if not isinstance(listed, list):
            raise ArtifactError("the list of referrers cannot be read", where=where)
        return tuple(Descriptor.of(item, where) for item in listed)

    def _checked(self, repository: str, path: str, digest: str, max_bytes: int) -> bytes:
        if not is_digest(digest):
            raise UsageError(f"{digest[:100]!r} is no digest", hint="write sha256: and 64 hexadecimal digits")
        body = self._get(repository, path, max_bytes).body
        found = bytes_digest(body)
        if found != digest:
            raise ArtifactError(
                f"the registry gave {found} for {digest}",
                where=f"{self._host}/{repository}",
                hint="do not use it: the registry, or somebody on the way, changes what it serves",
            )
        return body

    def _get(self, repository: str, path: str, max_bytes: int) -> Answer:
        answer = self._find(repository, path, max_bytes)
        if answer is None:
            raise ArtifactError(f"the registry has no {path}", where=f"{self._host}/{repository}")
        return answer

    def _find(self, repository: str, path: str, max_bytes: int) -> Answer | None:
        """The answer of a GET; None for 404."""
        url = f"{self._root}/{repository}/{path}"
        where = f"{self._host}/{repository}"
        try:
            answer = self._ask(url, repository, max_bytes)
            if answer.status == 401:
                self._authorize(answer, repository)
                answer = self._ask(url, repository, max_bytes)
        except HttpError as error:
            raise ArtifactError(str(error), where=where) from error
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise ArtifactError(
                f"the registry answers {answer.status} for {path}",
                where=where,
                hint="give credentials" if answer.status in (401, 403) else "",
            )
        return answer

    def _ask(self, url: str, repository: str, max_bytes: int) -> Answer:
        headers = {"Accept": ", ".join(MEDIA_TYPES)}
        if repository in self._authorization:
            headers["Authorization"] = self._authorization[repository]
        return request(
            "GET", url, headers=headers, timeout_s=self._timeout_s, max_bytes=max_bytes, authority=self._authority
        )

    def _authorize(self, refusal: Answer, repository: str) -> None:
        """Answer a challenge: Basic, or a token of the realm that the registry names (Docker token authentication)."""
        scheme, _, rest = refusal.headers.get("www-authenticate", "").partition(" ")
        given = self._credentials
        basic = None
        if given is not None:
            basic = "Basic " + base64.b64encode(f"{given.user}:{given.password}".encode()).decode()
        if scheme.lower() == "basic" and basic is not None:
            self._authorization[repository] = basic
        if scheme.lower() != "bearer":
            return
        fields = dict(_CHALLENGE.findall(rest))
        query = {"scope": f"repository:{repository}:pull"}
        if "service" in fields:
            query["service"] = fields["service"]
        realm = fields.get("realm", "")
        answer = request(
            "GET",
            f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}",
            # The password goes to the realm of the registry's own choice: only over TLS, as _kit.http holds.
            headers={} if basic is None else {"Authorization": basic},
            timeout_s=self._timeout_s,
            max_bytes=1 << 20,
            authority=self._authority,
        )
        document = answer.json() if answer.status == 200 else {}
        token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
        if isinstance(token, str) and token:
            self._authorization[repository] = f"Bearer {token}"


def _json(body: bytes, where: str) -> dict[str, Any]:
    import json

    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"the manifest is no JSON: {error}", where=where) from error
    if not isinstance(value, dict):
        raise ArtifactError("the manifest is no JSON object", where=where)
    return value
