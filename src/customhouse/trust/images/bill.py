"""The bill of materials of an image: CycloneDX 1.6 as plain JSON, the same each time but for the time."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from customhouse import __version__
from customhouse._kit.clock import to_rfc3339
from customhouse.trust.bom_parts import hashed, licences, properties
from customhouse.trust.images.listing import Listed, Listing

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://customhouse.dev/image-bom")


def image_bill(
    name: str,
    digest: str,
    listing: Listing,
    layers: Sequence[Mapping[str, Any]],
    issued_at: datetime,
    platform: str = "",
) -> dict[str, Any]:
    """The document of one image or folder. `digest` is the image's (empty: a folder); `issued_at` is UTC-aware.

    A listing that is not complete says so (`compositions`), as the standard has it.
    """
    image: dict[str, Any] = {"type": "container", "bom-ref": f"image:{digest or name}", "name": name or "image"}
    if digest:
        image |= {"version": digest, "hashes": [hashed(digest)]}
    said = {"customhouse:platform": platform, "customhouse:unread": str(len(listing.unread) or "")}
    if any(said.values()):
        image["properties"] = properties(said)
    parts, needs = _components(listing, layers)
    system = listing.distribution
    if system.identifier:
        about = {"type": "operating-system", "bom-ref": f"os:{system.identifier}", "name": system.identifier}
        parts.insert(0, {**about, **({"version": system.version} if system.version else {})})
    every = sorted(str(part["bom-ref"]) for part in parts)
    rows = [{"ref": str(image["bom-ref"]), "dependsOn": every}]
    rows += [{"ref": ref, "dependsOn": sorted(needs.get(ref, ()))} for ref in every]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{digest or name} {platform}')}",
        "version": 1,
        "metadata": {
            "timestamp": to_rfc3339(issued_at),
            "lifecycles": [{"phase": "post-build"}],
            "tools": {"components": [{"type": "application", "name": "customhouse", "version": __version__}]},
            "component": image,
        },
        "components": parts,
        "dependencies": rows,
        "compositions": [
            {"aggregate": "complete" if listing.complete else "incomplete", "assemblies": [str(image["bom-ref"])]}
        ],
    }


def _components(
    listing: Listing, layers: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, set[str]]]:
    """Packages by their URL, each once with all its places; and what needs what, where metadata says so."""
    by_ref: dict[str, list[Listed]] = {}
    for item in listing.packages:
        by_ref.setdefault(item.purl, []).append(item)
    names: dict[tuple[str, str], set[str]] = {}
    for ref, items in by_ref.items():
        names.setdefault((items[0].found.kind, items[0].found.name), set()).add(ref)
    parts, needs = [], {}
    for ref in sorted(by_ref):
        items = by_ref[ref]
        found = items[0].found
        part: dict[str, Any] = {"type": "library", "bom-ref": ref, "name": found.name, "purl": ref}
        if found.version:
            part["version"] = found.version
        if found.licence:
            part["licenses"] = licences(found.licence)
        part["evidence"] = {"occurrences": [{"location": f"/{item.path}"} for item in items[:100]]}
        digests = [str(layers[item.layer]["digest"]) for item in items if item.layer < len(layers)]
        told = {
            "customhouse:layer": next((text for text in digests if text), ""),
            "customhouse:note": found.note,
            "customhouse:owner": items[0].owner,
        }
        if any(told.values()):
            part["properties"] = properties(told)
        parts.append(part)
        needs[ref] = {other for name in found.requires for other in names.get((found.kind, name), ())} - {ref}
    return parts, needs
