"""The bill of materials of a model: CycloneDX 1.6 ML-BOM as plain JSON (ECMA-424).

    bom = model_bom(name="fraud-detection", version="v2.0", tree=tree(path), issued_at=clock.now(),
                    onnx=describe_onnx(path / "model.onnx"), libraries=installed_libraries(["numpy"]))

The same inputs give the same document: serial number from the digest, time injected, everything sorted.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import Tree, is_digest
from customhouse.core.errors import ArtifactError
from customhouse.trust.libraries import Library, installed_libraries
from customhouse.trust.scan.model_description import describe_onnx
from customhouse.trust.scan.onnx import OnnxModel, OnnxValue
from customhouse.trust.scan.words import words

__all__ = [
    "Considerations",
    "Library",
    "Material",
    "Metric",
    "OnnxModel",
    "describe_onnx",
    "installed_libraries",
    "model_bom",
]

APPROACHES = frozenset({"supervised", "unsupervised", "reinforcement-learning", "semi-supervised", "self-supervised"})
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://customhouse.dev/bom")
_SPDX = words(
    """Apache-2.0 MIT BSD-2-Clause BSD-3-Clause ISC MPL-2.0 PSF-2.0 Python-2.0 Zlib Unlicense 0BSD CC0-1.0 CC-BY-4.0
    CC-BY-SA-4.0 GPL-2.0-only GPL-3.0-only LGPL-2.1-only LGPL-3.0-only AGPL-3.0-only MIT-0 MIT-CMU OpenSSL BSL-1.0"""
)
_EXPRESSION = re.compile(r"[A-Za-z0-9.\-+() ]+")


@dataclass(frozen=True, slots=True)
class Material:
    """A dataset or the training code: what it is called, its digest (`sha256:…`), size in bytes when known."""

    name: str
    digest: str
    version: str = ""
    size: int | None = None
    licence: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured quality (`auc`, `log-loss` …); `slice` names the part of the data, the bounds an interval."""

    type: str
    value: Decimal | str
    slice: str = ""
    low: Decimal | str | None = None
    high: Decimal | str | None = None


@dataclass(frozen=True, slots=True)
class Considerations:
    """What a reader of the model card should weigh; each a list of sentences."""

    users: Sequence[str] = ()
    use_cases: Sequence[str] = ()
    limitations: Sequence[str] = ()
    tradeoffs: Sequence[str] = ()
    ethical: Mapping[str, str] = field(default_factory=dict)
    """Risk to mitigation."""


