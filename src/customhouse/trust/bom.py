"""The bill of materials of a model: CycloneDX 1.6 or 1.7 ML-BOM as plain JSON (ECMA-424).

    bom = model_bom(name="fraud-detection", version="v2.0", tree=seen.files, issued_at=clock.now(),
                    described=seen.descriptions, libraries=installed_libraries(["numpy"]))

The same inputs give the same document: serial number from the digest, time injected, everything sorted.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from customhouse import __version__
from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import Tree, is_digest
from customhouse.core.errors import ArtifactError
from customhouse.trust.bom_given import Given
from customhouse.trust.bom_merge import ImageBill
from customhouse.trust.bom_modelcard import gather, model_card
from customhouse.trust.bom_parts import (
    APPROACHES,
    Base,
    Considerations,
    Material,
    Metric,
    hashed,
    hub_name,
    licences,
    properties,
    reference,
)
from customhouse.trust.libraries import Library, installed_libraries
from customhouse.trust.scan.description import Description, described_onnx
from customhouse.trust.scan.model_description import describe_onnx
from customhouse.trust.scan.onnx import OnnxModel

__all__ = [
    "SPEC_VERSIONS",
    "Considerations",
    "Library",
    "Material",
    "Metric",
    "OnnxModel",
    "describe_onnx",
    "installed_libraries",
    "model_bom",
]

SPEC_VERSIONS = ("1.6", "1.7")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://customhouse.dev/bom")


def model_bom(
    *,
    name: str,
    version: str,
    tree: Tree,
    issued_at: datetime,
    onnx: OnnxModel | None = None,
    described: Mapping[str, Description] | None = None,
    given: Given | None = None,
    spec_version: str = "1.6",
    task: str = "",
    approach: str = "",
    architecture_family: str = "",
    architecture: str = "",
    datasets: Sequence[Material] = (),
    training_code: Material | None = None,
    libraries: Sequence[Library] = (),
    images: Sequence[ImageBill] = (),
    metrics: Sequence[Metric] = (),
    considerations: Considerations | None = None,
    licence: str = "",
    description: str = "",
    properties: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The document of one model, bound to its tree digest. `issued_at` is UTC-aware.

    `described` is what the files say, `given` what people say (and is believed first), `images` the bills of the images
    that it runs in. Raises ArtifactError when the name is empty, the approach is
    none of CycloneDX, or a digest is none.
    """
    given = _completed(
        given or Given(),
        task=task,
        approach=approach,
        family=architecture_family,
        architecture=architecture,
        considerations=considerations,
        licence=licence,
        description=description,
    )
    said = dict(described or {})
    if onnx is not None:
        said["model.onnx"] = described_onnx(onnx)
    # The same bytes under one name are one dataset: the card, which says more of it, before the command line.
    known = {(item.name, item.digest): item for item in (*datasets, *given.datasets)}
    materials = [known[key] for key in sorted(known)]
    code = training_code or given.training_code
    _check(name, given.approach, materials, code, spec_version)
    words = gather(given, said)
    data = [_dataset(item) for item in materials]
    sources = [] if code is None else [_code(code)]
    shelf = _shelf(libraries)
    files = [_file(entry.path, entry.digest, entry.blake3, entry.size) for entry in tree.files]
    below = _numbered(images)
    subject: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{tree.digest}" if tree.single or _pinned(tree) else f"model:blake3:{tree.digest}",
        "name": name,
        "version": version,
        **({"hashes": [hashed(tree.digest)]} if tree.single or _pinned(tree) else {}),
        "modelCard": model_card(words, given, data, metrics),
        "properties": _about(tree, replace(given, no_base=given.no_base and not words.base_models), properties or {}),
        **_told(given, words.about, words.licence),
    }
    if words.base_models:
        subject["pedigree"] = {"ancestors": [_base(base) for base in words.base_models]}
    parts = [*files, *data, *sources, *(_library(item) for item in shelf.values())]
    parts += [part for bill in below for part in bill.parts]
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{spec_version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": spec_version,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, tree.digest)}",
        "version": 1,
        "metadata": _metadata(subject, given, issued_at),
        "components": parts,
        "dependencies": _dependencies(subject["bom-ref"], [*files, *data], sources, shelf, below),
    }


