"""`provenance:` of customhouse.yaml: who may build what from what, and how statements are held against it.

The base revision's file counts. The verification itself is `trust.provenance_expectations`; what Facts get of it is
made here, for the gate, the admission webhook and the audit alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse.core.errors import CustomhouseError
from customhouse.core.evidence import ArtifactRef, Evidence
from customhouse.core.resource import Location
from customhouse.trust.provenance_expectations import (
    Expectation,
    Expected,
    MaterialRule,
    Statement,
    verify_statement,
)
from customhouse.trust.provenance_level import Builder, ceiling
from customhouse.trust.provenance_patterns import problem_of

Fail = Callable[[str, str], Any]
"""Raises ConfigError at the place of a JSON pointer, with a message."""
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?", re.ASCII)
_MOST_UNMET = 20
"""Facts are bounded; the first of what is not met are enough to see why."""


def expected_of(
    document: Mapping[str, Any], marks: Mapping[str, Location], file: str, signers: Collection[str], fail: Fail
) -> Expected:
    """Read `provenance:`, which fits the schema.

    `signers` are the names that `trust:` gives. Calls `fail` for a pattern that would believe everybody, a signer that
    nobody is, a level that the builder cannot reach, and a digest that is none.
    """
    reader = _Reader(marks, file, signers, fail)
    return Expected(
        builders=tuple(reader.builder(index, item) for index, item in enumerate(document.get("builders") or ())),
        datasets={
            name: reader.digests(f"/provenance/datasets/{name}", digests)
            for name, digests in (document.get("datasets") or {}).items()
        },
        expectations=tuple(
            reader.expectation(f"/provenance/expectations/{index}", item)
            for index, item in enumerate(document.get("expectations") or ())
        ),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    marks: Mapping[str, Location]
    file: str
    signers: Collection[str]
    fail: Fail

    def builder(self, index: int, item: Mapping[str, Any]) -> Builder:
        at = f"/provenance/builders/{index}"
        self.pattern(f"{at}/id", item["id"], address=True)
        for number, name in enumerate(item["signers"]):
            if name not in self.signers:
                self.fail(f"{at}/signers/{number}", f"nobody under trust: is called {name!r}")
        most, why = ceiling(item["id"])
        if item["level"] > most:
            self.fail(f"{at}/level", f"{item['id']} reaches Build level {most} at most: {why}")
        return Builder(item["id"], item["level"], tuple(item["signers"]), self.place(at))

    def expectation(self, at: str, item: Mapping[str, Any]) -> Expectation:
        source, parameters = item.get("source") or {}, item.get("parameters") or {}
        for key in ("artifacts", "builders", "buildTypes"):
            for index, pattern in enumerate(item.get(key) or ()):
                self.pattern(f"{at}/{key}/{index}", pattern, address=key == "builders")
        for key in ("repositories", "refs"):
            for index, pattern in enumerate(source.get(key) or ()):
                self.pattern(f"{at}/source/{key}/{index}", pattern, address=key == "repositories")
        for name, pattern in (parameters.get("values") or {}).items():
            self.pattern(f"{at}/parameters/values/{name}", pattern)
        keys = ("builders", "buildTypes", "source", "parameters", "minLevel", "maxAgeDays", "otherMaterials")
        return Expectation(
            name=item["name"],
            artifacts=tuple(item["artifacts"]),
            role=item.get("role") or "",
            builders=tuple(item.get("builders") or ()),
            min_level=item.get("minLevel") or 0,
            build_types=tuple(item.get("buildTypes") or ()),
            repositories=tuple(source.get("repositories") or ()),
            refs=tuple(source.get("refs") or ()),
            reviewed_commit=bool(source.get("reviewedCommit")),
            allowed_parameters=None if parameters.get("allowed") is None else tuple(parameters["allowed"]),
            parameters=dict(parameters.get("values") or {}),
            materials=tuple(
                self.material(f"{at}/materials/{index}", rule) for index, rule in enumerate(item.get("materials") or ())
            ),
            other_materials=item.get("otherMaterials") != "denied",
            max_age_days=item.get("maxAgeDays"),
            places={
                "": self.place(at),
                **{key: self.place(f"{at}/{key}") for key in keys if item.get(key) is not None},
            },
        )

    def material(self, at: str, rule: Mapping[str, Any]) -> MaterialRule:
        if not rule.get("name") and not rule.get("uri"):
            self.fail(at, "a material is known by its name or its uri; give one")
        for key in ("name", "uri"):
            self.pattern(f"{at}/{key}", rule.get(key) or "")
        return MaterialRule(
            name=rule.get("name") or "",
            uri=rule.get("uri") or "",
            digests=self.digests(f"{at}/digests", rule.get("digests") or ()),
            registered=bool(rule.get("registered")),
            place=self.place(at),
        )

    def digests(self, at: str, digests: Sequence[str]) -> tuple[str, ...]:
        for index, digest in enumerate(digests):
            if not is_digest(digest):
                self.fail(f"{at}/{index}", f"{digest[:80]!r} is not sha256: and 64 hex digits")
        return tuple(digests)

    def pattern(self, at: str, pattern: str, *, address: bool = False) -> None:
        if problem := problem_of(pattern, address=address):
            self.fail(at, f"{pattern[:80]!r}: {problem}")

    def place(self, pointer: str) -> str:
        while pointer and pointer not in self.marks:
            pointer = pointer.rpartition("/")[0]
        return str(self.marks.get(pointer, Location(self.file)))


@dataclass(frozen=True, slots=True)
class ReviewedHistory:
    """The commits behind a revision of a tree that has a history: what is merged to it was reviewed."""

    is_ancestor: Callable[[str, str], bool]
    revision: str
    known: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)
    """Answers so far: the webhook asks the same again and again, and a revision's past does not change."""

    @classmethod
    def of(cls, tree: Any, revision: str) -> ReviewedHistory | None:
        """The history of a tree that has one; None for files and work trees."""
        return cls(tree.is_ancestor, revision) if hasattr(tree, "is_ancestor") else None

    def __call__(self, commit: str) -> bool:
        """Whether `commit` is the revision or behind it. What cannot be asked is not."""
        if not _COMMIT.fullmatch(commit):
            return False
        if commit not in self.known:
            try:
                self.known[commit] = self.is_ancestor(commit, self.revision)
            except CustomhouseError:
                return False
        return self.known[commit]


