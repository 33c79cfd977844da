"""SLSA v1 provenance (https://slsa.dev/spec/v1.0/provenance) of what a declared Job produced: a model, or a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import is_digest
from customhouse.core.errors import UsageError

BUILD_TYPE = "https://customhouse.dev/build/job/v1"
"""externalParameters: `job` ({"resource","digest"} of the declared manifest), `command`, `parameters`."""
DATA_BUILD_TYPE = "https://customhouse.dev/build/data-preparation/v1"
"""The same parameters; its subjects are datasets."""
_ROLES = ("dataset", "code", "image", "model")


OWN_REPOSITORY = "git+self"
"""The uri of a commit of the repository that declares the Job."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """What went into a build. `role` is dataset, code, image or model (a base model); `digest` is `sha256:…`.

    For code in Git, `commit` is the 40 or 64 hex digits of the commit and `digest` may be empty.
    """

    role: str
    uri: str
    digest: str = ""
    commit: str = ""

    def to_json(self) -> dict[str, Any]:
        """An in-toto ResourceDescriptor."""
        digests: dict[str, str] = {}
        if self.digest:
            digests["sha256"] = self.digest.removeprefix("sha256:")
        if self.commit:
            digests["gitCommit"] = self.commit
        return {"name": self.role, "uri": self.uri, "digest": digests}


@dataclass(frozen=True, slots=True)
class Build:
    """One run of a training Job. `job` names the declared object, `job_digest` is its manifest's digest."""

    job: str
    job_digest: str
    command: tuple[str, ...]
    dependencies: tuple[Dependency, ...]
    builder: str
    invocation: str
    started: datetime
    finished: datetime
    parameters: Mapping[str, str] = field(default_factory=dict)
    build_type: str = BUILD_TYPE


def provenance(build: Build) -> dict[str, Any]:
    """The predicate. Raises UsageError for a dependency without a digest, an odd role, or an end before the start."""
    for item in build.dependencies:
        if item.role not in _ROLES:
            raise UsageError(f"{item.role!r} is not a role", hint=f"one of {', '.join(_ROLES)}")
        if not item.commit and not is_digest(item.digest):
            raise UsageError("a dependency without a digest proves nothing", where=item.uri)
    if not is_digest(build.job_digest):
        raise UsageError(f"{build.job_digest[:80]!r} is not a digest", where=build.job)
    if build.finished < build.started:
        raise UsageError("the build ended before it began", where=build.job)
    return {
        "buildDefinition": {
            "buildType": build.build_type,
            "externalParameters": {
                "job": {"resource": build.job, "digest": build.job_digest},
                "command": list(build.command),
                "parameters": dict(build.parameters),
            },
            "internalParameters": {},
            "resolvedDependencies": [item.to_json() for item in build.dependencies],
        },
        "runDetails": {
            "builder": {"id": build.builder},
            "metadata": {
                "invocationId": build.invocation,
                "startedOn": to_rfc3339(build.started),
                "finishedOn": to_rfc3339(build.finished),
            },
        },
    }


def dependencies(predicate: Mapping[str, Any]) -> tuple[Dependency, ...]:
    """The resolved dependencies of a provenance predicate; entries without name or digest are left out."""
    definition = predicate.get("buildDefinition")
    listed = definition.get("resolvedDependencies") if isinstance(definition, Mapping) else None
    found: list[Dependency] = []
    for item in listed if isinstance(listed, list) else ():
        digests = item.get("digest") if isinstance(item, Mapping) else None
        if not isinstance(digests, Mapping):
            continue
        sha256, commit = str(digests.get("sha256", "")), str(digests.get("gitCommit", ""))
        digest = f"sha256:{sha256}" if is_digest(f"sha256:{sha256}") else ""
        if digest or commit:
            found.append(Dependency(str(item.get("name", "")), str(item.get("uri", "")), digest, commit))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Expectations:
    """What provenance must say. An empty value is not checked; every listed dependency must be among the resolved."""

    builders: Sequence[str] = ()
    job_digest: str = ""
    dataset: str = ""
    code: str = ""
    commit: str = ""


def check_provenance(predicate: Mapping[str, Any], expected: Expectations) -> tuple[str, ...]:
    """Every way in which the predicate is not what was expected; empty when it is."""
    problems: list[str] = []
    definition = _mapping(predicate, "buildDefinition")
    details = _mapping(predicate, "runDetails")
    if definition.get("buildType") != BUILD_TYPE:
        problems.append(f"buildType is {str(definition.get('buildType'))[:120]!r}, not {BUILD_TYPE}")
    builder = _mapping(details, "builder").get("id")
    if expected.builders and builder not in expected.builders:
        problems.append(f"built by {str(builder)[:120]!r}, which is not a trusted builder")
    job = _mapping(_mapping(definition, "externalParameters"), "job")
    if expected.job_digest and job.get("digest") != expected.job_digest:
        problems.append(f"built by another Job than the declared one ({str(job.get('digest'))[:80]})")
    resolved = dependencies(predicate)
    for role, digest in (("dataset", expected.dataset), ("code", expected.code)):
        if digest and not any(item.role == role and item.digest == digest for item in resolved):
            problems.append(f"the {role} {digest} is not among what went into the build")
    if expected.commit and not any(item.commit == expected.commit for item in resolved):
        problems.append(f"the commit {expected.commit} is not among what went into the build")
    problems.extend(_time_problems(_mapping(details, "metadata")))
    return tuple(problems)


def _time_problems(metadata: Mapping[str, Any]) -> list[str]:
    try:
        started, finished = (from_rfc3339(str(metadata.get(key))) for key in ("startedOn", "finishedOn"))
    except ValueError:
        return ["startedOn or finishedOn is not a time"]
    return ["it finished before it started"] if finished < started else []


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}