def _metadata(subject: Mapping[str, Any], given: Given, issued_at: datetime) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "timestamp": to_rfc3339(issued_at),
        "lifecycles": [{"phase": "post-build"}],
        "tools": {"components": [{"type": "application", "name": "customhouse", "version": __version__}]},
        "component": subject,
    }
    if given.author or given.producer:
        metadata["authors"] = [{"name": given.author or given.producer}]
    return metadata


def _completed(given: Given, **said: Any) -> Given:
    """What was given, completed by what the caller says where it says nothing."""
    return replace(given, **{name: getattr(given, name) or value for name, value in said.items()})


def _check(name: str, approach: str, datasets: Sequence[Material], code: Material | None, spec_version: str) -> None:
    if not name:
        raise ArtifactError("a bill of materials needs the model's name", hint="give its declared name")
    if spec_version not in SPEC_VERSIONS:
        raise ArtifactError(f"CycloneDX {spec_version} is not written", hint=f"one of {', '.join(SPEC_VERSIONS)}")
    if approach and approach not in APPROACHES:
        raise ArtifactError(f"{approach!r} is no approach of CycloneDX", hint=f"one of {', '.join(sorted(APPROACHES))}")
    for item in (*datasets, *([code] if code is not None else [])):
        if not is_digest(item.digest) and not (item is code and item.commit and not item.digest):
            raise ArtifactError(f"{item.digest!r} is no digest", where=item.name, hint="sha256: and 64 hex digits")


def _pinned(tree: Tree) -> bool:
    """Whether the digest is the one that declarations pin: with blake3 alone it is that of another listing."""
    return all(is_digest(entry.digest) for entry in tree.files)


def _about(tree: Tree, given: Given, others: Mapping[str, str]) -> list[dict[str, str]]:
    """What CycloneDX has no field for, under names of ours; `trust.bom_score` looks here too."""
    return properties(
        {
            "customhouse:tree-digest" if _pinned(tree) else "customhouse:tree-blake3": tree.digest,
            "customhouse:released": given.released,
            "customhouse:application-area": given.application_area,
            "customhouse:base-models": "none" if given.no_base else "",
            "customhouse:data-flow": given.data_flow,
            "customhouse:data-usage": given.data_usage,
            "customhouse:infrastructure:software": given.software,
            "customhouse:infrastructure:hardware": given.hardware,
            "customhouse:security:controls": "; ".join(given.security_controls),
            "customhouse:security:compliance": "; ".join(given.security_compliance),
            **others,
        }
    )


def _told(given: Given, about: str, licence: str) -> dict[str, Any]:
    """What a component says of itself in words."""
    shown: dict[str, Any] = {}
    if given.producer:
        shown["supplier"] = {"name": given.producer}
    if about:
        shown["description"] = about
    if licence:
        shown["licenses"] = licences(licence)
    if given.identifier.startswith("pkg:"):
        shown["purl"] = given.identifier
    links = [*given.references]
    if given.identifier and "purl" not in shown:
        links.append(("other", given.identifier))
    if given.security_policy:
        links.append(("security-contact", given.security_policy))
    if given.vulnerabilities:
        links.append(("advisories", given.vulnerabilities))
    if links:
        shown["externalReferences"] = [{"type": kind, "url": reference(url)} for kind, url in dict.fromkeys(links)]
    return shown


def _file(path: str, digest: str, blake3: str, size: int) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"file:{path}",
        "name": path,
        "hashes": [hashed(one) for one in dict.fromkeys((digest, blake3)) if one],
        "properties": properties({"customhouse:size": str(size)}),
    }


def _base(item: Base) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "machine-learning-model", "name": item.name}
    identifier = item.identifier or hub_name(item.name)
    if item.version:
        shown["version"] = item.version
    if identifier.startswith("pkg:"):
        shown["purl"] = identifier + (f"@{item.version}" if item.version and "@" not in identifier else "")
    if item.digest:
        shown["hashes"] = [hashed(item.digest)]
    if item.note:
        shown["description"] = item.note
    if item.licence:
        shown["licenses"] = licences(item.licence)
    return shown


def _dataset(item: Material) -> dict[str, Any]:
    data: dict[str, Any] = {"type": "dataset", "name": item.name}
    if item.content:
        data["description"] = item.content
    if item.sensitivity:
        data["sensitiveData"] = [item.sensitivity]
    if item.identifier:
        data["contents"] = {"url": reference(item.identifier)}
    shown: dict[str, Any] = {
        "type": "data",
        "bom-ref": f"data:{item.name}@{item.digest}",
        "name": item.name,
        "hashes": [hashed(item.digest)],
        "data": [data],
    }
    return _described(shown, item)


