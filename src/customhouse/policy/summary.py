"""What Facts keep of a predicate: a bounded summary per kind. Predicates come from files that anybody can commit.

Money and counts stay integers; measured metrics become decimal text, since floats do not compare equal over engines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse.core.evidence import EvidenceKind
from customhouse.policy.datasets import validation_summary

_GIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_MAX_ITEMS = 64
_MAX_TEXT = 512
_MAX_LICENCES = 256
"""An image has about a hundred."""
_HINT = "customhouse:hint:"
WORST_FIRST = ("malicious", "suspicious", "unscannable", "clean")
"""Scan verdicts."""


def summarise(kind: EvidenceKind, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of one predicate; a field that is missing or of a wrong type is null, which no rule accepts."""
    readers = {
        EvidenceKind.SCAN: _scan,
        EvidenceKind.BOM: _bom,
        EvidenceKind.EVALUATION: _evaluation,
        EvidenceKind.DATA_VALIDATION: validation_summary,
        EvidenceKind.PROVENANCE: _provenance,
    }
    reader = readers.get(kind)
    return {} if reader is None else reader(predicate)


def _scan(predicate: Mapping[str, Any]) -> dict[str, Any]:
    files = [item for item in _items(predicate.get("files")) if isinstance(item, Mapping)]
    findings = [item for file in files for item in _items(file.get("findings")) if isinstance(item, Mapping)]
    findings += [item for item in _items(predicate.get("findings")) if isinstance(item, Mapping)]
    # A headline that is better than its own rows is not believed; one that is no known word is no verdict.
    said = [predicate["verdict"]] if "verdict" in predicate else []
    verdict = _worst([*said, *(file.get("verdict") for file in files)]) if not said or said[0] in WORST_FIRST else None
    return {
        "verdict": verdict,
        "scanner": _scanner(predicate.get("scanner")),
        "files": len(files),
        "findings": len(findings),
        "bad_files": [_text(file.get("path")) for file in files if file.get("verdict") != "clean"][:_MAX_ITEMS],
        "rules": sorted({str(item.get("rule"))[:_MAX_TEXT] for item in findings})[:_MAX_ITEMS],
    }


def _worst(verdicts: Sequence[Any]) -> str | None:
    known = [verdict if verdict in WORST_FIRST else "unscannable" for verdict in verdicts]
    return next((name for name in WORST_FIRST if name in known), None)


