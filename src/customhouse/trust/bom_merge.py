"""The bill of the image that a model runs in, as another tool wrote it (CycloneDX or SPDX 2 JSON), made part of ours.

Only what is needed is taken over: name, version, package URL, CPE, hashes, licences and what needs what. Every part is
kept, under a reference of its own (`image:…`), so that nothing collides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse._kit.single_keys import each_once
from customhouse.core.errors import ArtifactError
from customhouse.trust.bom_parts import hashed, is_hash, licences
from customhouse.trust.scan.words import words

MAX_BYTES = 128 * 1024 * 1024
MAX_PARTS = 100_000
_MAX_DEPTH = 32
_TYPES = words("application framework library container platform operating-system device device-driver firmware file")
_PURPOSES = {"OPERATING-SYSTEM": "operating-system", "CONTAINER": "container", "APPLICATION": "application"}
_NAMES = {"SHA-256": "sha256", "SHA256": "sha256", "SHA-1": "sha1", "SHA1": "sha1", "SHA-512": "sha512",
          "SHA512": "sha512", "SHA-384": "sha384", "SHA384": "sha384", "MD5": "md5", "BLAKE3": "blake3"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageBill:
    """The parts of an image, the image itself first, and what needs what among them."""

    parts: tuple[dict[str, Any], ...]
    needs: Mapping[str, tuple[str, ...]]


def read_image(data: bytes, where: str) -> ImageBill:
    """Raises ArtifactError for what is no such bill."""
    if len(data) > MAX_BYTES:
        raise ArtifactError(f"over {MAX_BYTES >> 20} MiB", where=where)
    hint = "CycloneDX JSON (syft -o cyclonedx-json, trivy --format cyclonedx) or SPDX 2 JSON"
    try:
        said = json.loads(data, object_pairs_hook=each_once)
        if isinstance(said, dict) and said.get("bomFormat") == "CycloneDX":
            return _cyclonedx(said)
        if isinstance(said, dict) and str(said.get("spdxVersion", "")).startswith("SPDX-2."):
            return _spdx(said)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"cannot be read as a bill of materials: {error}", where=where, hint=hint) from error
    raise ArtifactError("no bill of materials of an image", where=where, hint=hint)


def _cyclonedx(said: Mapping[str, Any]) -> ImageBill:
    listed = list(_flat(said.get("components", []), 0))
    root = said.get("metadata", {}).get("component")
    if isinstance(root, dict):
        listed.insert(0, root)
    parts: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for index, item in enumerate(listed):
        own = str(item.get("bom-ref") or item.get("purl") or f"{index}")
        ref = names.setdefault(own, f"image:{own}") if own not in names else f"image:{index}:{own}"
        kind = item.get("type")
        hashes = [f"{_NAMES.get(str(h.get('alg')), '')}:{h.get('content')}" for h in item.get("hashes", [])]
        texts = [_cyclonedx_licence(entry) for entry in item.get("licenses", [])]
        parts.append(_part(kind if kind in _TYPES else "library", ref, item, hashes, texts))
    needs = {
        names[row["ref"]]: tuple(sorted({names[need] for need in row.get("dependsOn", []) if need in names}))
        for row in said.get("dependencies", [])
        if row["ref"] in names
    }
    return _complete(parts, needs)


def _flat(items: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    if depth > _MAX_DEPTH:
        raise ValueError("components nested too deep")
    for item in items:
        yield item
        yield from _flat(item.get("components", []), depth + 1)


def _cyclonedx_licence(entry: Mapping[str, Any]) -> str:
    if "expression" in entry:
        return str(entry["expression"])
    licence = entry.get("license", {})
    return str(licence.get("id") or licence.get("name") or "")


def _spdx(said: Mapping[str, Any]) -> ImageBill:
    described = set(said.get("documentDescribes", []))
    rows = said.get("relationships", [])
    described |= {row["relatedSpdxElement"] for row in rows if row["relationshipType"] == "DESCRIBES"}
    listed = sorted(said.get("packages", []), key=lambda item: item["SPDXID"] not in described)
    parts = []
    for item in listed:
        references = {row.get("referenceType"): row.get("referenceLocator") for row in item.get("externalRefs", [])}
        hashes = [f"{_NAMES.get(row['algorithm'], '')}:{row['checksumValue']}" for row in item.get("checksums", [])]
        texts = [str(item.get(key, "")) for key in ("licenseConcluded", "licenseDeclared")]
        chosen = next((text for text in texts if text not in ("", "NOASSERTION", "NONE")), "")
        kind = _PURPOSES.get(str(item.get("primaryPackagePurpose", "")), "library")
        fields = {
            "name": item["name"],
            "version": item.get("versionInfo"),
            "purl": references.get("purl"),
            "cpe": references.get("cpe23Type"),
        }
        parts.append(_part(kind, f"image:{item['SPDXID']}", fields, hashes, [chosen]))
    known = {part["bom-ref"] for part in parts}
    needs: dict[str, set[str]] = {}
    for row in rows:
        left, right = f"image:{row['spdxElementId']}", f"image:{row['relatedSpdxElement']}"
        if row["relationshipType"] in ("DEPENDENCY_OF", "CONTAINED_BY"):
            left, right = right, left
        elif row["relationshipType"] not in ("DEPENDS_ON", "CONTAINS"):
            continue
        if left in known and right in known and left != right:
            needs.setdefault(left, set()).add(right)
    return _complete(parts, {ref: tuple(sorted(found)) for ref, found in needs.items()})


def _part(kind: str, ref: str, item: Mapping[str, Any], hashes: list[str], said: list[str]) -> dict[str, Any]:
    name = str(item.get("name") or "")
    if not name:
        raise ValueError("a part without a name")
    shown: dict[str, Any] = {"type": kind, "bom-ref": ref, "name": name}
    for key in ("version", "purl", "cpe"):
        if item.get(key):
            shown[key] = str(item[key])
    found = [digest for digest in dict.fromkeys(hashes) if is_hash(digest)]
    if found:
        shown["hashes"] = [hashed(digest) for digest in found]
    texts = list(dict.fromkeys(text for text in said if text))
    if len(texts) == 1:
        shown["licenses"] = licences(texts[0])
    elif texts:  # several: CycloneDX takes many licences or one expression, not both
        shown["licenses"] = [{"license": {"name": text[:200]}} for text in texts]
    return shown


def _complete(parts: list[dict[str, Any]], needs: Mapping[str, tuple[str, ...]]) -> ImageBill:
    if not parts:
        raise ValueError("it lists nothing")
    if len(parts) > MAX_PARTS:
        raise ValueError(f"more than {MAX_PARTS} parts")
    # What nothing needs hangs on the image itself, so that every part is reached from the model.
    root = str(parts[0]["bom-ref"])
    wanted = {need for found in needs.values() for need in found}
    loose = {str(part["bom-ref"]) for part in parts} - wanted - {root}
    return ImageBill(tuple(parts), {**needs, root: tuple(sorted({*needs.get(root, ()), *loose}))})