def _code(item: Material) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": "application",
        "bom-ref": f"code:{item.name}@{item.digest or item.commit}",
        "name": item.name,
    }
    if item.digest:
        shown["hashes"] = [hashed(item.digest)]
    if item.commit:
        where = {"url": reference(item.repository)} if item.repository else {}
        shown["pedigree"] = {"commits": [{"uid": item.commit, **where}]}
    if item.repository:
        shown["externalReferences"] = [{"type": "vcs", "url": reference(item.repository)}]
    return _described(shown, item)


def _described(shown: dict[str, Any], item: Material) -> dict[str, Any]:
    if item.version:
        shown["version"] = item.version
    if item.description:
        shown["description"] = item.description
    if item.licence:
        shown["licenses"] = licences(item.licence)
    told = properties(
        {
            "customhouse:size": "" if item.size is None else str(item.size),
            "customhouse:provenance": item.provenance,
            "customhouse:statistics": item.statistics,
        }
    )
    if told:
        shown["properties"] = told
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
        shown["licenses"] = licences(item.licence)
    if item.files:
        # Of a version there are several archives; which of them was installed a lock file does not say.
        shown["externalReferences"] = [
            {"type": "distribution", "url": reference(file.url), "hashes": [hashed(file.digest)]} for file in item.files
        ]
    if item.note or item.hints:
        told = {f"customhouse:hint:{kind}": message for kind, message in item.hints}
        shown["properties"] = properties({"customhouse:origin": item.note, **told})
    return shown


def _shelf(libraries: Sequence[Library]) -> dict[str, Library]:
    """Libraries by package URL, each once; the one that says more stays."""
    found: dict[str, Library] = {}
    for item in sorted(libraries, key=lambda item: (item.name, item.purl, -len(item.files), -len(item.licence))):
        known = found.setdefault(item.purl, item)
        if known is not item:
            found[item.purl] = replace(
                known,
                licence=known.licence or item.licence,
                files=known.files or item.files,
                requires=known.requires or item.requires,
            )
    return found


def _numbered(images: Sequence[ImageBill]) -> list[ImageBill]:
    """With more than one image, each has references of its own."""
    if len(images) < 2:
        return list(images)

    def renamed(ref: str, number: int) -> str:
        return f"image{number}:{ref.removeprefix('image:')}"

    return [
        ImageBill(
            tuple({**part, "bom-ref": renamed(str(part["bom-ref"]), number)} for part in bill.parts),
            {renamed(ref, number): tuple(renamed(need, number) for need in needs) for ref, needs in bill.needs.items()},
        )
        for number, bill in enumerate(images, 1)
    ]


def _dependencies(
    model_ref: str,
    leaves: Sequence[Mapping[str, Any]],
    code: Sequence[Mapping[str, Any]],
    shelf: Mapping[str, Library],
    images: Sequence[ImageBill],
) -> list[dict[str, Any]]:
    """The model rests on files, data and code; the code (else the model) on the libraries that nothing needs."""
    named: dict[str, list[str]] = {}
    for item in shelf.values():
        named.setdefault(item.name, []).append(item.purl)
    needs = {
        item.purl: sorted(
            {purl for need in item.requires for purl in ([need] if need in shelf else named.get(need, []))}
            - {item.purl}
        )
        for item in shelf.values()
    }
    wanted = {purl for listed in needs.values() for purl in listed}
    roots = sorted(set(shelf) - wanted) or sorted(shelf)
    parts = [str(item["bom-ref"]) for item in (*leaves, *code)]
    below = [str(bill.parts[0]["bom-ref"]) for bill in images]
    rows = [{"ref": model_ref, "dependsOn": sorted({*parts, *below, *([] if code else roots)})}]
    rows += [{"ref": str(item["bom-ref"]), "dependsOn": []} for item in leaves]
    rows += [
        {"ref": str(part["bom-ref"]), "dependsOn": list(bill.needs.get(str(part["bom-ref"]), ()))}
        for bill in images
        for part in bill.parts
    ]
    rows += [{"ref": str(item["bom-ref"]), "dependsOn": roots} for item in code]
    rows += [{"ref": purl, "dependsOn": listed} for purl, listed in needs.items()]
    return sorted(rows, key=lambda row: str(row["ref"]))