def _scanner(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return " ".join(str(value[key])[:_MAX_TEXT] for key in ("name", "version") if key in value) or None
    return _text(value)


def _bom(predicate: Mapping[str, Any]) -> dict[str, Any]:
    components = [item for item in _items(predicate.get("components")) if isinstance(item, Mapping)]
    metadata = predicate.get("metadata")
    subject = metadata.get("component") if isinstance(metadata, Mapping) else None
    model = subject if isinstance(subject, Mapping) else {}
    counts: dict[str, int] = {}
    for item in components:
        name = str(item.get("type"))[:64]
        counts[name] = counts.get(name, 0) + 1
    licences = sorted({text for item in (model, *components) for text in _licences(item)})
    return {
        "format": _text(predicate.get("bomFormat")),
        "spec_version": _text(predicate.get("specVersion")),
        "components": len(components),
        "by_type": dict(sorted(counts.items())[:_MAX_ITEMS]),
        "licences": licences[:_MAX_LICENCES],
        # A list that was cut must not look like one that names nothing else.
        "licences_left_out": max(0, len(licences) - _MAX_LICENCES),
        "model_licences": sorted(set(_licences(model)))[:_MAX_ITEMS],
        "unlicensed": sum(item.get("type") == "library" and not item.get("licenses") for item in components),
        "hints": sorted({hint for item in components for hint in _hints(item)})[:_MAX_ITEMS],
    }


def _licences(component: Mapping[str, Any]) -> list[str]:
    """Identifiers, names and expressions."""
    found = []
    for entry in _items(component.get("licenses")):
        licence = entry.get("license") if isinstance(entry, Mapping) else None
        if isinstance(licence, Mapping):
            found.append(str(licence.get("id") or licence.get("name"))[:_MAX_TEXT])
        elif isinstance(entry, Mapping) and isinstance(entry.get("expression"), str):
            found.append(entry["expression"][:_MAX_TEXT])
    return found


def _hints(component: Mapping[str, Any]) -> list[str]:
    """What `model bom` had to point out about a library: `kind: message`."""
    rows = [row for row in _items(component.get("properties")) if isinstance(row, Mapping)]
    named = [(str(row.get("name")), str(row.get("value"))) for row in rows]
    return [f"{name.removeprefix(_HINT)}: {value}"[:_MAX_TEXT] for name, value in named if name.startswith(_HINT)]


def _evaluation(predicate: Mapping[str, Any]) -> dict[str, Any]:
    metrics = predicate.get("metrics")
    pairs = list(metrics.items()) if isinstance(metrics, Mapping) else []
    # Those of the whole before those of a part (`slice.team=a.f1`): there may be more than are kept.
    pairs = sorted(pairs, key=lambda item: ("." in str(item[0]), str(item[0])))[:_MAX_ITEMS]
    return {
        "metrics": {
            str(name)[:128]: str(value)[:64]
            for name, value in pairs
            if isinstance(value, (int, float, str)) and not isinstance(value, bool)
        },
        "passed": predicate["passed"] if isinstance(predicate.get("passed"), bool) else None,
        "dataset": _text(predicate.get("dataset")),
        "within": _text(_mapping(predicate.get("data")).get("within")),
        "trained_on": _text(_mapping(predicate.get("train")).get("digest")),
        "leak": bool(_mapping(predicate.get("leakage")).get("leak")),
        "plan": _text(_mapping(predicate.get("plan")).get("digest")),
        "measured": sorted({str(kind)[:64] for kind in _items(predicate.get("measured"))})[:_MAX_ITEMS],
        "failed": [
            f"{row.get('metric')} must be {row.get('must')}: {row.get('problem')}"[:_MAX_TEXT]
            for row in _items(predicate.get("bounds"))
            if isinstance(row, Mapping) and row.get("met") is not True
        ][:_MAX_ITEMS],
        "bounds": len(_items(predicate.get("bounds"))),
    }


def _provenance(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """SLSA v1: runDetails.builder.id and buildDefinition.resolvedDependencies."""
    details = _mapping(predicate.get("runDetails"))
    definition = _mapping(predicate.get("buildDefinition"))
    materials = [item for item in _items(definition.get("resolvedDependencies")) if isinstance(item, Mapping)]
    job = _mapping(_mapping(definition.get("externalParameters")).get("job"))
    return {
        "builder": _text(_mapping(details.get("builder")).get("id")),
        "job": _text(job.get("resource")),
        "build_type": _text(definition.get("buildType")),
        "materials": [
            {
                "name": _text(item.get("name") or item.get("uri")),
                "digest": _digest(item.get("digest")),
                "commit": _commit(item),
            }
            for item in materials[:_MAX_ITEMS]
        ],
    }


def _digest(value: Any) -> str | None:
    found = _mapping(value).get("sha256")
    text = f"sha256:{found}"
    return text if is_digest(text) else None


def _commit(item: Mapping[str, Any]) -> str | None:
    """Of a material in Git: the digits of its commit, which stand for all of its bytes."""
    digests, uri = _mapping(item.get("digest")), str(item.get("uri"))
    found = digests.get("gitCommit")
    # `sha1` is what builders called it before `gitCommit`, but a sha1 of other things is none; GitLab's runner files
    # the 40 digits of a commit under `sha256`.
    if found is None and (uri.startswith("git+") or ".git" in uri):
        found = digests.get("sha1")
    found = digests.get("sha256") if found is None else found
    return found if isinstance(found, str) and _GIT.fullmatch(found) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _text(value: Any) -> str | None:
    return value[:_MAX_TEXT] if isinstance(value, str) else None
