"""Amazon SageMaker's Model Registry: a group's version (or its newest approved one) becomes the S3 objects it names.

Its JSON protocol, signed by our own Signature Version 4: nothing of Amazon's SDK is needed. Approval is a claim of
that registry: it is told, and decides nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from customhouse._kit.amazon import AmazonApi, AmazonError
from customhouse._kit.clock import Clock
from customhouse._kit.sigv4 import Keys
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.remote import Located, ModelStore, RemoteFile, Take

_MAX_PAGES = 50
_REFERENCE = re.compile(r"sagemaker://([A-Za-z0-9](?:-*[A-Za-z0-9]){0,62})(?:/([0-9]{1,9}))?")
_ERROR = re.compile(rb'"__type":\s*"(?:[\w.]*#)?(\w{1,64})"')


@dataclass(frozen=True, slots=True)
class Package:
    """`sagemaker://GROUP/VERSION`; without a version the newest that is approved."""

    group: str
    version: int | None = None

    @classmethod
    def parse(cls, reference: str) -> Package:
        """Raises UsageError."""
        found = _REFERENCE.fullmatch(reference)
        if found is None:
            raise UsageError(
                f"{reference[:200]!r} is no model package", hint="sagemaker://GROUP or sagemaker://GROUP/VERSION"
            )
        return cls(found[1], int(found[2]) if found[2] else None)


class SageMakerStore:
    """The registry of one account and region; the files come through `objects`, an S3 store."""

    def __init__(
        self,
        clock: Clock,
        keys: Keys | None,
        objects: ModelStore,
        *,
        region: str,
        endpoint: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._objects = objects
        address = endpoint or f"https://api.sagemaker.{region}.amazonaws.com"
        self._api = AmazonApi("sagemaker", region, keys, clock, address, timeout_s)

    def locate(self, reference: str) -> Located:
        """The version that is meant now, and the objects that it names."""
        asked = Package.parse(reference)
        found, said = self._described(asked, reference)
        arn = str(found.get("ModelPackageArn", ""))
        files = tuple(file for place in _places(said, reference) for file in self._files(place))
        if not files or len({file.path for file in files}) != len(files):
            raise ArtifactError("its containers name no files, or two of one name", where=reference)
        claims = {"registry": "sagemaker", "arn": arn[:300], "approval": str(said.get("ModelApprovalStatus", ""))[:40]}
        return Located(f"sagemaker://{asked.group}/{found['ModelPackageVersion']}", files, claims)

    def fetch(self, located: Located, file: RemoteFile, take: Take) -> None:
        """The object as it was when it was located."""
        pin = {key: value for key, value in file.pin.items() if key != "store"}
        self._objects.fetch(Located(file.pin["store"], ()), replace(file, pin=pin), take)

    def places(self, reference: str) -> list[str]:
        """The objects that a version names. Raises ArtifactError for a version without any."""
        found = self.named(self._described(Package.parse(reference), reference)[1], reference)
        if not found:
            raise ArtifactError("its containers name no files", where=reference)
        return found

    @staticmethod
    def named(package: Mapping[str, Any], where: str) -> list[str]:
        """The objects of a version, as `DescribeModelPackage` tells them. Raises ArtifactError."""
        return list(_places(package, where))

    def _described(self, asked: Package, where: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """A version as the list of its group has it, and as it is described."""
        found = self._package(asked, where)
        arn = str(found.get("ModelPackageArn", ""))
        return found, self.ask("DescribeModelPackage", {"ModelPackageName": arn}, where)

    def _files(self, place: str) -> Iterator[RemoteFile]:
        found = self._objects.locate(place)
        for file in found.files:
            yield replace(file, pin={**file.pin, "store": found.reference})

    def _package(self, asked: Package, where: str) -> Mapping[str, Any]:
        query: dict[str, Any] = {
            "ModelPackageGroupName": asked.group,
            "SortBy": "CreationTime",
            "SortOrder": "Descending",
        }
        if asked.version is None:
            query["ModelApprovalStatus"] = "Approved"
        for _ in range(_MAX_PAGES):
            page = self.ask("ListModelPackages", query, where)
            for item in page.get("ModelPackageSummaryList") or []:
                version = item.get("ModelPackageVersion") if isinstance(item, dict) else None
                if isinstance(version, int) and asked.version in (None, version):
                    return item  # type: ignore[no-any-return]
            token = page.get("NextToken")
            if not isinstance(token, str) or not token:
                break
            query["NextToken"] = token
        wanted = "approved version" if asked.version is None else f"version {asked.version}"
        raise ArtifactError(f"the group has no {wanted}", where=where)

    def ask(self, action: str, body: Mapping[str, Any], where: str) -> dict[str, Any]:
        """One call of the API. Raises ArtifactError."""
        try:
            return self._api.ask(f"SageMaker.{action}", body)
        except AmazonError as error:
            hint = "give keys that may do this: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            message = str(error).replace("sagemaker answers", "SageMaker answers")
            raise ArtifactError(
                message, where=where, hint=hint if error.code or "answers" in message else ""
            ) from error


def _places(package: Mapping[str, Any], where: str) -> Iterator[str]:
    """The objects of every container. Raises ArtifactError."""
    try:
        for container in package["InferenceSpecification"]["Containers"]:
            source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
            place = source.get("S3Uri") or container.get("ModelDataUrl")
            if place is not None:
                yield str(place)
    except (KeyError, TypeError, AttributeError):
        raise ArtifactError("the package names no files", where=where) from None
