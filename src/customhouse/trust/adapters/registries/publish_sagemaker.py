"""Models registered in SageMaker: files and evidence in S3, by their digest, then a version of a group that names them.

`sagemaker://GROUP?files=s3://BUCKET/PREFIX&image=IMAGE`: SageMaker keeps no files, and a version says by which image it
is served. The version is made last, and waits for somebody's approval; the API asks for the caller's keys as any other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.adapters.registries.publish_s3 import S3Models
from customhouse.trust.adapters.registries.s3 import Place
from customhouse.trust.adapters.registries.sagemaker import Package, SageMakerStore
from customhouse.trust.publishing import DIGEST_TAG, VERDICT_TAG, Parcel, Published, Settle
from customhouse.trust.remote import Exposure

_HOW = "sagemaker://GROUP?files=s3://BUCKET/PREFIX&image=REGISTRY/IMAGE@sha256:…"
_IMAGE = re.compile(r"[\S]{1,255}")
_MAX_LOOKED_AT = 100
"""Versions of a group that are asked whether they are of these files already, newest first."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a version goes: the group, the S3 prefix of its files, and the image that serves it."""

    group: str
    files: str
    image: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Raises UsageError."""
        name, _, query = text.partition("?")
        package = Package.parse(name)
        said = parse_qs(query, keep_blank_values=True)
        files, image = (said.get(key, [""]) for key in ("files", "image"))
        known = said.keys() <= {"files", "image"} and len(files) == len(image) == 1
        if package.version is not None or not known or not _IMAGE.fullmatch(image[0]):
            raise UsageError("where its files go and by which image it is served is not said", where=text, hint=_HOW)
        place = Place.parse(files[0])
        if not place.key or place.version:
            raise UsageError("the files go below a prefix", where=text, hint=_HOW)
        return cls(package.group, f"s3://{place.bucket}/{place.key}", image[0])


class SageMakerModels:
    """The groups of one account and region."""

    def __init__(self, store: SageMakerStore, files: S3Models) -> None:
        self._store, self._files = store, files

    def publish(self, target: str, parcel: Parcel, settle: Settle) -> Published:
        """The files and the evidence below their digest, then the version, unless one names these files already."""
        asked = Target.parse(target)
        place = f"{asked.files}/{parcel.hex}"
        put = self._files.publish(place, parcel, settle)
        self._require_group(asked.group, target)
        number = self._known(asked, place, parcel, target)
        if number is None:
            number = self._made(asked, place, parcel, target)
        return Published(f"sagemaker://{asked.group}/{number}@{parcel.digest}", put.sent, put.there)

    def evidence(self, reference: str, digest: str) -> tuple[tuple[str, bytes], ...]:
        """What lies beside the files of a version."""
        plain = reference.partition("@sha256:")[0]
        found: list[tuple[str, bytes]] = []
        for place in self._store.places(plain):
            found += self._files.evidence(place, digest)
        return tuple(found)

    def exposure(self, reference: str, *, probe: bool = False) -> Exposure:
        """What the bucket of the files says of itself; who may write to the group is told by the account alone."""
        note = "who may write to a group of models is told by the account's policies alone"
        try:
            places = self._store.places(reference.partition("@sha256:")[0])
            found = self._files.exposure(places[0], probe=probe)
        except ArtifactError:
            return Exposure(notes=(note,))
        return Exposure(found.public_write, found.versioned, found.logged, (*found.notes, note))

    def _require_group(self, group: str, where: str) -> None:
        """The group is made where there is none."""
        body = {"ModelPackageGroupName": group}
        try:
            self._store.ask("DescribeModelPackageGroup", body, where)
        except ArtifactError:
            self._store.ask("CreateModelPackageGroup", body, where)

    def _known(self, asked: Target, place: str, parcel: Parcel, where: str) -> int | None:
        """The version that names these files; its words are held against the place, and the bytes were there."""
        for said in self._versions(asked.group, where):
            tags = said.get("CustomerMetadataProperties")
            own = tags.get(DIGEST_TAG) if isinstance(tags, Mapping) else None
            number = said.get("ModelPackageVersion")
            if own == parcel.digest and isinstance(number, int) and self._store.named(said, where) == [f"{place}/"]:
                return number
        return None

    def _versions(self, group: str, where: str) -> Iterator[Mapping[str, Any]]:
        query = {"ModelPackageGroupName": group, "SortBy": "CreationTime", "SortOrder": "Descending"}
        page = self._store.ask("ListModelPackages", {**query, "MaxResults": _MAX_LOOKED_AT}, where)
        for item in (page.get("ModelPackageSummaryList") or [])[:_MAX_LOOKED_AT]:
            arn = item.get("ModelPackageArn") if isinstance(item, Mapping) else None
            if isinstance(arn, str):
                yield self._store.ask("DescribeModelPackage", {"ModelPackageName": arn}, where)

    def _made(self, asked: Target, place: str, parcel: Parcel, where: str) -> int:
        source = {"S3Uri": f"{place}/", "S3DataType": "S3Prefix", "CompressionType": "None"}
        made = self._store.ask(
            "CreateModelPackage",
            {
                # Asked twice (an answer that was lost), it is one version.
                "ClientToken": hashlib.sha256(f"{asked.group}\n{place}\n{asked.image}".encode()).hexdigest()[:36],
                "ModelPackageGroupName": asked.group,
                "ModelPackageDescription": f"{parcel.name} {parcel.version}"[:1024],
                "ModelApprovalStatus": "PendingManualApproval",
                "CustomerMetadataProperties": {DIGEST_TAG: parcel.digest, VERDICT_TAG: parcel.verdict},
                "InferenceSpecification": {
                    "Containers": [{"Image": asked.image, "ModelDataSource": {"S3DataSource": source}}],
                    "SupportedContentTypes": ["application/json"],
                    "SupportedResponseMIMETypes": ["application/json"],
                },
            },
            where,
        )
        arn = str(made.get("ModelPackageArn", ""))
        number = self._store.ask("DescribeModelPackage", {"ModelPackageName": arn}, where).get("ModelPackageVersion")
        if not isinstance(number, int):
            raise ArtifactError("SageMaker names no version for what was registered", where=where)
        return number
