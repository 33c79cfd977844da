"""Expectations: what provenance must say, as reviewed configuration has it, and every one with its answer.

Each check has a name that does not change (people write waivers about it), says whether it is met, why, and the two
places: where the provenance says it (JSON pointer) and where the expectation is written (file and line).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse.core.errors import EvidenceError
from customhouse.trust.provenance_forms import Material, Provenance, read_provenance
from customhouse.trust.provenance_level import Builder, Level, level_of
from customhouse.trust.provenance_patterns import matches, says

Reviewed = Callable[[str], bool]
"""Whether a commit is part of the reviewed history of this repository."""
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class MaterialRule:
    """Materials of a name or address: there must be one, and each of them must have one of the digests.

    `registered`: the digest is one of `provenance.datasets`. With neither, any digest will do, but there must be one.
    """

    name: str = ""
    uri: str = ""
    digests: tuple[str, ...] = ()
    registered: bool = False
    place: str = ""

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.name or self.uri

    def covers(self, material: Material) -> bool:
        """Whether a material is one that this is about."""
        return (not self.name or matches(self.name, material.name)) and (
            not self.uri or matches(self.uri, material.uri)
        )


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected of the provenance of some artifacts. What is empty or None is not asked."""

    name: str
    artifacts: tuple[str, ...]
    """Patterns of references, without the digest."""
    role: str = ""
    """`model` or `image`; empty: both."""
    builders: tuple[str, ...] = ()
    min_level: int = 0
    build_types: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    reviewed_commit: bool = False
    allowed_parameters: tuple[str, ...] | None = None
    """Names of external parameters that may be there; None: any."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    materials: tuple[MaterialRule, ...] = ()
    other_materials: bool = True
    max_age_days: int | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    """Key of the expectation to where it is written."""

    def covers(self, role: str, reference: str) -> bool:
        """Whether it is about an artifact."""
        spellings = _spellings(role, reference)
        return (not self.role or self.role == role) and any(
            matches(pattern, text) for pattern in self.artifacts for text in spellings
        )

    def place(self, key: str) -> str:
        """Where a key is written; where the expectation is, when there is no such place."""
        return self.places.get(key) or self.places.get("", "")


@dataclass(frozen=True, slots=True)
class Expected:
    """All that is expected: builders, datasets (name → digests), and expectations: the first that covers counts."""

    builders: tuple[Builder, ...] = ()
    datasets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expectations: tuple[Expectation, ...] = ()

    def of(self, role: str, reference: str) -> Expectation | None:
        """The expectation of an artifact; None: nothing is expected of it."""
        return next((item for item in self.expectations if item.covers(role, reference)), None)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was expected. `at` is where the provenance says it, `place` where it is asked for."""

    check: str
    met: bool
    message: str
    at: str = ""
    place: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"check": self.check, "met": self.met, "message": self.message, "at": self.at, "place": self.place}


