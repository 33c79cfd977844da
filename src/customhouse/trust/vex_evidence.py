"""VEX documents as signed statements: the predicate is OpenVEX v0.2.0, whatever form the document had.

An OpenVEX document is signed as it is, so that its own tools read it too; CycloneDX and CSAF are written as OpenVEX.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse.core.errors import EvidenceError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.attestation import PREDICATE_TYPES
from customhouse.trust.reported import mapping
from customhouse.trust.vulnerabilities.vex import vex_of
from customhouse.trust.vulnerabilities.vex_statements import VexDocument, VexStatement


def is_vex(document: Any) -> bool:
    """Whether a document has one of the three forms of VEX."""
    said = mapping(document)
    if "openvex" in str(said.get("@context", "")) or "csaf_version" in mapping(said.get("document")):
        return True
    rows = said.get("vulnerabilities")
    listed = rows if isinstance(rows, list) else []
    return said.get("bomFormat") == "CycloneDX" and any("analysis" in mapping(row) for row in listed)


def vex_predicate(document: Mapping[str, Any], where: str) -> tuple[dict[str, Any], VexDocument]:
    """The predicate, and the document as it is read here. Raises EvidenceError; also for one that says nothing."""
    read = vex_of(dict(document), where)
    if not read.statements:
        why = f": {read.ignored[0]}" if read.ignored else ""
        raise EvidenceError(f"no statement in it can count{why}", where=where)
    if read.form == "openvex":
        return dict(document), read
    head = {"@context": PREDICATE_TYPES[EvidenceKind.VEX], "@id": read.id, "author": read.author, "version": 1}
    dated = {} if read.at is None else {"timestamp": to_rfc3339(read.at)}
    return {**head, **dated, "statements": [_statement(item) for item in read.statements]}, read


def _statement(item: VexStatement) -> dict[str, Any]:
    name, *aliases = sorted(item.names)
    texts = {"justification": item.justification, "impact_statement": item.detail}
    dated = {} if item.at is None else {"timestamp": to_rfc3339(item.at)}
    return {
        "vulnerability": {"name": name, "aliases": aliases},
        "products": list(_products(item)),
        "status": item.status,
        **{key: value for key, value in texts.items() if value},
        **dated,
    }


def _products(item: VexStatement) -> Iterator[dict[str, Any]]:
    for product in item.products:
        parts = [{"@id": one} for part in product.parts for one in sorted(part)]
        for one in sorted(product.ids):
            yield {"@id": one, **({"subcomponents": parts} if parts else {})}
