"""Provenance as others write it, in one form: SLSA v1 read strictly, v0.2 mapped to it.

Sources: https://slsa.dev/spec/v1.1/provenance and https://slsa.dev/spec/v0.2/provenance; the build types of GitHub's
attestations (`actions.github.io/buildtypes/workflow/v1`), slsa-github-generator (generic, v0.2; container-based and
delegated, v1), Tekton Chains (`tekton.dev/chains/v2/slsa…`, and v0.2), GitLab (runner, v0.2 and v1), and what
`cosign attest --type slsaprovenance|slsaprovenance1` puts around any of them. A predicate is untrusted: it is read with
limits, and what is not understood is an EvidenceError with the JSON pointer of the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from customhouse._kit.clock import from_rfc3339
from customhouse._kit.digest import is_digest
from customhouse.core.errors import EvidenceError

V1 = "https://slsa.dev/provenance/v1"
V02 = "https://slsa.dev/provenance/v0.2"
MAX_MATERIALS = 10_000
"""A container build of a monorepo resolves some thousands."""
MAX_TEXT = 8192
MAX_ADDRESS = 2048
"""Of a material's name and uri: each is held against patterns."""
MAX_PARAMETERS = 2000
"""Leaves of the external parameters; GitLab passes some 150 variables."""
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_LENGTHS = {"sha256": 64, "sha512": 128, "sha384": 96, "sha1": 40, "gitCommit": 0, "md5": 32}
_COMMITS = (40, 64)


@dataclass(frozen=True, slots=True)
class Material:
    """Something that went into a build. `at` is its JSON pointer in the predicate; digests are hex by algorithm."""

    name: str
    uri: str
    digests: Mapping[str, str]
    at: str

    @property
    def digest(self) -> str:
        """`sha256:…`, or empty."""
        found = f"sha256:{self.digests.get('sha256', '')}"
        return found if is_digest(found) else ""

    @property
    def commit(self) -> str:
        """The Git commit, or empty. GitLab files one of 40 digits under `sha256`; others call it sha1."""
        said = self.digests.get("gitCommit") or ""
        if said:
            return said
        short = [self.digests.get(name, "") for name in ("sha1", "sha256")]
        git = self.uri.startswith("git+") or ".git" in self.uri or len(short[1]) == _COMMITS[0]
        return next((item for item in short if len(item) == _COMMITS[0]), "") if git else ""

    @property
    def label(self) -> str:
        """How people would call it."""
        return self.name or self.uri or self.at


@dataclass(frozen=True, slots=True)
class SourceOfBuild:
    """The repository that a build says it was given. `repository` is normalised; empty texts where it says nothing."""

    repository: str
    ref: str
    commit: str
    at: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """What provenance says, whoever wrote it. `parameters` are the leaves of the external parameters by their place."""

    build_type: str
    builder: str
    builder_versions: Mapping[str, str]
    parameters: Mapping[str, str]
    materials: tuple[Material, ...]
    source: SourceOfBuild | None
    invocation: str
    started: datetime | None
    finished: datetime | None
    byproducts: int


def read_provenance(predicate: Mapping[str, Any], where: str = "provenance") -> Provenance:
    """Read an SLSA v1 predicate (of v0.2: what `as_v1` makes of it).

    1. what was built, how and from what; 2. who built it, and when; 3. what it was given as source.
    Raises EvidenceError, naming the JSON pointer, for what is missing, of another type, or beyond the limits.
    """
    reader = _Reader(where)
    # 1.
    definition = reader.mapping(predicate, "buildDefinition", "")
    external = reader.mapping(definition, "externalParameters", "/buildDefinition")
    reader.optional_mapping(definition, "internalParameters", "/buildDefinition")
    materials = tuple(reader.materials(definition.get("resolvedDependencies")))
    # 2.
    details = reader.mapping(predicate, "runDetails", "")
    builder = reader.mapping(details, "builder", "/runDetails")
    metadata = reader.optional_mapping(details, "metadata", "/runDetails")
    started, finished = (reader.time(metadata, key) for key in ("startedOn", "finishedOn"))
    if started is not None and finished is not None and finished < started:
        reader.fail("/runDetails/metadata/finishedOn", "it finished before it started")
    byproducts = details.get("byproducts")
    byproducts = () if byproducts is None else byproducts
    if not isinstance(byproducts, (list, tuple)):
        reader.fail("/runDetails/byproducts", "not a list")
    versions = reader.optional_mapping(builder, "version", "/runDetails/builder")
    return Provenance(
        build_type=reader.text(definition, "buildType", "/buildDefinition"),
        builder=reader.text(builder, "id", "/runDetails/builder"),
        builder_versions={str(key)[:MAX_TEXT]: str(value)[:MAX_TEXT] for key, value in versions.items()},
        parameters=dict(reader.leaves(external)),
        materials=materials,
        # 3.
        source=_source(external, materials),
        invocation=reader.optional_text(metadata, "invocationId", "/runDetails/metadata"),
        started=started,
        finished=finished,
        byproducts=len(byproducts),
    )


