"""A thin client of S3-compatible object stores: list, read by version and ETag, write, and ask who may write.

Amazon S3 API Reference (2006-03-01). An ETag is no digest (parts, encryption): what counts is the SHA-256 of what came.
Plain http is spoken with loopback alone; a redirect is never followed, so that what was signed for one host reaches no
other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree.ElementTree import Element, ParseError, XMLParser
from xml.sax.saxutils import escape

from customhouse._kit.clock import Clock
from customhouse._kit.http import Answer, HttpError, request
from customhouse._kit.sigv4 import EMPTY, Keys, canonical_query, signed
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.remote import Exposure, Located, RemoteFile, Take

MAX_FILES = 100_000
MAX_OBJECT = 5 << 40
"""The largest object that S3 keeps: 5 TiB."""
PART = 64 << 20
_MAX_ANSWER = 8 << 20
_TRIES = 5
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_EVERYBODY = ("http://acs.amazonaws.com/groups/global/AllUsers", "/groups/global/AuthenticatedUsers")


@dataclass(frozen=True, slots=True)
class Place:
    """`s3://bucket/key`, or a prefix; `version` is that of one object."""

    bucket: str
    key: str
    version: str = ""

    @classmethod
    def parse(cls, reference: str) -> Place:
        """Raises UsageError."""
        parts = urlsplit(reference)
        key = parts.path.removeprefix("/")
        if (
            parts.scheme != "s3"
            or _BUCKET.fullmatch(parts.netloc) is None
            or parts.fragment
            or len(key.encode()) > 1024
        ):
            raise UsageError(f"{reference[:200]!r} is no object", hint="s3://BUCKET/KEY, or s3://BUCKET/PREFIX")
        asked = parse_qs(parts.query, keep_blank_values=True)
        if asked.keys() - {"versionId"}:
            raise UsageError(f"{reference[:200]!r} asks for what S3 has not", hint="only ?versionId=…")
        return cls(parts.netloc, key.rstrip("/"), asked.get("versionId", [""])[0])


class S3Store:
    """The buckets of one endpoint (None: Amazon's). Without keys nothing is signed: public buckets alone answer."""

    def __init__(
        self,
        clock: Clock,
        keys: Keys | None,
        *,
        region: str = "us-east-1",
        endpoint: str | None = None,
        authority: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._clock, self._keys, self._region = clock, keys, region
        self._endpoint = None if endpoint is None else endpoint.rstrip("/")
        self._authority, self._timeout_s = authority, timeout_s

    def locate(self, reference: str) -> Located:
        """One object of that key, or all below it as a folder. Versions are pinned where the bucket keeps them."""
        place = Place.parse(reference)
        if place.key and (found := self._head(place)) is not None:
            pin = {key: value for key, value in found.pin.items() if key != "key"}
            version = f"?versionId={quote(pin['version'], safe='')}" if "version" in pin else ""
            return Located(f"s3://{place.bucket}/{place.key}{version}", (found,))
        if place.version:
            raise ArtifactError(f"there is no version {place.version[:100]} of it", where=reference)
        prefix = f"{place.key}/" if place.key else ""
        listed = tuple(self._list(place.bucket, prefix, reference))
        if not listed:
            raise ArtifactError("there is no such object, and nothing below it", where=reference)
        heads = (self._head(Place(place.bucket, prefix + path), path) for path, _ in listed)
        files = tuple(file for file in heads if file is not None)
        if len(files) != len(listed):
            raise ArtifactError("an object went away while it was looked at", where=reference)
        return Located(f"s3://{place.bucket}/{place.key}", files)

    def fetch(self, located: Located, file: RemoteFile, take: Take) -> None:
        """The object as it was when it was located; one that was written since is an error. Goes on where it broke."""
        place = Place.parse(located.reference)
        query = {"versionId": file.pin["version"]} if "version" in file.pin else {}
        at, hasher = 0, hashlib.sha256()

        def piece(data: bytes) -> None:
            nonlocal at
            at += len(data)
            if at > file.size:
                raise ArtifactError(
                    f"more came than the {file.size} bytes that it said", where=_shown(place.bucket, file)
                )
            hasher.update(data)
            take(data)

        for attempt in range(1, _TRIES + 1):
            headers = {"If-Match": file.pin["etag"]} if "etag" in file.pin else {}
            if at:
                headers["Range"] = f"bytes={at}-"
            try:
                answer = self._ask(
                    "GET", place.bucket, file.pin["key"], query, headers,
                    sink=piece, max_bytes=file.size - at + _MAX_ANSWER, timeout_s=self._timeout_s + file.size / 1e6,
                )  # fmt: skip
            except ArtifactError:
                if attempt == _TRIES or at > file.size:
                    raise
                continue
            if answer.status == 412:
                raise ArtifactError("it was written anew since it was resolved", where=_shown(place.bucket, file))
            if answer.status != (206 if "Range" in headers else 200):
                raise self._refused(answer, _shown(place.bucket, file))
            break
        if at != file.size:
            raise ArtifactError(f"{at} bytes came of {file.size}", where=_shown(place.bucket, file))
        if file.digest is not None and f"sha256:{hasher.hexdigest()}" != file.digest:
            raise ArtifactError(
                f"what came has the digest sha256:{hasher.hexdigest()}, the store says {file.digest}",
                where=_shown(place.bucket, file),
                hint="do not use it: the store, or somebody on the way, changes what it serves",
            )

    def below(self, bucket: str, prefix: str) -> tuple[RemoteFile, ...]:
        """The objects below a prefix that ends in `/`; none is an empty tuple."""
        listed = [path for path, _ in self._list(bucket, prefix, f"s3://{bucket}/{prefix}")]
        heads = (self._head(Place(bucket, prefix + path), path) for path in listed)
        return tuple(file for file in heads if file is not None)

    def put(self, bucket: str, key: str, source: Path) -> RemoteFile:
        """Write one object, in parts when it is large; the store checks each part against its SHA-256."""
        with source.open("rb") as data:
            return self._written(bucket, key, data, source.stat().st_size, {}, None)

    def put_new(self, bucket: str, key: str, data: IO[bytes], size: int, digest: str, watch: Take) -> RemoteFile:
        """Write an object where none is. `watch` is told each piece, and raises when it is another file's."""
        found = self._written(bucket, key, data, size, {"If-None-Match": "*"}, watch)
        if found.digest not in (None, digest):
            raise ArtifactError("what was written is not what was sent", where=f"s3://{bucket}/{key}")
        return found

    def _written(
        self, bucket: str, key: str, data: IO[bytes], size: int, condition: Mapping[str, str], watch: Take | None
    ) -> RemoteFile:
        tell = watch or (lambda _: None)
        if size <= PART:
            body = data.read(PART + 1)
            tell(body)
            self._put(bucket, key, {}, body, condition)
        else:
            self._put_parts(bucket, key, data, condition, tell)
        found = self._head(Place(bucket, key))
        if found is None or found.size != size:
            raise ArtifactError("what was written is not there, or another size", where=f"s3://{bucket}/{key}")
        return found

    def exposure(self, bucket: str) -> Exposure:
        """Who may write, as far as the keys may ask: ACL, policy status, versioning and access log of the bucket."""
        acl = self._about(bucket, "acl")
        policy = self._about(bucket, "policyStatus")
        versioning, logging = self._about(bucket, "versioning"), self._about(bucket, "logging")
        return Exposure(
            public_write=_public(acl, policy),
            versioned=None if versioning is None else versioning.findtext("{*}Status") == "Enabled",
            logged=None if logging is None else logging.find("{*}LoggingEnabled") is not None,
        )

    def _about(self, bucket: str, name: str) -> Element | None:
        try:
            answer = self._ask("GET", bucket, "", {name: ""})
            return _xml(answer.body, f"s3://{bucket}") if answer.status == 200 else None
        except ArtifactError:
            return None

    def _head(self, place: Place, path: str = "") -> RemoteFile | None:
        query = {"versionId": place.version} if place.version else {}
        answer = self._ask("HEAD", place.bucket, place.key, query, {"x-amz-checksum-mode": "ENABLED"})
        where = f"s3://{place.bucket}/{place.key}"
        if answer.status == 404:
            return None
        size = answer.headers.get("content-length", "")
        if answer.status != 200 or not size.isdigit():
            raise self._refused(answer, where)
        version, etag = answer.headers.get("x-amz-version-id", ""), answer.headers.get("etag", "")
        pin = {"key": place.key, "etag": etag, "version": "" if version == "null" else version}
        name = path or place.key.rpartition("/")[2]
        return RemoteFile(name, int(size), _checksum(answer), {key: value for key, value in pin.items() if value})

    def _list(self, bucket: str, prefix: str, where: str) -> Iterator[tuple[str, int]]:
        token, count = "", 0
        while True:
            query = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
            answer = self._ask("GET", bucket, "", query)
            if answer.status != 200:
                raise self._refused(answer, where)
            page = _xml(answer.body, where)
            for item in page.iterfind("{*}Contents"):
                key, size = item.findtext("{*}Key") or "", item.findtext("{*}Size") or ""
                count += 1
                if not key.startswith(prefix) or not size.isdigit() or count > MAX_FILES:
                    raise ArtifactError(
                        f"a list of objects that is not understood, or of more than {MAX_FILES}", where=where
                    )
                if not key.endswith("/"):  # what consoles write for an empty folder
                    yield key.removeprefix(prefix), int(size)
            following = page.findtext("{*}NextContinuationToken") or ""
            if page.findtext("{*}IsTruncated") != "true":
                return
            if not following or following == token:
                raise ArtifactError("a list of objects without an end", where=where)
            token = following

    def _put(
        self, bucket: str, key: str, query: Mapping[str, str], body: bytes, condition: Mapping[str, str] | None = None
    ) -> Answer:
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        headers = {"x-amz-checksum-sha256": checksum, **(condition or {})}
        timeout_s = self._timeout_s + len(body) / 1e6
        answer = self._ask("PUT", bucket, key, query, headers, body=body, timeout_s=timeout_s)
        if answer.status != 200:
            raise self._refused(answer, f"s3://{bucket}/{key}")
        return answer

    def _put_parts(self, bucket: str, key: str, data: IO[bytes], condition: Mapping[str, str], tell: Take) -> None:
        where = f"s3://{bucket}/{key}"
        begun = self._ask("POST", bucket, key, {"uploads": ""}, {"x-amz-checksum-algorithm": "SHA256"})
        upload = _xml(begun.body, where).findtext("{*}UploadId") if begun.status == 200 else None
        if not upload:
            raise self._refused(begun, where)
        try:
            self._write_parts(bucket, key, upload, data, condition, tell)
        except BaseException:
            self._ask("DELETE", bucket, key, {"uploadId": upload})  # parts that stay are paid for
            raise

    def _write_parts(
        self, bucket: str, key: str, upload: str, data: IO[bytes], condition: Mapping[str, str], tell: Take
    ) -> None:
        rows: list[str] = []
        while body := data.read(PART):
            tell(body)
            number = len(rows) + 1
            answer = self._put(bucket, key, {"partNumber": str(number), "uploadId": upload}, body)
            checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
            tag = escape(answer.headers.get("etag", ""))
            rows.append(
                f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag>"
                f"<ChecksumSHA256>{checksum}</ChecksumSHA256></Part>"
            )
        document = f"<CompleteMultipartUpload>{''.join(rows)}</CompleteMultipartUpload>".encode()
        tell(b"")
        done = self._ask("POST", bucket, key, {"uploadId": upload}, condition, body=document, timeout_s=600)
        if done.status != 200 or _CODE.search(done.body):  # a 200 may carry an error here
            raise self._refused(done, f"s3://{bucket}/{key}")

    def _ask(
        self,
        method: str,
        bucket: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        sink: Take | None = None,
        max_bytes: int = _MAX_ANSWER,
        timeout_s: float | None = None,
    ) -> Answer:
        asked = canonical_query("&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in query.items()))
        region = self._region
        for attempt in (1, 2):
            url = self._url(bucket, key, region) + (f"?{asked}" if asked else "")
            sent = dict(headers or {})
            if self._keys is not None:
                payload = EMPTY if not body else hashlib.sha256(body).hexdigest()
                sent = signed(method, url, sent, payload, self._keys, region, self._clock.now())
            try:
                answer = request(
                    method,
                    url,
                    headers=sent,
                    body=body,
                    timeout_s=timeout_s or self._timeout_s,
                    max_bytes=max(max_bytes, 1 << 16) if sink is None else max_bytes,
                    authority=self._authority,
                    redirects=_nowhere,
                    sink=sink,
                )
            except HttpError as error:
                raise ArtifactError(str(error), where=f"s3://{bucket}/{key}") from error
            told = answer.headers.get("x-amz-bucket-region", "")
            # Amazon's own buckets say where they live; another endpoint has one region, whatever it says.
            if attempt == 2 or self._endpoint is not None or answer.status not in (301, 400) or told in ("", region):
                break
            if re.fullmatch(r"[a-z0-9-]{1,32}", told) is None:
                break
            region = self._region = told
        return answer

    def _url(self, bucket: str, key: str, region: str) -> str:
        path = quote(key, safe="-_.~/")
        if self._endpoint is not None:
            return f"{self._endpoint}/{bucket}/{path}" if key else f"{self._endpoint}/{bucket}"
        if "." in bucket:  # the certificate's wildcard covers one label
            return f"https://s3.{region}.amazonaws.com/{bucket}/{path}"
        return f"https://{bucket}.s3.{region}.amazonaws.com/{path}"

    def _refused(self, answer: Answer, where: str) -> ArtifactError:
        code = _CODE.search(answer.body)
        reason = f" ({code.group(1).decode()})" if code else ""
        denied = answer.status in (401, 403)
        if answer.status == 412:
            return ArtifactError("there is an object of that name already", where=where)
        return ArtifactError(
            f"the store answers {answer.status}{reason}",
            where=where,
            hint="give keys that may do this: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            if denied
            else "",
        )


def _checksum(answer: Answer) -> str | None:
    """The SHA-256 of the whole object, where the store keeps one; one made of parts ends in their number."""
    try:
        value = base64.b64decode(answer.headers.get("x-amz-checksum-sha256", ""), validate=True)
    except (binascii.Error, ValueError):
        return None
    whole = answer.headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT"
    return f"sha256:{value.hex()}" if len(value) == 32 and whole else None


def _public(acl: Element | None, policy: Element | None) -> bool | None:
    if policy is not None and (policy.findtext("{*}IsPublic") or "").lower() == "true":
        return True  # who may read or who may write is not told apart: the worse is said
    if acl is None:
        return None
    for grant in acl.iterfind(".//{*}Grant"):
        uri, may = grant.findtext(".//{*}URI") or "", grant.findtext("{*}Permission") or ""
        if uri.endswith(_EVERYBODY) and may in ("WRITE", "WRITE_ACP", "FULL_CONTROL"):
            return True
    return False if policy is not None else None


def _xml(body: bytes, where: str) -> Any:
    """An answer. Documents with a DOCTYPE are refused: entities are how a small one becomes a large one."""
    parser = XMLParser()  # noqa: S314 - bounded in size, and refused with a DOCTYPE
    try:
        if b"<!" in body.replace(b"<![CDATA[", b""):
            raise ArtifactError("the answer has a document type, which no S3 answer has", where=where)
        parser.feed(body)
        return parser.close()
    except ParseError as error:
        raise ArtifactError(f"the answer is no XML: {error}", where=where) from error


def _shown(bucket: str, file: RemoteFile) -> str:
    return f"s3://{bucket}/{file.pin.get('key', file.path)}"


def _nowhere(_: str, __: str) -> bool:
    return False
