"""Packages from bills of materials: CycloneDX and SPDX (2.2, 2.3 and 3.0) in JSON, ours and other people's.

A library of which the bill gives no package URL is not dropped: it comes out with an empty ecosystem, of which nothing
can be said, so that nobody takes the rest for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from customhouse.core.errors import ArtifactError
from customhouse.core.vulnerability import Package
from customhouse.trust.vulnerabilities.ecosystems import DISTRIBUTIONS, family_of, has_release, of_release, package_of
from customhouse.trust.vulnerabilities.paths import ways

MAX_COMPONENTS = 500_000
_MAX_NAME = 300
_PACKAGES = frozenset({"library", "framework", "platform", "device-driver", "firmware"})
"""Types of CycloneDX that are packages even where they have no package URL; applications are often lock files there."""
_SPDX_OTHERS = frozenset(
    {"FILE", "CONTAINER", "OPERATING-SYSTEM", "APPLICATION", "SOURCE", "ARCHIVE", "DEVICE", "OTHER"}
)
_PURL = re.compile(r'"(pkg:[^"]{1,2048})"')


@dataclass(frozen=True, slots=True)
class Listed:
    """What a bill, a lock file or a folder lists.

    `subjects` name the whole (package URLs, digests), `skipped` counts models, images and files, which are no
    packages, and `problems` are what could not be read: then the list is not whole.
    """

    packages: tuple[Package, ...]
    subjects: frozenset[str] = frozenset()
    skipped: int = 0
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class _Gathered:
    where: str
    lines: Mapping[str, int]
    found: list[Package] = field(default_factory=list)
    skipped: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, purl: str, name: str, version: str, path: tuple[str, ...], *, is_package: bool) -> None:
        """One component; without a package URL it counts only if it `is_package`."""
        if not purl:
            if is_package:
                self.found.append(Package(name[:_MAX_NAME], version[:_MAX_NAME], "", file=self.where, path=path))
            else:
                self.skipped += 1
            return
        try:
            package = package_of(purl, file=self.where, line=self.lines.get(purl, 0), path=path)
        except ValueError as error:
            self.problems.append(f"{self.where}: {name[:80]!r}: {error}")
            return
        if package is None:
            self.skipped += 1
        else:
            self.found.append(package)


def is_bill(said: Any) -> bool:
    """Whether a JSON value is a bill of materials of a kind that is read here."""
    return isinstance(said, dict) and (
        said.get("bomFormat") == "CycloneDX" or "spdxVersion" in said or "spdx.org" in str(said.get("@context", ""))
    )


def read_bill(said: Any, where: str, text: str = "") -> Listed:
    """The packages of a bill; `text` is the document, for the numbers of lines. Raises ArtifactError."""
    if not is_bill(said):
        _refuse(where, "no bill of materials: neither CycloneDX nor SPDX in JSON")
    gathered = _Gathered(where, _lines(text))
    if said.get("bomFormat") == "CycloneDX":
        subjects = _cyclonedx(said, gathered)
    elif "spdxVersion" in said:
        subjects = _spdx2(said, gathered)
    else:
        subjects = _spdx3(said, gathered)
    if len(gathered.found) > MAX_COMPONENTS:
        _refuse(where, f"more than {MAX_COMPONENTS} packages")
    return Listed(tuple(gathered.found), frozenset(subjects), gathered.skipped, tuple(gathered.problems))


def _lines(text: str) -> dict[str, int]:
    """The first line that each package URL stands in."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1) if text.count("\n") else ():
        if "pkg:" in line:
            for purl in _PURL.findall(line[:4096]):
                found.setdefault(purl, number)
    return found