def model_bom(
    *,
    name: str,
    version: str,
    tree: Tree,
    issued_at: datetime,
    onnx: OnnxModel | None = None,
    task: str = "",
    approach: str = "supervised",
    architecture_family: str = "",
    architecture: str = "",
    datasets: Sequence[Material] = (),
    training_code: Material | None = None,
    libraries: Sequence[Library] = (),
    metrics: Sequence[Metric] = (),
    considerations: Considerations | None = None,
    licence: str = "",
    description: str = "",
    properties: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The document of one model, bound to its tree digest. `issued_at` is UTC-aware.

    Raises ArtifactError when the name is empty, the approach is none of CycloneDX, or a digest is none.
    """
    _check(name, approach, datasets, training_code)
    model_ref = f"model:{tree.digest}"
    data = [_dataset(item) for item in sorted(set(datasets), key=lambda item: (item.name, item.digest))]
    code = [] if training_code is None else [_code(training_code)]
    shelf = _shelf(libraries)
    files = [
        {
            "type": "file",
            "bom-ref": f"file:{entry.path}",
            "name": entry.path,
            "hashes": [_hash(entry.digest)],
            "properties": _properties({"customhouse:size": str(entry.size)}),
        }
        for entry in tree.files
    ]
    library_parts = [_library(item) for item in shelf.values()]
    card = _card(
        onnx=onnx,
        task=task,
        approach=approach,
        family=architecture_family,
        architecture=architecture,
        data=data,
        metrics=metrics,
        considerations=considerations,
    )
    subject: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": model_ref,
        "name": name,
        "version": version,
        "hashes": [_hash(tree.digest)],
        "modelCard": card,
        "properties": _properties({"customhouse:tree-digest": tree.digest, **(properties or {})}),
    }
    if description:
        subject["description"] = description
    if licence:
        subject["licenses"] = _licences(licence)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, tree.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": to_rfc3339(issued_at),
            "tools": {"components": [{"type": "application", "name": "customhouse"}]},
            "component": subject,
        },
        "components": [*files, *data, *code, *library_parts],
        "dependencies": _dependencies(model_ref, files, data, code, shelf),
    }


def _check(name: str, approach: str, datasets: Sequence[Material], code: Material | None) -> None:
    if not name:
        raise ArtifactError("a bill of materials needs the model's name", hint="give its declared name")
    if approach not in APPROACHES:
        raise ArtifactError(f"{approach!r} is no approach of CycloneDX", hint=f"one of {', '.join(sorted(APPROACHES))}")
    for item in (*datasets, *([code] if code is not None else [])):
        if not is_digest(item.digest):
            raise ArtifactError(f"{item.digest!r} is no digest", where=item.name, hint="sha256: and 64 hex digits")


def _card(
    *,
    onnx: OnnxModel | None,
    task: str,
    approach: str,
    family: str,
    architecture: str,
    data: Sequence[Mapping[str, Any]],
    metrics: Sequence[Metric],
    considerations: Considerations | None,
) -> dict[str, Any]:
    parameters: dict[str, Any] = {"approach": {"type": approach}}
    if task:
        parameters["task"] = task
    if family:
        parameters["architectureFamily"] = family
    shown = architecture or (_architecture(onnx) if onnx is not None else "")
    if shown:
        parameters["modelArchitecture"] = shown
    if data:
        parameters["datasets"] = [{"ref": item["bom-ref"]} for item in data]
    if onnx is not None:
        parameters["inputs"] = [
            {"format": _format(value)} for value in onnx.inputs if value.name not in onnx.initializers
        ]
        parameters["outputs"] = [{"format": _format(value)} for value in onnx.outputs]
    card: dict[str, Any] = {"modelParameters": parameters}
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": [_metric(item) for item in metrics]}
    if considerations is not None:
        card["considerations"] = _considerations(considerations)
    if onnx is not None:
        card["properties"] = _properties(
            {
                "onnx:ir-version": str(onnx.ir_version),
                "onnx:producer": onnx.producer,
                "onnx:parameters": str(onnx.parameters),
                **{f"onnx:opset:{domain or 'ai.onnx'}": str(number) for domain, number in onnx.opsets.items()},
                **{f"onnx:operator:{kind}": str(count) for kind, count in onnx.operators.items()},
            }
        )
    return card


def _architecture(onnx: OnnxModel) -> str:
    """Operators by frequency, since ONNX keeps no other name of an architecture."""
    ranked = sorted(onnx.operators.items(), key=lambda item: (-item[1], item[0]))[:12]
    return ", ".join(f"{kind}×{count}" for kind, count in ranked)


def _format(value: OnnxValue) -> str:
    return f"{value.name}: {value.element}[{','.join(value.shape)}]"


def _metric(item: Metric) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": item.type, "value": str(item.value)}
    if item.slice:
        shown["slice"] = item.slice
    bounds = {"lowerBound": item.low, "upperBound": item.high}
    interval = {key: str(bound) for key, bound in bounds.items() if bound is not None}
    if interval:
        shown["confidenceInterval"] = interval
    return shown


def _considerations(item: Considerations) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "users": list(item.users),
        "useCases": list(item.use_cases),
        "technicalLimitations": list(item.limitations),
        "performanceTradeoffs": list(item.tradeoffs),
        "ethicalConsiderations": [
            {"name": risk, "mitigationStrategy": cure} for risk, cure in sorted(item.ethical.items())
        ],
    }
    return {key: value for key, value in shown.items() if value}


def _dataset(item: Material) -> dict[str, Any]:
    reference = f"data:{item.name}@{item.digest}"
    shown: dict[str, Any] = {
        "type": "data",
        "bom-ref": reference,
        "name": item.name,
        "hashes": [_hash(item.digest)],
        "data": [{"type": "dataset", "name": item.name}],
    }
    return _described(shown, item)


def _code(item: Material) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": "application",
        "bom-ref": f"code:{item.name}@{item.digest}",
        "name": item.name,
        "hashes": [_hash(item.digest)],
    }
    return _described(shown, item)


def _described(shown: dict[str, Any], item: Material) -> dict[str, Any]:
    if item.version:
        shown["version"] = item.version
    if item.description:
        shown["description"] = item.description
    if item.licence:
        shown["licenses"] = _licences(item.licence)
    if item.size is not None:
        shown["properties"] = _properties({"customhouse:size": str(item.size)})
    return shown


def _library(item: Library) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": "library",
        "bom-ref": item.purl,
        "name": item.name,
        "version": item.version,
        "purl": item.purl,
    }
    if item.licence:
        shown["licenses"] = _licences(item.licence)
    return shown


def _shelf(libraries: Sequence[Library]) -> dict[str, Library]:
    """Libraries by name, each once; two versions of one name cannot be in one environment."""
    return {item.name: item for item in sorted(libraries, key=lambda item: (item.name, item.version), reverse=True)}


def _dependencies(
    model_ref: str,
    files: Sequence[Mapping[str, Any]],
    data: Sequence[Mapping[str, Any]],
    code: Sequence[Mapping[str, Any]],
    shelf: Mapping[str, Library],
) -> list[dict[str, Any]]:
    """The model rests on files, data and code; the code (else the model) on the libraries that nothing needs."""
    wanted = {name for item in shelf.values() for name in item.requires}
    roots = sorted(item.purl for item in shelf.values() if item.name not in wanted) or sorted(
        item.purl for item in shelf.values()
    )
    parts = [str(item["bom-ref"]) for item in (*files, *data, *code)]
    rows = [{"ref": model_ref, "dependsOn": sorted({*parts, *([] if code else roots)})}]
    rows += [{"ref": str(item["bom-ref"]), "dependsOn": []} for item in (*files, *data)]
    rows += [{"ref": str(item["bom-ref"]), "dependsOn": roots} for item in code]
    for item in shelf.values():
        needs = sorted({shelf[name].purl for name in item.requires if name in shelf and name != item.name})
        rows.append({"ref": item.purl, "dependsOn": needs})
    return sorted(rows, key=lambda row: str(row["ref"]))


def _licences(text: str) -> list[dict[str, Any]]:
    if text in _SPDX:
        return [{"license": {"id": text}}]
    if _EXPRESSION.fullmatch(text) and re.search(r" (?:AND|OR|WITH) ", text):
        return [{"expression": text}]
    return [{"license": {"name": text[:200]}}]


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}


def _properties(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": key, "value": values[key]} for key in sorted(values)]
