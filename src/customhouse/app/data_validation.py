"""`customhouse data validate`: a dataset's files are read, held against their schema, and told in one document.

1. The files, by their digest. 2. The schema: the one that is named, or `dataset.schema.yaml` in the folder. 3. Every
row. 4. Where sensitive columns lie. 5. The files again, by their digest: data that change while they are read are not
validated. 6. Signed evidence about that digest, if it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import Tree, file_digest, same_digest
from customhouse._kit.reading import open_regular
from customhouse._kit.single_keys import each_once
from customhouse.app import wiring
from customhouse.app.data_schema import inferred, read_schema
from customhouse.app.data_storage import Place, place_of, storage_findings
from customhouse.app.inspection import read_tree
from customhouse.app.wholefile import write_whole
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.attestation import attest, evidence_path
from customhouse.trust.dataset.finding import ordered
from customhouse.trust.dataset.layout import Layout, layout
from customhouse.trust.dataset.schema import Schema
from customhouse.trust.dataset.validation import VALIDATOR, Validated, hashes_of_column, validate
from customhouse.trust.keys import load_private

BESIDE = ("dataset.schema.yaml", ".dataset.schema.yaml")
"""In a folder that Git holds, the hidden one: the gate takes every other YAML file for a Declaration."""
MAX_REFERENCE = 64 << 20
_MOST_FINDINGS = 200


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. `splits` say which files are which split; `reference` is a report of other data, as JSON."""

    path: str
    schema: str = ""
    label: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A dataset, validated. `nothing_read`: no file holds rows that can be read, so nothing was validated."""

    path: str
    files: Tree
    schema: Schema
    validated: Validated
    place: Place
    at: str
    nothing_read: bool = False

    @property
    def digest(self) -> str:
        """What declarations pin and evidence speaks of."""
        return self.files.digest

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.validated.passed and not self.nothing_read

    def to_json(self) -> dict[str, Any]:
        """`{"path","digest","size","at","passed","rows","findings","columns",…,"storage"}`."""
        return {
            "path": self.path,
            "digest": self.digest,
            "size": self.files.size,
            "at": self.at,
            **self.validated.to_json(),
            "schema_version": self.schema.version,
            "passed": self.passed,
            "storage": self.place.to_json(self.schema),
        }

    def predicate(self) -> dict[str, Any]:
        """What evidence says: counts and names, no value of the data and no row of it."""
        found = self.validated
        counts: dict[str, int] = {}
        for item in found.findings:
            counts[f"{item.severity}:{item.rule}"] = counts.get(f"{item.severity}:{item.rule}", 0) + 1
        return {
            "passed": self.passed,
            "validator": VALIDATOR,
            "schema": found.schema or None,
            "schemaVersion": self.schema.version,
            "rows": found.rows,
            "rowTree": found.tree.to_json(),
            "findings": dict(sorted(counts.items())),
            "sensitive": [item.to_json() for item in found.sensitive],
            "storage": self.place.to_json(self.schema),
        }


def validate_data(asked: Request) -> Report:
    """Read and check. Raises ArtifactError for files that cannot be read or that change, UsageError, ConfigError."""
    path = Path(asked.path)
    # 1.
    files = files_at(path)
    if not files.files:
        raise UsageError(f"{asked.path} is an empty folder", hint="there is nothing to validate")
    # 2.
    schema = declared_schema(asked, path)
    splits = {**schema.splits, **asked.splits}
    found = layout(path, files, schema.files, splits)
    if not found.parts and schema.columns:
        raise UsageError(
            "no file holds rows that can be read", where=asked.path, hint="see `files` of the schema, and docs/data.md"
        )
    # 3.
    now = wiring.clock().now()
    known = {
        rule.name: hashes_of_column(_beside(path, rule.references[0]), rule.references[1])
        for rule in schema.columns
        if rule.references is not None
    }
    result = validate(found, schema, now, reference=_reference(asked.reference), known=known)
    # 4.
    place = place_of(path)
    results = (*result.findings, *storage_findings(place, schema, result.sensitive))
    result = replace(result, findings=ordered(results, schema.checks)[:_MOST_FINDINGS])
    # 5.
    _unchanged(path, files, found)
    return Report(asked.path, files, schema, result, place, to_rfc3339(now), nothing_read=not found.parts)


def files_at(path: Path) -> Tree:
    """The files of a dataset, all of them read. Raises ArtifactError."""
    try:
        return read_tree(path)
    except ArtifactError as error:
        hint = "a dataset is regular files that you may read, with names in UTF-8: copy, rename or remove what is none"
        raise ArtifactError(error.message, where=error.where, hint=hint if error.hint else "") from error


def declared_schema(asked: Request, path: Path) -> Schema:
    """The schema that is named, else that beside the data, else none. Raises UsageError, ConfigError."""
    places = [path / name if path.is_dir() else path.with_name(f"{path.name}.schema.yaml") for name in BESIDE]
    chosen = Path(asked.schema) if asked.schema else next((place for place in places if place.is_file()), None)
    schema = Schema() if chosen is None else read_schema(chosen)
    if asked.label and schema.label and asked.label != schema.label:
        raise UsageError(f"--label says {asked.label!r}, the schema {schema.label!r}", hint="leave one of them out")
    return replace(schema, label=asked.label) if asked.label else schema


def _beside(path: Path, name: str) -> Layout:
    folder = path if path.is_dir() else path.parent
    place = (folder / name).resolve()
    if not place.is_relative_to(folder.resolve()):
        raise UsageError(f"{name!r} is not in the folder of the dataset", hint="`references.file` is a path below it")
    found = layout(place, files_at(place))
    if not found.parts:
        raise UsageError(f"{name!r} holds no rows that can be read", hint="see `references.file` of the schema")
    return found


def _reference(name: str) -> Mapping[str, Any] | None:
    if not name:
        return None
    place = Path(name)
    try:
        with open_regular(place) as handle:
            data = handle.read(MAX_REFERENCE + 1)
        if len(data) > MAX_REFERENCE:
            raise UsageError(f"more than {MAX_REFERENCE} bytes", where=name)
        found = json.loads(data, object_pairs_hook=each_once)
    except OSError as error:
        raise UsageError(f"the reference cannot be read: {error.strerror}", where=name) from error
    except (ValueError, RecursionError) as error:
        hint = "write it with `customhouse data validate PATH -o json`"
        raise UsageError("the reference is no JSON", where=name, hint=hint) from error
    if not isinstance(found, dict) or not isinstance(found.get("columns"), list):
        raise UsageError(
            "this is no report of a validation", where=name, hint="`customhouse data validate PATH -o json`"
        )
    return found


def _unchanged(path: Path, files: Tree, found: Layout) -> None:
    digests = {part.name: part.digest for part in found.parts}
    for entry in files.files:
        if entry.path not in digests:
            continue
        place = path if files.single else path / entry.path
        if place.stat().st_size != entry.size or not same_digest(file_digest(place).digest, entry.digest):
            raise ArtifactError(
                "it changed while it was validated", where=entry.path, hint="validate it when nobody writes to it"
            )


def attest_report(report: Report, name: str, key: str, repo: str) -> str:
    """Sign what was found about the dataset's digest; the file below `.evidence/` of a repository, by its path there.

    What failed is attested as failed: the gate says so then, and not that evidence is missing.
    """
    now = wiring.clock().now()
    data = attest(
        name, report.digest, EvidenceKind.DATA_VALIDATION, report.predicate(), load_private(Path(key)), issued_at=now
    )
    where = evidence_path(report.digest, EvidenceKind.DATA_VALIDATION)
    place = Path(repo) / where
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(place, data)
    return where


def inferred_schema(report: Report) -> str:
    """A schema to begin with, as YAML."""
    if report.nothing_read:
        raise UsageError("no file holds rows that can be read", where=report.path, hint="see docs/data.md")
    unlike = next(
        (item for item in report.validated.findings if item.rule == "missing-column" and not item.column), None
    )
    if unlike is not None:
        # One schema of two tables would have columns that neither of them has all of.
        raise UsageError(
            unlike.message.removesuffix("."),
            where=report.path,
            hint="infer a schema of one of them (name its file), then name those that belong together under `files`",
        )
    return inferred(report.validated, report.schema)