def _cyclonedx(said: Mapping[str, Any], gathered: _Gathered) -> set[str]:
    metadata = said.get("metadata") if isinstance(said.get("metadata"), dict) else {}
    top = metadata.get("component") if isinstance(metadata, dict) else None
    top = top if isinstance(top, dict) else {}
    components = list(_components(said, gathered.where))
    names = {str(item.get("bom-ref")): str(item.get("name", ""))[:_MAX_NAME] for item in [top, *components]}
    needs = {str(row["ref"]): [str(one) for one in row["dependsOn"]] for row in _dependencies(said)}
    root = str(top.get("bom-ref", ""))
    way = ways(needs, [root] if root in needs else [])
    release = _release(components)
    for item in components:
        before = tuple(names.get(one, one) for one in way.get(str(item.get("bom-ref")), ()) if one != root)
        purl = item.get("purl") if isinstance(item.get("purl"), str) else ""
        gathered.add(
            str(purl), str(item.get("name", "")), str(item.get("version", "")), before,
            is_package=str(item.get("type")) in _PACKAGES,
        )  # fmt: skip
        if purl and gathered.found and gathered.found[-1].purl == purl:
            gathered.found[-1] = _sourced(_released(gathered.found[-1], release), item)
    return _subjects(top)


def _components(said: Mapping[str, Any], where: str) -> Iterator[Mapping[str, Any]]:
    top = said.get("metadata")
    inner = top.get("component") if isinstance(top, dict) else None
    pending: list[Any] = [said.get("components", []), inner.get("components", []) if isinstance(inner, dict) else []]
    count = 0
    while pending:
        listed = pending.pop()
        if not isinstance(listed, list):
            _refuse(where, "`components` is no list")
        for item in listed:
            if not isinstance(item, dict):
                _refuse(where, "a component is no object")
            count += 1
            if count > MAX_COMPONENTS:
                _refuse(where, f"more than {MAX_COMPONENTS} components")
            yield item
            if item.get("components"):
                pending.append(item["components"])


