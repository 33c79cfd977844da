"""`customhouse model provenance`: what provenance says, the Build level that it reaches, and what is expected of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import is_digest
from customhouse.app import wiring
from customhouse.app.governance import Governance, governance
from customhouse.app.model_signing import named_file
from customhouse.app.settings import Settings
from customhouse.core.errors import EvidenceError, UsageError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.trust import strict_json
from customhouse.trust.bundle import read_bundle
from customhouse.trust.cosign import read_statement
from customhouse.trust.filed import read_filed
from customhouse.trust.provenance_expectations import Check, Statement, Verified, age_check, verify_statement
from customhouse.trust.provenance_forms import V02, V1, Provenance, as_v1


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: a file, and for which artifact expectations are looked up."""

    file: str
    repo: str = "."
    artifact: str = ""
    role: str = "model"


@dataclass(frozen=True, slots=True)
class Checked:
    """One statement, read and held against what is expected. `expectation` is empty when nothing is."""

    subject: str
    verified: Verified
    expectation: str
    signed: str
    checks: tuple[Check, ...]

    @property
    def met(self) -> bool:
        """Whether all that is expected is so; what is not believed never is."""
        return self.verified.level.number > 0 and all(check.met for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """`{"subject","signed","level","levelReason","expectation","met","checks",…}` with what it says."""
        said = self.verified.provenance
        return {
            "subject": self.subject,
            "signed": self.signed,
            "level": self.verified.level.number,
            "levelReason": self.verified.level.reason,
            "expectation": self.expectation or None,
            "met": self.met,
            "checks": [check.to_json() for check in self.checks],
            "provenance": None if said is None else provenance_json(said),
        }


def check_provenance(asked: Request, settings: Settings) -> Checked:
    """Read a bundle (or a bare statement, or predicate), and hold it against customhouse.yaml of the revision at HEAD.

    Raises UsageError and EvidenceError for a file that is not there or no provenance, ConfigError.
    """
    data = named_file(Path(asked.file), strict_json.MAX_BYTES, "the provenance")
    governing = _governing(asked, settings)
    evidence, issues = _evidence(data, asked.file, governing)
    expected = governing.configuration.provenance
    expectation = expected.of(asked.role, asked.artifact) if asked.artifact else None
    if asked.artifact and expectation is None:
        raise UsageError(
            f"no expectation covers the {asked.role} {asked.artifact[:200]}",
            hint="provenance.expectations of customhouse.yaml names artifacts by patterns",
        )
    statement = Statement(evidence.predicate, evidence.signer, evidence.verified, evidence.problem)
    found = verify_statement(statement, expected, expectation, governing.history)
    checks = list(found.checks)
    if expectation is not None:
        age = age_check(expectation, evidence.issued_at, wiring.clock().now())
        checks += [] if age is None else [age]
    return Checked(evidence.subject, found, expectation.name if expectation else "", issues, tuple(checks))


def provenance_json(said: Provenance) -> dict[str, Any]:
    """What provenance says, in the one form."""
    times = {"started": said.started, "finished": said.finished}
    return {
        "buildType": said.build_type,
        "builder": said.builder,
        "builderVersions": dict(said.builder_versions),
        "invocation": said.invocation,
        **{key: None if at is None else to_rfc3339(at) for key, at in times.items()},
        "source": None
        if said.source is None
        else {"repository": said.source.repository, "ref": said.source.ref, "commit": said.source.commit},
        "parameters": dict(sorted(said.parameters.items())),
        "materials": [
            {"name": item.name, "uri": item.uri, "digest": dict(item.digests), "at": item.at} for item in said.materials
        ],
        "byproducts": said.byproducts,
    }


def _governing(asked: Request, settings: Settings) -> Governance:
    if not (Path(asked.repo) / ".git").exists():
        return governance(None, None, settings.config, wiring.shelf(settings))
    objects = wiring.commits(settings, asked.repo)
    return governance(objects, objects.resolve("HEAD"), settings.config, wiring.shelf(settings))


def signed_statement(place: Path, governing: Governance) -> Evidence:
    """The provenance in a file, and whether it is believed. Raises UsageError and EvidenceError."""
    data = named_file(place, strict_json.MAX_BYTES, "the provenance")
    return _evidence(data, str(place), governing)[0]


def _evidence(data: bytes, where: str, governing: Governance) -> tuple[Evidence, str]:
    """The statement as Evidence, and how it is signed."""
    document = strict_json.parse(data, where)
    if isinstance(document, Mapping) and "dsseEnvelope" in document:
        payload = read_bundle(data, where).payload
        said = read_statement(payload, where)
        subject = next(iter(said.subjects))
        path = f".evidence/{subject.removeprefix('sha256:')}/provenance.sigstore.json"
        found = read_filed({path: data}, subject, governing.believed, wiring.clock().now())
        item = next((item for item in found if item.kind is EvidenceKind.PROVENANCE), None)
        if item is None:
            raise EvidenceError(f"it is {said.predicate_type[:120]!r}, and no provenance", where=where)
        return item, f"signed by {item.signer}" if item.verified else item.problem
    problem = "it is not signed"
    if not isinstance(document, Mapping):
        raise EvidenceError("not a JSON object", where=where)
    subject, predicate, kind = "", document, V02 if "builder" in document else V1
    if "predicateType" in document:
        statement = read_statement(data, where)
        subject, predicate, kind = next(iter(statement.subjects)), statement.predicate, statement.predicate_type
    if kind not in (V1, V02):
        raise EvidenceError(f"it is {kind[:120]!r}, and no provenance", where=where)
    predicate = as_v1(predicate) if kind == V02 else predicate
    subject = subject if is_digest(subject) else ""
    return Evidence(subject, EvidenceKind.PROVENANCE, V1, predicate, None, None, False, "", problem), problem