@dataclass(frozen=True, slots=True)
class ProvenanceJudge:
    """What Facts say of provenance, under one revision's expectations. Fits `policy.facts.ProvenanceFacts`."""

    expected: Expected
    reviewed: Callable[[str], bool] | None = None

    def wanted(self, artifact: ArtifactRef) -> dict[str, Any] | None:
        """What is expected of an artifact's provenance; None: nothing."""
        found = self.expected.of(artifact.role, artifact.reference)
        if found is None:
            return None
        return {"name": found.name, "place": found.place(""), "max_age_days": found.max_age_days}

    def said(self, artifact: ArtifactRef, evidence: Evidence) -> dict[str, Any]:
        """`level`, its `level_reason`, and of what is expected the names that are `met` and what is `unmet`."""
        expectation = self.expected.of(artifact.role, artifact.reference)
        if not evidence.verified:
            # It counts for nothing, whatever it says: strangers' documents are not held against patterns here.
            problem = f"not believed: {evidence.problem}"[:500]
            place = "" if expectation is None else expectation.place("")
            unmet = [{"check": "signature", "message": problem, "at": "", "place": place}]
            return {"level": 0, "level_reason": problem, "met": [], "unmet": [] if expectation is None else unmet}
        statement = Statement(evidence.predicate, evidence.signer, evidence.verified, evidence.problem)
        found = verify_statement(statement, self.expected, expectation, self.reviewed)
        return {
            "level": found.level.number,
            "level_reason": found.level.reason[:500],
            "met": sorted({check.check[:200] for check in found.checks} - {check.check[:200] for check in found.unmet}),
            "unmet": [
                {"check": check.check[:200], "message": check.message[:500], "at": check.at[:300], "place": check.place}
                for check in found.unmet[:_MOST_UNMET]
            ],
        }


def provenance_document(expected: Expected) -> dict[str, Any] | None:
    """What is expected as customhouse.yaml writes it; None when nothing is."""
    if expected == Expected():
        return None
    return {
        "builders": [
            {"id": item.identifier, "level": item.level, "signers": list(item.signers)} for item in expected.builders
        ],
        "datasets": {name: list(digests) for name, digests in expected.datasets.items()},
        "expectations": [_expectation_document(item) for item in expected.expectations],
    }


def _expectation_document(item: Expectation) -> dict[str, Any]:
    parameters = {"allowed": None if item.allowed_parameters is None else list(item.allowed_parameters)}
    source = {"repositories": list(item.repositories), "refs": list(item.refs), "reviewedCommit": item.reviewed_commit}
    materials = (
        {"name": rule.name, "uri": rule.uri, "digests": list(rule.digests), "registered": rule.registered}
        for rule in item.materials
    )
    document = {
        "name": item.name,
        "artifacts": list(item.artifacts),
        "role": item.role,
        "builders": list(item.builders),
        "minLevel": item.min_level,
        "buildTypes": list(item.build_types),
        "source": {key: value for key, value in source.items() if value},
        "parameters": {key: value for key, value in (*parameters.items(), ("values", dict(item.parameters))) if value},
        "materials": [{key: value for key, value in rule.items() if value} for rule in materials],
        "otherMaterials": "allowed" if item.other_materials else "denied",
        "maxAgeDays": item.max_age_days,
    }
    return {key: value for key, value in document.items() if value not in (None, "", 0, [], {})}
