"""A thin client of OCI registries: pull by digest, resolve a tag, find and list referrers, push.

OCI Distribution Specification v1.1. Every byte is checked against the digest that was asked for; a tag is only ever
turned into a digest, never trusted. Registries that answer 404 to the referrers API are asked for the referrers tag
schema (`sha256-<hex>`), as the specification says, and get that index written when something is attached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import bytes_digest, is_digest, same_digest
from customhouse._kit.http import Answer, HttpError, Sending, is_loopback, request, shown, to_a_store
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.adapters.registries import oci_upload
from customhouse.trust.adapters.registries.access import Access, Credentials
from customhouse.trust.oci import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    MAX_MANIFEST,
    MEDIA_TYPES,
    Descriptor,
    Reference,
    is_index,
    listed,
    read_json,
)

__all__ = ["Credentials", "OciRegistry", "Reference"]
MAX_BLOB = 256 * 1024 * 1024
MAX_REFERRERS = 500
MAX_TAGS = 20_000
_MAX_PAGES = 20
_DOCKER_HUB = "registry-1.docker.io"
_NO_API = (400, 404, 405, 501)
"""What registries answer that do not know the referrers API; the specification names 404."""


class OciRegistry:
    """One registry. Plain http is spoken with loopback alone; `authority` is a file of certificates to trust.

    A manifest, a list or a token that is redirected to another host is refused; a blob may be (registries keep them in
    object stores), over https, to a host that is not of this machine or a private address.
    """

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
        self._access = Access(self._host, credentials, authority=authority, timeout_s=timeout_s)
        self._authority = authority
        self._timeout_s = timeout_s

    def resolve(self, repository: str, tag: str) -> str:
        """The digest that a tag names now. Raises ArtifactError."""
        body = self.tagged(repository, tag)
        if body is None:
            raise ArtifactError(f"the registry has no tag {tag}", where=f"{self._host}/{repository}")
        return bytes_digest(body)

    def tagged(self, repository: str, tag: str) -> bytes | None:
        """The manifest that a tag names now; None without one. Raises ArtifactError."""
        answer = self._find(repository, f"manifests/{quote(tag, safe='')}", MAX_MANIFEST)
        return None if answer is None else answer.body

    def manifest(self, repository: str, digest: str) -> bytes:
        """The manifest with this digest, checked. Raises ArtifactError."""
        return self._checked(repository, f"manifests/{digest}", digest, MAX_MANIFEST)

    def blob(self, repository: str, digest: str, *, max_bytes: int = MAX_BLOB) -> bytes:
        """The blob with this digest, checked. Raises ArtifactError."""
        return self._checked(repository, f"blobs/{digest}", digest, max_bytes)

    def download(self, repository: str, descriptor: Descriptor, take: Callable[[bytes], object]) -> None:
        """Give a blob piece by piece. Raises ArtifactError at the end when it was another: then nothing may be kept."""
        hasher = hashlib.sha256()
        size = 0

        def piece(data: bytes) -> None:
            nonlocal size
            size += len(data)
            hasher.update(data)
            take(data)

        # A model of gigabytes takes longer than a manifest; 1 MB/s is the least that is waited for.
        timeout_s = self._timeout_s + descriptor.size / 1e6
        answer = self._call(
            "GET", repository, f"blobs/{descriptor.digest}", max_bytes=descriptor.size, sink=piece, timeout_s=timeout_s
        )
        if answer.status != 200:
            raise ArtifactError(f"the registry answers {answer.status}", where=f"{self._host}/{repository}")
        found = f"sha256:{hasher.hexdigest()}"
        if size != descriptor.size or not same_digest(found, descriptor.digest):
            raise self._lied(repository, found, descriptor.digest)

    def layers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """The layers of the manifest with this digest. Raises ArtifactError, also for an index."""
        where = f"{self._host}/{repository}@{digest}"
        return listed(read_json(self.manifest(repository, digest), where), "layers", where)

    def tags(self, repository: str) -> tuple[str, ...]:
        """The tags of a repository. Raises ArtifactError, also for more than MAX_TAGS."""
        where = f"{self._host}/{repository}"
        found: list[str] = []
        path: str | None = "tags/list"
        for _ in range(MAX_TAGS):
            if path is None:
                return tuple(found)
            answer = self._call("GET", repository, path, max_bytes=MAX_MANIFEST)
            listed_tags = read_json(self._expect(answer, repository, "tags/list", 200).body, where).get("tags") or []
            if not isinstance(listed_tags, list) or len(found) + len(listed_tags) > MAX_TAGS:
                raise ArtifactError(f"no list of at most {MAX_TAGS} tags", where=where)
            found += [tag for tag in listed_tags if isinstance(tag, str)]
            path = self._next(answer, repository, "tags/list")
        raise ArtifactError("its list of tags has no end", where=where)

    def referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """What refers to a manifest (signatures, SBOMs, attestations); none is an empty tuple. Raises ArtifactError."""
        where = f"{self._host}/{repository}@{digest}"
        if not is_digest(digest):
            raise UsageError(f"{digest[:100]!r} is no digest", hint="write sha256: and 64 hexadecimal digits")
        found: list[Descriptor] = []
        path: str | None = f"referrers/{digest}"
        for page in range(_MAX_PAGES + 1):
            if path is None:
                return tuple(found)
            if page == _MAX_PAGES or len(found) > MAX_REFERRERS:
                raise ArtifactError(f"more than {MAX_REFERRERS} referrers", where=where)
            answer = self._call("GET", repository, path, max_bytes=MAX_MANIFEST)
            if page == 0 and answer.status in _NO_API:
                return self._fallback(repository, digest, where)
            document = read_json(self._expect(answer, repository, path, 200).body, where)
            found += listed({"manifests": document.get("manifests") or []}, "manifests", where)
            path = self._next(answer, repository)
        raise AssertionError("unreachable: the last page returns or raises")

    def push_blob(self, repository: str, data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
        """Store a blob unless it is there; its descriptor. Raises ArtifactError."""
        digest = bytes_digest(data)
        self.push_file(repository, digest, data)
        return Descriptor(media_type, digest, len(data))

    def push_file(self, repository: str, digest: str, data: bytes | Sending) -> bool:
        """Store a blob of any size unless it is there; whether it was sent. Raises ArtifactError.

        A large one is sent in pieces, which survives connections that break.
        """
        if self._call("HEAD", repository, f"blobs/{digest}", max_bytes=0, push=True).status == 200:
            return False
        size = data.size if isinstance(data, Sending) else len(data)
        url, body = "", data
        if isinstance(data, Sending) and size >= oci_upload.LARGE:
            try:
                url = oci_upload.upload(self._wire(repository), data, f"{self._host}/{repository}")
                body = b""
            except oci_upload.NoChunksError:
                url = ""
        url = url or self._upload(self._begun(repository))
        url += f"{'&' if urlsplit(url).query else '?'}digest={quote(digest, safe='')}"
        answer = self._call(
            "PUT",
            repository,
            "",
            url=url,
            body=body,
            headers={"Content-Type": "application/octet-stream"},
            push=True,
            timeout_s=self._timeout_s + size / 1e6,
        )
        self._expect(answer, repository, "blob", 201)
        return True

    def _begun(self, repository: str) -> Answer:
        answer = self._call("POST", repository, "blobs/uploads/", body=b"", push=True)
        return self._expect(answer, repository, "blobs/uploads/", 202)

    def _wire(self, repository: str) -> oci_upload.Wire:
        def send(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
            timeout_s = self._timeout_s + len(body or b"") / 1e6
            return self._call(
                method, repository, "", url=url, body=body, headers=headers, push=True, timeout_s=timeout_s
            )

        return oci_upload.Wire(lambda: self._begun(repository), self._upload, send)

    def _upload(self, answer: Answer) -> str:
        """Where an upload that was begun goes on."""
        url = self._joined(answer, answer.headers.get("location", ""))
        if urlsplit(url)[:2] != urlsplit(self._root)[:2]:
            raise ArtifactError(f"the registry wants the bytes sent to {shown(url)}", where=self._host)
        return url

    def _joined(self, answer: Answer, place: str) -> str:
        """An address that an answer leads to."""
        try:
            return urljoin(answer.url, place)
        except ValueError as error:
            raise ArtifactError("the registry names an address that cannot be read", where=self._host) from error

    def strangers_push(self, repository: str) -> bool | None:
        """Whether an upload may be begun without a login; one that may is given up. None: it cannot be told."""
        stranger = OciRegistry(self._host, authority=self._authority, timeout_s=self._timeout_s)
        try:
            answer = stranger._call("POST", repository, "blobs/uploads/", body=b"", push=True)
            if answer.status == 202:
                stranger._call("DELETE", repository, "", url=stranger._upload(answer), push=True)
                return True
        except ArtifactError:
            return None
        return False if answer.status in (401, 403) else None

    def answers(self) -> bool:
        """Whether a registry answers there (`/v2/`, also if it wants a login). Raises ArtifactError with the reason."""
        answer = self._call("GET", "", "", url=f"{self._root}/", max_bytes=1 << 16)
        return answer.status in (200, 401, 403)

    def strangers_pull(self, repository: str) -> bool | None:
        """Whether a repository may be read without a login. None: it cannot be told."""
        stranger = OciRegistry(self._host, authority=self._authority, timeout_s=self._timeout_s)
        try:
            answer = stranger._call("GET", repository, "tags/list")
        except ArtifactError:
            return None
        # 404 is what an open registry says of a repository that it does not have.
        return True if answer.status in (200, 404) else False if answer.status in (401, 403) else None

    @property
    def encrypted(self) -> bool:
        """Whether it is spoken to over TLS, its certificate verified."""
        return self._root.startswith("https://")

    def push_manifest(self, repository: str, document: Mapping[str, Any], tag: str | None = None) -> Descriptor:
        """Store a manifest; one with a `subject` is listed among the referrers of that. Raises ArtifactError."""
        body = canonical_json(document)
        digest = bytes_digest(body)
        media_type = str(document.get("mediaType", MANIFEST_TYPE))
        path = f"manifests/{digest if tag is None else quote(tag, safe='')}"
        answer = self._call("PUT", repository, path, body=body, headers={"Content-Type": media_type}, push=True)
        self._expect(answer, repository, path, 201)
        subject = document.get("subject")
        found = Descriptor(
            media_type,
            digest,
            len(body),
            str(document.get("artifactType", "")),
            {str(key): str(value) for key, value in (document.get("annotations") or {}).items()},
        )
        if isinstance(subject, Mapping) and "oci-subject" not in answer.headers:
            self._list_referrer(repository, str(subject["digest"]), found)
        return found

    def _list_referrer(self, repository: str, subject: str, added: Descriptor) -> None:
        """The referrers tag schema, client's part. Of two writers at once one may be lost (as it says)."""
        where = f"{self._host}/{repository}@{subject}"
        known = [item for item in self._fallback(repository, subject, where) if item.digest != added.digest]
        entries = [item.to_json() for item in (*known, added)]
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}
        self.push_manifest(repository, index, subject.replace(":", "-"))

    def _fallback(self, repository: str, digest: str, where: str) -> tuple[Descriptor, ...]:
        body = self.tagged(repository, digest.replace(":", "-"))
        if body is None:
            return ()
        document = read_json(body, where)
        if not is_index(document):
            raise ArtifactError("the tag of its referrers names no index", where=where)
        found = listed(document, "manifests", where)
        if len(found) > MAX_REFERRERS:
            raise ArtifactError(f"more than {MAX_REFERRERS} referrers", where=where)
        return found

    def _next(self, answer: Answer, repository: str, under: str = "referrers/") -> str | None:
        """The path of the next page (RFC 8288), of this repository alone."""
        place, _, relation = answer.headers.get("link", "").partition(">")
        if 'rel="next"' not in relation.replace("'", '"'):
            return None
        url = self._joined(answer, place.strip().removeprefix("<"))
        if not url.startswith(f"{self._root}/{repository}/{under}"):
            raise ArtifactError(f"the next page is at {shown(url)}", where=f"{self._host}/{repository}")
        return url.removeprefix(f"{self._root}/{repository}/")

    def _checked(self, repository: str, path: str, digest: str, max_bytes: int) -> bytes:
        if not is_digest(digest):
            raise UsageError(f"{digest[:100]!r} is no digest", hint="write sha256: and 64 hexadecimal digits")
        answer = self._find(repository, path, max_bytes)
        if answer is None:
            raise ArtifactError(f"the registry has no {path}", where=f"{self._host}/{repository}")
        found = bytes_digest(answer.body)
        if not same_digest(found, digest):
            raise self._lied(repository, found, digest)
        return answer.body

    def _lied(self, repository: str, found: str, digest: str) -> ArtifactError:
        return ArtifactError(
            f"the registry gave {found} for {digest}",
            where=f"{self._host}/{repository}",
            hint="do not use it: the registry, or somebody on the way, changes what it serves",
        )

    def _find(self, repository: str, path: str, max_bytes: int) -> Answer | None:
        """The answer of a GET; None for 404."""
        answer = self._call("GET", repository, path, max_bytes=max_bytes)
        return None if answer.status == 404 else self._expect(answer, repository, path, 200)

    def _expect(self, answer: Answer, repository: str, path: str, status: int) -> Answer:
        if answer.status != status:
            denied = answer.status in (401, 403)
            raise ArtifactError(
                f"the registry answers {answer.status} for {path}",
                where=f"{self._host}/{repository}",
                hint="give credentials: `docker login`, or CUSTOMHOUSE_REGISTRY_USER and …_PASSWORD" if denied else "",
            )
        return answer

    def _call(
        self,
        method: str,
        repository: str,
        path: str,
        *,
        url: str = "",
        body: bytes | Sending | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_MANIFEST,
        push: bool = False,
        sink: Callable[[bytes], object] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """One request, and a second one when the registry asks for credentials first. Raises ArtifactError."""
        where = f"{self._host}/{repository}"
        target = url or f"{self._root}/{repository}/{path}"
        blob = path.startswith("blobs/sha256:")
        try:
            for attempt in (1, 2):
                answer = request(
                    method,
                    target,
                    headers={"Accept": ", ".join(MEDIA_TYPES), **(headers or {}), **self._access.header(repository)},
                    body=body,
                    timeout_s=timeout_s or self._timeout_s,
                    max_bytes=max(max_bytes, 1 << 16),
                    authority=self._authority,
                    redirects=to_a_store if blob else _nowhere,
                    sink=sink,
                )
                if answer.status != 401 or attempt == 2:
                    break
                self._access.answer(answer, repository, push=push)
        except HttpError as error:
            raise ArtifactError(str(error), where=where) from error
        if len(answer.body) > max_bytes and answer.status == 200 and method == "GET":
            raise ArtifactError(f"{shown(target)}: the answer is larger than {max_bytes} bytes", where=where)
        return answer


def _nowhere(_: str, __: str) -> bool:
    return False
