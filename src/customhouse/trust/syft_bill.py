"""Syft's own JSON (`syft -o json`): a list of packages and no report, to be matched against our advisories.

Shape: `schema/json/schema-16.*.json` of anchore/syft; `artifacts` with name, version and purl, `source` with what was
looked at, `descriptor` with Syft's name and version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse.core.vulnerability import Package
from customhouse.trust.reported import Gaps, items, mapping, strings, text
from customhouse.trust.vulnerabilities.ecosystems import package_of

MAX_PACKAGES = 500_000


@dataclass(frozen=True, slots=True)
class SyftBill:
    """What Syft listed; `subjects` are digests of what it looked at, `gaps` what could not be read."""

    packages: tuple[Package, ...]
    subjects: tuple[str, ...]
    version: str
    gaps: tuple[str, ...]


def is_syft(document: Any) -> bool:
    """Whether a document is of Syft's own form."""
    said = mapping(document)
    return "artifacts" in said and mapping(said.get("descriptor")).get("name") == "syft"


def read_syft(document: Mapping[str, Any]) -> SyftBill:
    """The packages. One without a package URL stays, with no ecosystem: nothing can be said of it, which is told."""
    gaps = Gaps()
    found: list[Package] = []
    listed = items(document.get("artifacts"))
    if not isinstance(document.get("artifacts"), list) or len(listed) > MAX_PACKAGES:
        gaps.add(f"artifacts is no list, or has more than {MAX_PACKAGES} packages")
    for index, item in enumerate(listed[:MAX_PACKAGES]):
        said = mapping(item)
        name, version, purl = text(said.get("name")), text(said.get("version")), said.get("purl")
        places = [text(mapping(one).get("path")) for one in items(said.get("locations"))]
        place = next((one for one in places if one), "")
        if not isinstance(purl, str) or not purl:
            found.append(Package(name or f"artifact {index}", version, "", file=place))
            continue
        try:
            package = package_of(purl, file=place)
        except ValueError as error:
            gaps.add(f"{name or f'artifact {index}'}: {error}")
            continue
        if package is not None:
            found.append(package)
    source = mapping(document.get("source"))
    target = mapping(source.get("metadata")) or mapping(source.get("target"))
    named = [text(target.get("manifestDigest"))]
    named += [reference.rpartition("@")[2] for reference in strings(target.get("repoDigests"))]
    subjects = tuple(dict.fromkeys(item for item in named if is_digest(item)))
    version = text(mapping(document.get("descriptor")).get("version"))
    return SyftBill(tuple(found), subjects, version, gaps.all())