def _dependencies(said: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for row in _rows(said.get("dependencies")):
        if isinstance(row, dict) and isinstance(row.get("ref"), str) and isinstance(row.get("dependsOn"), list):
            yield row


def _subjects(top: Mapping[str, Any]) -> set[str]:
    found = {str(top[key]) for key in ("purl", "bom-ref") if isinstance(top.get(key), str)}
    for row in _rows(top.get("hashes")):
        if isinstance(row, dict) and row.get("alg") == "SHA-256":
            found.add(f"sha256:{row.get('content')}")
    return found


def _release(components: list[Mapping[str, Any]]) -> Mapping[str, str]:
    """Family → release, of the operating system that the bill lists."""
    found = {}
    for item in components:
        if item.get("type") == "operating-system":
            family = DISTRIBUTIONS.get(str(item.get("name", "")).lower(), "")
            found[family] = of_release(family, str(item.get("version", "")))
    return found


def _released(package: Package, release: Mapping[str, str]) -> Package:
    """A package of a distribution whose package URL says no release has that of the system it lies in."""
    family = family_of(package.ecosystem)
    if has_release(family) and ":" not in package.ecosystem and release.get(family):
        return replace(package, ecosystem=release[family])
    return package


def _sourced(package: Package, item: Mapping[str, Any]) -> Package:
    """Trivy tells of the source package in properties."""
    rows = [row for row in _rows(item.get("properties")) if isinstance(row, dict)]
    own = {str(row.get("name")): str(row.get("value")) for row in rows}
    name = own.get("aquasecurity:trivy:SrcName", "")
    if not name or package.source or family_of(package.ecosystem) not in ("Debian", "Ubuntu", "Alpine"):
        return package
    version = own.get("aquasecurity:trivy:SrcVersion", "")
    release, epoch = own.get("aquasecurity:trivy:SrcRelease", ""), own.get("aquasecurity:trivy:SrcEpoch", "")
    whole = f"{epoch}:{version}" if epoch and epoch != "0" else version
    return replace(package, source=name, source_version=f"{whole}-{release}" if release and version else whole)


def _spdx2(said: Mapping[str, Any], gathered: _Gathered) -> set[str]:
    packages = said.get("packages", [])
    if not isinstance(packages, list) or len(packages) > MAX_COMPONENTS:
        _refuse(gathered.where, f"`packages` is no list of at most {MAX_COMPONENTS}")
    rows = [item for item in packages if isinstance(item, dict)]
    names = {str(item.get("SPDXID")): str(item.get("name", ""))[:_MAX_NAME] for item in rows}
    described = {str(one) for one in _rows(said.get("documentDescribes")) if isinstance(one, str)}
    needs: dict[str, list[str]] = {}
    for row in _rows(said.get("relationships")):
        if not isinstance(row, dict):
            continue
        left, kind, right = (str(row.get(key)) for key in ("spdxElementId", "relationshipType", "relatedSpdxElement"))
        if kind == "DESCRIBES":
            described.add(right)
        elif kind in ("DEPENDS_ON", "CONTAINS"):
            needs.setdefault(left, []).append(right)
        elif kind in ("DEPENDENCY_OF", "CONTAINED_BY"):
            needs.setdefault(right, []).append(left)
    way = ways(needs, [one for one in described if one in needs])
    subjects: set[str] = set()
    for item in rows:
        own = str(item.get("SPDXID"))
        purl = _spdx2_purl(item)
        if own in described:
            subjects |= {purl} if purl else set()
        before = tuple(names.get(one, one) for one in way.get(own, ()) if one not in described)
        other = str(item.get("primaryPackagePurpose")) in _SPDX_OTHERS or own in described
        version = str(item.get("versionInfo", ""))
        if not (own in described and not version):
            gathered.add(purl, names[own], version, before, is_package=not other)
    return subjects


def _spdx2_purl(item: Mapping[str, Any]) -> str:
    for row in _rows(item.get("externalRefs")):
        if isinstance(row, dict) and row.get("referenceType") in ("purl", "http://spdx.org/rdf/references/purl"):
            return str(row.get("referenceLocator", ""))
    return ""


def _spdx3(said: Mapping[str, Any], gathered: _Gathered) -> set[str]:
    graph = said.get("@graph", [])
    if not isinstance(graph, list) or len(graph) > 4 * MAX_COMPONENTS:
        _refuse(gathered.where, "`@graph` is no list")
    rows = [item for item in graph if isinstance(item, dict)]
    names = {str(item.get("spdxId") or item.get("@id")): str(item.get("name", ""))[:_MAX_NAME] for item in rows}
    needs: dict[str, list[str]] = {}
    for row in rows:
        if str(row.get("relationshipType")) in ("dependsOn", "contains") and isinstance(row.get("to"), list):
            needs.setdefault(str(row.get("from")), []).extend(str(one) for one in row["to"])
    roots = {
        str(one)
        for row in rows
        if str(row.get("type", "")).endswith(("SpdxDocument", "Sbom", "Bom"))
        for one in _rows(row.get("rootElement"))
    }
    way = ways(needs, [one for one in roots if one in needs])
    subjects: set[str] = set()
    for item in rows:
        if str(item.get("type", "")) not in ("software_Package", "Package"):
            continue
        own, purl = str(item.get("spdxId") or item.get("@id")), _spdx3_purl(item)
        if own in roots:
            subjects |= {purl} if purl else set()
        before = tuple(names.get(one, one) for one in way.get(own, ()) if one not in roots)
        purpose = str(item.get("software_primaryPurpose", "library"))
        version = str(item.get("software_packageVersion", ""))
        gathered.add(purl, names[own], version, before, is_package=purpose in ("library", "framework", "module"))
    return subjects


def _spdx3_purl(item: Mapping[str, Any]) -> str:
    if isinstance(item.get("software_packageUrl"), str):
        return str(item["software_packageUrl"])
    for row in _rows(item.get("externalIdentifier")):
        if isinstance(row, dict) and row.get("externalIdentifierType") == "packageUrl":
            return str(row.get("identifier", ""))
    return ""


def _rows(value: Any) -> list[Any]:
    """A list, or nothing: of what is no list only the ways in and the names of the whole are lost."""
    return value if isinstance(value, list) else []


def _refuse(where: str, message: str) -> NoReturn:
    raise ArtifactError(message, where=where, hint="give a CycloneDX or SPDX document in JSON")
