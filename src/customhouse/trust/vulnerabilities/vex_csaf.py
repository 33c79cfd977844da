"""VEX in CSAF 2.0 and 2.1 (OASIS), profile 5 (`csaf_vex`): the product tree, and what is said of each product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.core.errors import EvidenceError
from customhouse.trust.vulnerabilities.vex_statements import (
    Product,
    VexDocument,
    VexStatement,
    list_of,
    text_of,
    time_of,
)

_STATUSES = {
    "known_not_affected": "not_affected",
    "fixed": "fixed",
    "first_fixed": "fixed",
    "known_affected": "affected",
    "first_affected": "affected",
    "last_affected": "affected",
    "under_investigation": "under_investigation",
}


def csaf(said: dict[str, Any], where: str, signer: str) -> VexDocument:
    """A document of that profile. Raises EvidenceError for another profile, and for what is malformed."""
    document = said["document"]
    if document.get("category") != "csaf_vex":
        raise EvidenceError(
            f"a CSAF document of category {str(document.get('category'))[:60]!r}", where=where, hint="csaf_vex is read"
        )
    tracking = document.get("tracking") if isinstance(document.get("tracking"), dict) else {}
    publisher = document.get("publisher") if isinstance(document.get("publisher"), dict) else {}
    author, at = text_of(publisher.get("name")), time_of(tracking.get("current_release_date"), where)
    products = _tree(said.get("product_tree"), where)
    statements: list[VexStatement] = []
    ignored: list[str] = []
    for index, item in enumerate(list_of(said, "vulnerabilities", where)):
        place = f"{where}: vulnerabilities[{index}]"
        if not isinstance(item, dict):
            raise EvidenceError("no vulnerability", where=place)
        names = frozenset(_names(item))
        reasons = _reasons(item)
        status_of = item.get("product_status")
        for key, ids in status_of.items() if isinstance(status_of, dict) else ():
            status = _STATUSES.get(str(key))
            for one in ids if status and isinstance(ids, list) else ():
                justification, detail = reasons.get(str(one), ("", ""))
                problem = ""
                if not names:
                    problem = "no CVE and no id"
                elif str(one) not in products:
                    problem = f"the product {str(one)[:80]!r} has no package URL in the tree"
                elif status == "not_affected" and not (justification or detail):
                    problem = f"{str(one)[:80]!r} is `known_not_affected` and nothing says why"
                if problem:
                    ignored.append(f"{place}: {problem}")
                    continue
                statements.append(
                    VexStatement(
                        *(names, str(status), products[str(one)], justification, detail, author, at, where, signer)
                    )
                )
    return VexDocument("csaf", text_of(tracking.get("id")), author, at, tuple(statements), tuple(ignored))


def _names(item: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(item.get("cve"), str):
        yield item["cve"]
    for row in _objects(item.get("ids")):
        if isinstance(row.get("text"), str):
            yield row["text"]


def _reasons(item: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Product → the label of its flag, and the words of the threat `impact`."""
    found: dict[str, tuple[str, str]] = {}
    for row in item["flags"] if isinstance(item.get("flags"), list) else ():
        for one in _list(row.get("product_ids")):
            found[str(one)] = (text_of(row.get("label")), "")
    for row in _objects(item.get("threats")):
        if row.get("category") == "impact":
            for one in _list(row.get("product_ids")):
                found[str(one)] = (found.get(str(one), ("", ""))[0], text_of(row.get("details")))
    return found


def _tree(said: Any, where: str) -> dict[str, tuple[Product, ...]]:
    """Product id → what it is, by package URL: products of branches, and components of products by relationships."""
    if not isinstance(said, dict):
        raise EvidenceError("no product_tree", where=where)
    purls: dict[str, frozenset[str]] = {}
    pending: list[Any] = [said.get("full_product_names"), said.get("branches")]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        elif isinstance(item, dict):
            _note(item.get("product"), purls)
            _note(item, purls)
            pending.append(item.get("branches"))
    found: dict[str, tuple[Product, ...]] = {one: (Product(ids),) for one, ids in purls.items()}
    for row in _objects(said.get("relationships")):
        if not isinstance(row.get("full_product_name"), dict):
            continue
        own = str(row["full_product_name"].get("product_id"))
        part = purls.get(str(row.get("product_reference")))
        whole = purls.get(str(row.get("relates_to_product_reference")))
        # A part of what has no package URL (a release of a distribution, by CPE) could be the part of anything.
        if part is not None and whole is not None:
            found[own] = (Product(whole, (part,)),)
    return found


def _note(product: Any, purls: dict[str, frozenset[str]]) -> None:
    if not isinstance(product, dict) or not isinstance(product.get("product_id"), str):
        return
    helper = product.get("product_identification_helper")
    helper = helper if isinstance(helper, dict) else {}
    several = helper.get("purls")
    given = [helper.get("purl"), *(several if isinstance(several, list) else ())]
    ids = frozenset(one for one in given if isinstance(one, str) and one)
    if ids:
        purls[product["product_id"]] = ids


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: Any) -> list[dict[str, Any]]:
    return [row for row in _list(value) if isinstance(row, dict)]