@dataclass(frozen=True, slots=True)
class Verified:
    """What was made of one statement. `provenance` is None when it cannot be read."""

    level: Level
    checks: tuple[Check, ...]
    provenance: Provenance | None = None

    @property
    def unmet(self) -> tuple[Check, ...]:
        """What was expected and is not so."""
        return tuple(item for item in self.checks if not item.met)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as `trust.filed` read it: the predicate as v1, who signed it, and whether that verifies."""

    predicate: Mapping[str, Any]
    signer: str | None
    verified: bool
    problem: str = ""


def verify_statement(
    statement: Statement, expected: Expected, expectation: Expectation | None, reviewed: Reviewed | None = None
) -> Verified:
    """Hold a statement against what is expected. Nothing is raised: what cannot be read is not met.

    `reviewed` None: this repository's history is not at hand, and then a commit that must be of it is not met.
    The age is not looked at here but in `age_check`: it changes while the rest does not.
    """
    try:
        said = read_provenance(statement.predicate)
    except EvidenceError as error:
        level = Level(0, f"it cannot be read: {error.message}")
        return Verified(level, (Check("readable", False, f"the provenance cannot be read: {error.message}"),))
    level = level_of(
        said.builder,
        statement.signer,
        verified=statement.verified,
        problem=statement.problem,
        declared=expected.builders,
    )
    if expectation is None:
        return Verified(level, (), said)
    checks = [_signed(statement, expectation)]
    for part in (_builder, _build_type, _source, _parameters):
        checks.extend(part(said, expectation))
    checks.extend(_level(level, expectation))
    checks.extend(_commit(said, expectation, reviewed))
    checks.extend(_materials(said, expectation, expected.datasets))
    return Verified(level, tuple(checks), said)


def age_check(expectation: Expectation, issued: datetime | None, now: datetime) -> Check | None:
    """Whether a statement is young enough; None when its age is not asked."""
    if expectation.max_age_days is None:
        return None
    place = expectation.place("maxAgeDays")
    if issued is None:
        return Check("age", False, "it does not say when it was made", "/runDetails/metadata/finishedOn", place)
    days = (now - issued).total_seconds() / 86400
    met = -1 <= days <= expectation.max_age_days
    message = f"made on {to_rfc3339(issued)}; at most {expectation.max_age_days} days are allowed"
    return Check("age", met, message, "/runDetails/metadata/finishedOn", place)


def _signed(statement: Statement, expectation: Expectation) -> Check:
    message = f"signed by {statement.signer}" if statement.verified else f"not believed: {statement.problem}"
    return Check("signature", statement.verified, message, "", expectation.place(""))


def _builder(said: Provenance, expectation: Expectation) -> Iterator[Check]:
    if expectation.builders:
        met = any(matches(pattern, said.builder) for pattern in expectation.builders)
        message = f"built by {_cut(said.builder)}" + ("" if met else f", not by {_or(expectation.builders)}")
        yield Check("builder", met, message, "/runDetails/builder/id", expectation.place("builders"))


def _build_type(said: Provenance, expectation: Expectation) -> Iterator[Check]:
    if expectation.build_types:
        met = any(matches(pattern, said.build_type) for pattern in expectation.build_types)
        message = f"of type {_cut(said.build_type)}" + ("" if met else f", not {_or(expectation.build_types)}")
        yield Check("build-type", met, message, "/buildDefinition/buildType", expectation.place("buildTypes"))


def _source(said: Provenance, expectation: Expectation) -> Iterator[Check]:
    source = said.source
    at = "/buildDefinition/externalParameters" if source is None else source.at
    if expectation.repositories:
        found = "" if source is None else source.repository
        met = bool(found) and any(matches(pattern, found) for pattern in expectation.repositories)
        message = f"built from {_cut(found) or 'no repository that it names'}"
        message += "" if met else f", not from {_or(expectation.repositories)}"
        yield Check("source-repository", met, message, at, expectation.place("source"))
    if expectation.refs:
        found = "" if source is None else source.ref
        met = bool(found) and any(matches(pattern, found) for pattern in expectation.refs)
        message = f"built at {_cut(found) or 'no ref that it names'}" + (
            "" if met else f", not {_or(expectation.refs)}"
        )
        yield Check("source-ref", met, message, at, expectation.place("source"))


def _level(level: Level, expectation: Expectation) -> Iterator[Check]:
    if expectation.min_level:
        met = level.number >= expectation.min_level
        message = f"Build level {level.number} ({level.reason})" + (
            "" if met else f"; {expectation.min_level} is asked"
        )
        yield Check("level", met, message, "/runDetails/builder/id", expectation.place("minLevel"))


def _commit(said: Provenance, expectation: Expectation, reviewed: Reviewed | None) -> Iterator[Check]:
    if not expectation.reviewed_commit:
        return
    place, source = expectation.place("source"), said.source
    if source is None or not source.commit:
        at = "/buildDefinition/resolvedDependencies" if source is None else source.at
        yield Check("source-commit", False, "it names no one commit that it was built from", at, place)
        return
    if reviewed is None:
        message = f"whether commit {source.commit[:12]} was reviewed cannot be told here: no Git history is at hand"
        yield Check("source-commit", False, message, source.at, place)
        return
    met = reviewed(source.commit)
    message = f"commit {source.commit[:12]} is {'' if met else 'not '}part of this repository's reviewed history"
    yield Check("source-commit", met, message, source.at, place)


def _parameters(said: Provenance, expectation: Expectation) -> Iterator[Check]:
    where = "/buildDefinition/externalParameters"
    if expectation.allowed_parameters is not None:
        named = (*expectation.allowed_parameters, *expectation.parameters)
        for name in sorted(said.parameters):
            if not any(name == item or name.startswith(f"{item}.") for item in named):
                yield Check(
                    "parameters",
                    False,
                    f"the parameter {_cut(name)} is not one that is allowed",
                    f"{where}/{_pointer(name)}",
                    expectation.place("parameters"),
                )
    for name, pattern in expectation.parameters.items():
        found = said.parameters.get(name)
        met = found is not None and says(pattern, found)
        has = "is not there" if found is None else f"is {_cut(found)}"
        message = f"the parameter {name} {has}" + ("" if met else f"; it must be {pattern}")
        yield Check(f"parameter:{name}", met, message, f"{where}/{_pointer(name)}", expectation.place("parameters"))


def _materials(said: Provenance, expectation: Expectation, datasets: Mapping[str, Sequence[str]]) -> Iterator[Check]:
    registered = {digest for digests in datasets.values() for digest in digests}
    for rule in expectation.materials:
        name = f"material:{rule.label}"
        found = [item for item in said.materials if rule.covers(item)]
        if not found:
            message = f"no material is {rule.label}"
            yield Check(name, False, message, "/buildDefinition/resolvedDependencies", rule.place)
        for item in found:
            problem = _material_problem(item, rule, registered)
            digest = item.digest or item.commit or "without a digest"
            message = f"{_cut(item.label)} is {_cut(digest)}" + (f": {problem}" if problem else "")
            yield Check(name, not problem, message, item.at, rule.place)
    if not expectation.other_materials:
        for item in said.materials:
            if not any(rule.covers(item) for rule in expectation.materials):
                message = f"the material {_cut(item.label)} is not one that is expected"
                yield Check("other-materials", False, message, item.at, expectation.place("otherMaterials"))


def _material_problem(item: Material, rule: MaterialRule, registered: set[str]) -> str:
    if not item.digest and not item.commit:
        return "a material without a sha256 or a commit can be anything"
    if rule.digests and item.digest not in rule.digests:
        return f"not {_or(rule.digests)}"
    if rule.registered and item.digest not in registered:
        return "this digest is not registered under provenance.datasets"
    return ""


def _spellings(role: str, reference: str) -> tuple[str, ...]:
    """A reference without its digest, as it is written and as it is meant: a detour must not lead past an expectation.

    `pvc://models/./fraud//v1` is `pvc://models/fraud/v1`; of images also without the tag, with the registry that is
    meant where none is written, the host in small letters and without the port that is meant anyway.
    """
    bare = reference.partition("@" if role == "image" else "@sha256:")[0]
    scheme, mark, rest = bare.partition("://")
    if not mark:
        scheme, rest = "", bare
    host, _, path = rest.partition("/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if role == "image" and not mark:
        if not path or ("." not in host and ":" not in host and host != "localhost"):
            # What a name without a host means: Docker Hub, and its own images below library.
            parts = [host, *parts] if parts else ["library", host]
            host = "docker.io"
        host = host.lower().removesuffix(":443")
        host = "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host
        meant = ["/".join((host, *parts))]
    else:
        meant = [f"{scheme.lower()}{mark}{'/'.join((host, *parts))}"]
    if role == "image" or scheme.lower() == "oci":
        meant += [_untagged(text) for text in (bare, *meant)]
    return tuple(dict.fromkeys((bare, *meant)))


def _untagged(reference: str) -> str:
    head, slash, last = reference.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _pointer(place: str) -> str:
    """The dotted place of a parameter as a JSON pointer."""
    parts = (part.replace("~2", "").replace("~1", ".").replace("~0", "~") for part in place.split("."))
    return "/".join(part.replace("~", "~0").replace("/", "~1") for part in parts)


def _or(texts: Sequence[str]) -> str:
    shown = [_cut(text) for text in texts[:5]]
    return " or ".join(shown) + (f" or {len(texts) - 5} others" if len(texts) > 5 else "")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