def as_v1(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """A v0.2 predicate in the form of v1: nothing is added, and what has no place there stays away.

    `invocation.parameters` and `configSource` become external parameters (the user decides them), `environment` an
    internal one, `materials` the resolved dependencies.
    """
    invocation, metadata = _mapping(predicate.get("invocation")), _mapping(predicate.get("metadata"))
    external: dict[str, Any] = {}
    parameters = invocation.get("parameters")
    if isinstance(parameters, Mapping):
        external.update(parameters)
    elif parameters is not None:
        external["parameters"] = parameters
    if "configSource" in invocation:
        external["configSource"] = invocation["configSource"]
    said = {
        "invocationId": metadata.get("buildInvocationId", metadata.get("buildInvocationID")),
        "startedOn": metadata.get("buildStartedOn"),
        "finishedOn": metadata.get("buildFinishedOn"),
    }
    definition = {"buildType": predicate.get("buildType"), "externalParameters": external}
    environment = invocation.get("environment")
    if isinstance(environment, Mapping):
        definition["internalParameters"] = {"environment": environment}
    materials = predicate.get("materials")
    definition["resolvedDependencies"] = [] if materials is None else materials
    details = {
        "builder": predicate.get("builder"),
        "metadata": {key: value for key, value in said.items() if value is not None},
    }
    return {"buildDefinition": definition, "runDetails": details}


def repository_of(uri: str) -> str:
    """A repository's address as it is compared: no `git+`, user, ref, `.git` or last slash; host in small letters."""
    text = uri.strip().removeprefix("git+").partition("#")[0]
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text.rstrip("/").removesuffix(".git")
    host, slash, path = rest.partition("/")
    # Who asks is no part of the address (and may be a password); what follows an @ in the path is a ref.
    address = f"{host.rpartition('@')[2].lower()}{slash}{path.partition('@')[0]}"
    return f"{scheme.lower()}://{address.rstrip('/').removesuffix('.git')}"


def ref_of(uri: str) -> str:
    """The ref of `git+https://host/path@refs/heads/main`; empty without one."""
    tail = uri.partition("@refs/")[2].partition("#")[0]
    return f"refs/{tail}" if tail else ""


def _source(external: Mapping[str, Any], materials: Sequence[Material]) -> SourceOfBuild | None:
    """What the build was given as its source, by the forms in use; the commit is that of the resolved dependency.

    Where commits of one repository disagree there is none: an expectation must not be met by choosing one.
    """
    for key, repository, ref, commit in _declared_sources(external):
        address = repository_of(repository)
        if not address:
            continue
        same = [item for item in materials if item.commit and repository_of(item.uri) == address]
        commits = {item.commit for item in same} | ({commit} if commit else set())
        refs = {ref_of(item.uri) for item in same} - {""}
        at = same[0].at if same and not commit else f"/buildDefinition/externalParameters/{key}"
        said = ref or ref_of(repository) or (next(iter(refs)) if len(refs) == 1 else "")
        return SourceOfBuild(address, said, next(iter(commits)) if len(commits) == 1 else "", at)
    # Builders whose parameters name none: Tekton's input, else the one Git material; of two nobody knows which.
    git = [item for item in materials if item.commit]
    inputs = [item for item in git if item.name.startswith("inputs/")]
    chosen = inputs if len(inputs) == 1 else git
    if len(chosen) == 1:
        found = chosen[0]
        return SourceOfBuild(repository_of(found.uri), ref_of(found.uri), found.commit, found.at)
    return None


def _declared_sources(external: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """(parameter, repository, ref, commit), the most exact form first."""
    workflow = _mapping(external.get("workflow"))  # GitHub's attestations, delegated builders
    if isinstance(workflow.get("repository"), str):
        yield "workflow", workflow["repository"], _text(workflow.get("ref")), ""
    for key in ("configSource", "source"):
        said = external.get(key)
        if isinstance(said, str):  # GitLab v1
            yield key, said, "", ""
        part = _mapping(said)
        address = part.get("uri", part.get("repository"))
        if isinstance(address, str):
            digests = _mapping(part.get("digest"))
            # Under `sha256` GitLab's runner files the commit, which has 40 digits.
            commits = [_text(digests.get(name)) for name in ("gitCommit", "sha1", "sha256")]
            commit = next((item for item in commits if len(item) == 40 and _HEX.fullmatch(item)), "")
            yield key, address, _text(part.get("ref")), commit
    if isinstance(external.get("repository"), str):
        yield "repository", external["repository"], _text(external.get("ref")), ""


class _Reader:
    """Fields by name and type; every refusal has the pointer of its place."""

    def __init__(self, where: str) -> None:
        self._where = where

    def fail(self, at: str, problem: str) -> NoReturn:
        raise EvidenceError(f"{problem} ({at})", where=self._where, hint="have the builder write SLSA v1 provenance")

    def mapping(self, values: Mapping[str, Any], key: str, at: str) -> Mapping[str, Any]:
        value = values.get(key)
        if not isinstance(value, Mapping):
            self.fail(f"{at}/{key}", f"{key} is missing" if value is None else f"{key} is not an object")
        return value

    def optional_mapping(self, values: Mapping[str, Any], key: str, at: str) -> Mapping[str, Any]:
        return {} if values.get(key) is None else self.mapping(values, key, at)

    def text(self, values: Mapping[str, Any], key: str, at: str) -> str:
        value = values.get(key)
        if not isinstance(value, str) or not value:
            self.fail(f"{at}/{key}", f"{key} is missing" if value in (None, "") else f"{key} is not text")
        if len(value) > MAX_TEXT:
            self.fail(f"{at}/{key}", f"{key} is longer than {MAX_TEXT} characters")
        return value

    def optional_text(self, values: Mapping[str, Any], key: str, at: str) -> str:
        return "" if values.get(key) in (None, "") else self.text(values, key, at)

    def time(self, metadata: Mapping[str, Any], key: str) -> datetime | None:
        at = f"/runDetails/metadata/{key}"
        text = self.optional_text(metadata, key, "/runDetails/metadata")
        try:
            return from_rfc3339(text) if text else None
        except ValueError:
            self.fail(at, f"{key} is not a time")

    def materials(self, listed: Any) -> Iterator[Material]:
        at = "/buildDefinition/resolvedDependencies"
        if listed is None:
            return
        if not isinstance(listed, (list, tuple)):
            self.fail(at, "not a list")
        if len(listed) > MAX_MATERIALS:
            self.fail(at, f"{len(listed)} materials; at most {MAX_MATERIALS} are read")
        for index, item in enumerate(listed):
            place = f"{at}/{index}"
            if not isinstance(item, Mapping):
                self.fail(place, "not an object")
            digests = {}
            for name, value in self.optional_mapping(item, "digest", place).items():
                text = str(value).lower() if isinstance(value, str) else ""
                if not _HEX.fullmatch(text) or len(text) > 256 or not _plausible(str(name), text):
                    self.fail(f"{place}/digest/{str(name)[:80]}", "not a digest in hex")
                digests[str(name)[:80]] = text
            name, uri = (self.optional_text(item, key, place) for key in ("name", "uri"))
            if max(len(name), len(uri)) > MAX_ADDRESS:
                self.fail(place, f"its name or uri is longer than {MAX_ADDRESS} characters")
            found = Material(name, uri, digests, place)
            if not (found.uri or found.digests or "content" in item):
                self.fail(place, "it names neither uri, digest nor content")
            yield found

    def leaves(self, external: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(dotted place, text) of every leaf; a list is one leaf, as JSON, since its order and borders matter."""
        queue: list[tuple[str, Any]] = [("", external)]
        count = 0
        while queue:
            place, value = queue.pop()
            if isinstance(value, Mapping):  # an empty one says nothing
                if len(queue) + len(value) > MAX_PARAMETERS:
                    self.fail("/buildDefinition/externalParameters", f"more than {MAX_PARAMETERS} parameters")
                for key, item in value.items():
                    # A dot in a key is written `~1`, no key at all `~2`: two keys never mean one place, or none.
                    part = str(key).replace("~", "~0").replace(".", "~1") or "~2"
                    queue.append((f"{place}.{part}" if place else part, item))
                continue
            count += 1
            if count > MAX_PARAMETERS:
                self.fail("/buildDefinition/externalParameters", f"more than {MAX_PARAMETERS} parameters")
            if place:
                yield place, value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _plausible(name: str, text: str) -> bool:
    length = _LENGTHS.get(name)
    if length is None:
        return True
    if name == "gitCommit":
        return len(text) in _COMMITS
    return len(text) == length or (name == "sha256" and len(text) == _COMMITS[0])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
