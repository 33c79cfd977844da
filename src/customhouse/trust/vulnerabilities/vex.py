"""VEX: what somebody says of a vulnerability in a product. OpenVEX, CycloneDX and CSAF (profile csaf_vex) as one form.

    document = read_vex(data, "vex.json")
    findings = apply_vex(findings, document.statements, subjects={"pkg:oci/app@sha256:…"})

Only `not_affected` and `fixed` suppress a finding, and only of the very product: package URLs are compared part by
part, any other identifier letter by letter. Of several statements about one finding the newest counts; of two of one
time the one that suppresses nothing. Whether whoever speaks is to be believed is not decided here: `signer` says who
signed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from customhouse.core.vulnerability import Suppression, Vulnerability, by_weight
from customhouse.trust import strict_json
from customhouse.trust.vulnerabilities.ecosystems import name_key, package_of, read_purl
from customhouse.trust.vulnerabilities.vex_csaf import csaf
from customhouse.trust.vulnerabilities.vex_statements import (
    STATUSES,
    SUPPRESSING,
    Product,
    VexDocument,
    VexStatement,
    list_of,
    refuse,
    text_of,
    time_of,
)

MAX_STATEMENTS = 100_000
_CYCLONEDX = {
    "not_affected": "not_affected",
    "false_positive": "not_affected",
    "resolved": "fixed",
    "resolved_with_pedigree": "fixed",
    "exploitable": "affected",
    "in_triage": "under_investigation",
}


def read_vex(data: bytes, where: str, *, signer: str = "") -> VexDocument:
    """A VEX document of any of the three forms. Raises EvidenceError that names the member."""
    return vex_of(strict_json.parse(data, where), where, signer=signer)


def vex_of(said: Any, where: str, *, signer: str = "") -> VexDocument:
    """As `read_vex`, of a JSON value (the predicate of a signed statement). Raises EvidenceError."""
    if not isinstance(said, dict):
        refuse(where, "no VEX document")
    if "openvex" in str(said.get("@context", "")):
        made = _openvex(said, where, signer)
    elif said.get("bomFormat") == "CycloneDX":
        made = _cyclonedx(said, where, signer)
    elif isinstance(said.get("document"), dict) and "csaf_version" in said["document"]:
        made = csaf(said, where, signer)
    else:
        refuse(where, "no VEX document: neither OpenVEX, nor CycloneDX, nor CSAF")
    if len(made.statements) > MAX_STATEMENTS:
        refuse(where, f"more than {MAX_STATEMENTS} statements")
    return made


def apply_vex(
    findings: Iterable[Vulnerability], statements: Iterable[VexStatement], *, subjects: Collection[str] = ()
) -> tuple[Vulnerability, ...]:
    """The findings, each with the statement that suppresses it, worst first.

    `subjects` name what was scanned as a whole (the image's package URL or digest, the bill's own component): a
    statement about a product counts for what lies in it only where the product is one of these.
    """
    by_name: dict[str, list[VexStatement]] = {}
    for statement in statements:
        for name in statement.names:
            by_name.setdefault(name, []).append(statement)
    return by_weight(_spoken_of(finding, by_name, subjects) for finding in findings)


def _spoken_of(
    finding: Vulnerability, by_name: dict[str, list[VexStatement]], subjects: Collection[str]
) -> Vulnerability:
    told = [
        statement
        for name in sorted(finding.names)
        for statement in by_name.get(name, ())
        if any(_is_about(product, finding.package.purl, subjects, statement.status) for product in statement.products)
    ]
    if not told:
        return finding
    oldest = datetime.min.replace(tzinfo=UTC)
    newest = max(told, key=lambda item: (item.at or oldest, item.status not in SUPPRESSING))
    if newest.status not in SUPPRESSING:
        return finding
    said = Suppression(newest.status, newest.justification, newest.detail, newest.author, newest.source, newest.signer)
    return replace(finding, suppressed=said)


def _is_about(product: Product, purl: str, subjects: Collection[str], status: str) -> bool:
    ids = [one for one in product.ids if status != "fixed" or _says_which(one)]
    if not product.parts:
        return any(names(one, purl) or any(names(one, subject) for subject in subjects) for one in ids)
    inside = any(names(one, subject) for one in product.ids for subject in subjects)
    return inside and any(names(one, purl) for part in product.parts for one in part)


def _says_which(identifier: str) -> bool:
    """Whether it names one version: that something is fixed, of every version there was, is no statement."""
    try:
        return not identifier.startswith("pkg:") or bool(read_purl(identifier).version)
    except ValueError:
        return False


def names(identifier: str, purl: str) -> bool:
    """Whether an identifier of a statement names a thing.

    Package URLs: the same type, namespace and name, the same version where the identifier has one, and every
    qualifier that the identifier has. All else letter by letter.
    """
    if identifier == purl:
        return bool(purl)
    if not identifier.startswith("pkg:") or not purl.startswith("pkg:"):
        return False
    try:
        said, asked = read_purl(identifier), read_purl(purl)
        left, right = package_of(identifier), package_of(purl)
    except ValueError:
        return False
    if said.type != asked.type or said.namespace.lower() != asked.namespace.lower():
        return False
    family = "" if left is None else left.ecosystem
    if name_key(family, said.name) != name_key(family, asked.name) or (right is None) != (left is None):
        return False
    same_version = not said.version or said.version == asked.version
    return same_version and all(asked.qualifiers.get(key) == value for key, value in said.qualifiers.items())


def _openvex(said: dict[str, Any], where: str, signer: str) -> VexDocument:
    author, at = text_of(said.get("author")), time_of(said.get("timestamp"), where)
    statements: list[VexStatement] = []
    ignored: list[str] = []
    for index, item in enumerate(list_of(said, "statements", where)):
        place = f"statements[{index}]"
        if not isinstance(item, dict):
            refuse(f"{where}: {place}", "no statement")
        status = str(item.get("status"))
        detail = text_of(item.get("impact_statement") or item.get("action_statement") or item.get("status_notes"))
        justification = text_of(item.get("justification"))
        vulnerability = item.get("vulnerability")
        products = tuple(_products(item.get("products"), f"{where}: {place}"))
        found = frozenset(_vulnerability_names(vulnerability))
        problem = ""
        if status not in STATUSES:
            problem = f"its status {status[:40]!r} is none of OpenVEX's"
        elif status == "not_affected" and not (justification or item.get("impact_statement")):
            problem = "it says `not_affected` and not why"
        elif not found or not products:
            problem = "it names no vulnerability, or no product"
        if problem:
            ignored.append(f"{where}: {place}: {problem}")
            continue
        when = time_of(item.get("last_updated") or item.get("timestamp"), f"{where}: {place}") or at
        statements.append(VexStatement(found, status, products, justification, detail, author, when, where, signer))
    return VexDocument("openvex", text_of(said.get("@id")), author, at, tuple(statements), tuple(ignored))


def _vulnerability_names(said: Any) -> Iterator[str]:
    """Of an object (name, aliases), or a text in versions before 0.2."""
    if isinstance(said, str):
        yield said
    if isinstance(said, dict):
        aliases = said.get("aliases")
        found = [said.get("name"), *(aliases if isinstance(aliases, list) else ())]
        yield from (name for name in found if isinstance(name, str) and name)


def _products(said: Any, where: str) -> Iterator[Product]:
    if said is None:
        return
    if not isinstance(said, list) or len(said) > MAX_STATEMENTS:
        refuse(where, "`products` is no list")
    for item in said:
        ids = frozenset(_identifiers(item))
        inner = item.get("subcomponents") if isinstance(item, dict) else None
        parts = tuple(frozenset(_identifiers(part)) for part in inner) if isinstance(inner, list) else ()
        if ids and all(parts):
            yield Product(ids, parts)


def _identifiers(said: Any) -> Iterator[str]:
    if isinstance(said, str) and said:
        yield said
    if isinstance(said, dict):
        identifiers, hashes = said.get("identifiers"), said.get("hashes")
        own = [said.get("@id"), *(identifiers.values() if isinstance(identifiers, dict) else ())]
        yield from (one for one in own if isinstance(one, str) and one)
        if isinstance(hashes, dict) and isinstance(hashes.get("sha-256"), str):
            yield f"sha256:{hashes['sha-256'].lower()}"


def _cyclonedx(said: dict[str, Any], where: str, signer: str) -> VexDocument:
    metadata = said.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    author = _cyclonedx_author(metadata)
    at = time_of(metadata.get("timestamp"), where)
    purls = dict(_references(said, metadata))
    statements: list[VexStatement] = []
    ignored: list[str] = []
    for index, item in enumerate(list_of(said, "vulnerabilities", where)):
        place = f"vulnerabilities[{index}]"
        analysis = item.get("analysis") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(analysis, dict) or not isinstance(item.get("id"), str):
            continue  # a vulnerability of which nothing is said
        status = _CYCLONEDX.get(str(analysis.get("state")), "")
        justification, detail = text_of(analysis.get("justification")), text_of(analysis.get("detail"))
        products = tuple(_affects(item.get("affects"), purls))
        problem = ""
        if not status:
            problem = f"the state {str(analysis.get('state'))[:40]!r} is none of CycloneDX's"
        elif status == "not_affected" and not (justification or detail):
            problem = "it says `not_affected` and not why"
        elif not products:
            problem = "it names no component that is in the bill, by package URL"
        if problem:
            ignored.append(f"{where}: {place}: {problem}")
            continue
        when = time_of(analysis.get("lastUpdated") or analysis.get("firstIssued"), f"{where}: {place}") or at
        refs = item.get("references")
        others = [row.get("id") for row in refs if isinstance(row, dict)] if isinstance(refs, list) else []
        found = frozenset(name for name in (item["id"], *others) if isinstance(name, str) and name)
        statements.append(VexStatement(found, status, products, justification, detail, author, when, where, signer))
    serial = text_of(said.get("serialNumber"))
    return VexDocument("cyclonedx", serial, author, at, tuple(statements), tuple(ignored))


def _cyclonedx_author(metadata: dict[str, Any]) -> str:
    found = [metadata.get("supplier"), metadata.get("manufacturer"), metadata.get("manufacture")]
    found += metadata["authors"] if isinstance(metadata.get("authors"), list) else []
    return next((text_of(item.get("name")) for item in found if isinstance(item, dict) and item.get("name")), "")


def _references(said: dict[str, Any], metadata: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """bom-ref → package URL, of the components however deep (`strict_json` bounds that)."""
    pending = [metadata.get("component"), *(said["components"] if isinstance(said.get("components"), list) else ())]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("bom-ref"), str) and isinstance(item.get("purl"), str):
                yield item["bom-ref"], item["purl"]
            pending += item["components"] if isinstance(item.get("components"), list) else []


def _affects(said: Any, purls: dict[str, str]) -> Iterator[Product]:
    for item in said if isinstance(said, list) else ():
        reference = item.get("ref") if isinstance(item, dict) else None
        if not isinstance(reference, str):
            continue
        # A BOM-Link (urn:cdx:serial/version#reference) names a component of another bill.
        local = reference.rpartition("#")[2] if reference.startswith("urn:cdx:") else reference
        purl = purls.get(local) or (local if local.startswith("pkg:") else "")
        if not purl:
            continue
        versions = item.get("versions")
        if not versions:
            yield Product(frozenset({purl}))
            continue
        for row in versions if isinstance(versions, list) else ():
            if isinstance(row, dict) and row.get("status") == "unaffected" and isinstance(row.get("version"), str):
                bare, _, query = purl.partition("?")
                stem = bare if "@" not in bare.rpartition("/")[2] else bare.rpartition("@")[0]
                yield Product(frozenset({f"{stem}@{row['version']}" + (f"?{query}" if query else "")}))


__all__ = ["Product", "VexDocument", "VexStatement", "apply_vex", "names", "read_vex", "vex_of"]
