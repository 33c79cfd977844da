"""VEX in three forms: what suppresses a finding, and what must not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from customhouse.core.errors import EvidenceError
from customhouse.core.vulnerability import Package, Vulnerability
from customhouse.trust.vulnerabilities.vex import apply_vex, names, read_vex

PURL = "pkg:pypi/jinja2@3.1.2"
IMAGE = "pkg:oci/app@sha256%3A11?repository_url=registry.example/app"


def finding(purl: str = PURL, **others: Any) -> Vulnerability:
    package = Package("jinja2", "3.1.2", "PyPI", purl)
    return Vulnerability("PYSEC-1", package, **{"aliases": ("CVE-1", "GHSA-1"), **others})


def openvex(*statements: dict[str, Any], **others: Any) -> bytes:
    head = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "x",
        "author": "Acme",
        "timestamp": "2026-01-01T00:00:00Z",
    }
    return json.dumps({**head, "statements": list(statements), **others}).encode()


def statement(status: str = "not_affected", **others: Any) -> dict[str, Any]:
    reason = {"justification": "vulnerable_code_not_present"} if status == "not_affected" else {}
    return {"vulnerability": {"name": "CVE-1"}, "products": [{"@id": PURL}], "status": status, **reason, **others}


def suppressed(data: bytes, *, purl: str = PURL, subjects: tuple[str, ...] = (), **others: Any) -> str:
    (result,) = apply_vex([finding(purl, **others)], read_vex(data, "vex.json").statements, subjects=subjects)
    return "" if result.suppressed is None else f"{result.suppressed.status} {result.suppressed.author}"


def test_a_statement_by_an_alias_suppresses_and_says_who_said_so() -> None:
    assert suppressed(openvex(statement())) == "not_affected Acme"
    assert suppressed(openvex(statement("fixed"))) == "fixed Acme"


@pytest.mark.parametrize(
    "given",
    [
        statement("affected"),
        statement("under_investigation"),
        statement(vulnerability={"name": "CVE-2"}),
        statement(products=[{"@id": "pkg:pypi/jinja2@3.1.3"}]),
        statement(products=[{"@id": "pkg:npm/jinja2@3.1.2"}]),
        statement(products=[{"@id": "pkg:pypi/jinja@3.1.2"}]),
        statement(products=[{"@id": "pkg:pypi/jinja2@3.1.2?os=windows"}]),
        statement(products=[{"@id": "jinja2"}]),
        statement(products=[]),
        statement(justification=""),
        statement("no_such_status"),
        statement(products=[{"@id": IMAGE}]),
        statement(products=[{"@id": IMAGE, "subcomponents": [{"@id": PURL}]}]),
    ],
)
def test_what_is_about_something_else_or_says_not_why_suppresses_nothing(given: dict[str, Any]) -> None:
    assert suppressed(openvex(given)) == ""


def test_a_statement_without_a_version_is_about_all_of_them() -> None:
    assert suppressed(openvex(statement(products=[{"@id": "pkg:pypi/Jinja2"}])))
    assert suppressed(openvex(statement("fixed", products=[{"@id": "pkg:pypi/jinja2"}]))) == "", "in which one?"


def test_a_statement_about_an_image_counts_for_what_lies_in_that_image() -> None:
    whole, part = (
        statement(products=[{"@id": IMAGE}]),
        statement(products=[{"@id": IMAGE, "subcomponents": [{"@id": PURL}]}]),
    )
    for given in (whole, part):
        assert suppressed(openvex(given), subjects=(IMAGE,))
    other = statement(products=[{"@id": IMAGE, "subcomponents": [{"@id": "pkg:pypi/flask@1.0"}]}])
    assert suppressed(openvex(other), subjects=(IMAGE,)) == ""


def test_the_newest_statement_counts_and_of_one_time_the_one_that_suppresses_nothing() -> None:
    old, new = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
    assert suppressed(openvex(statement(timestamp=old), statement("affected", timestamp=new))) == ""
    assert suppressed(openvex(statement("affected", timestamp=old), statement("fixed", timestamp=new)))
    assert suppressed(openvex(statement("affected", timestamp=new), statement(timestamp=new))) == ""


def test_what_is_said_of_one_of_several_upstream_flaws_does_not_suppress_the_advisory() -> None:
    one, several = {"aliases": (), "upstream": ("CVE-1",)}, {"aliases": (), "upstream": ("CVE-1", "CVE-2")}
    assert suppressed(openvex(statement()), **one)
    assert suppressed(openvex(statement()), **several) == ""


def test_statements_that_cannot_count_are_named() -> None:
    document = read_vex(openvex(statement(justification=""), statement("odd"), statement()), "vex.json")
    assert len(document.statements) == 1
    assert [text.split(": ")[1] for text in document.ignored] == ["statements[0]", "statements[1]"]


def cyclonedx(state: str, affects: list[dict[str, Any]], **analysis: Any) -> bytes:
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "metadata": {"timestamp": "2026-01-01T00:00:00Z", "supplier": {"name": "Acme"}},
            "components": [{"type": "library", "name": "jinja2", "bom-ref": "j", "purl": PURL}],
            "vulnerabilities": [{"id": "CVE-1", "analysis": {"state": state, **analysis}, "affects": affects}],
        }
    ).encode()


@pytest.mark.parametrize(
    ("state", "affects", "analysis", "said"),
    [
        ("not_affected", [{"ref": "j"}], {"justification": "code_not_reachable"}, "not_affected Acme"),
        ("false_positive", [{"ref": PURL}], {"detail": "x"}, "not_affected Acme"),
        ("resolved", [{"ref": "urn:cdx:3e67/1#j"}], {}, "fixed Acme"),
        ("not_affected", [{"ref": "j"}], {}, ""),
        ("exploitable", [{"ref": "j"}], {}, ""),
        ("resolved", [{"ref": "elsewhere"}], {}, ""),
        ("resolved", [], {}, ""),
        ("resolved", [{"ref": "j", "versions": [{"version": "3.1.2", "status": "unaffected"}]}], {}, "fixed Acme"),
        ("resolved", [{"ref": "j", "versions": [{"version": "3.1.2", "status": "affected"}]}], {}, ""),
        ("resolved", [{"ref": "j", "versions": [{"version": "3.1.9", "status": "unaffected"}]}], {}, ""),
    ],
)
def test_cyclonedx(state: str, affects: list[dict[str, Any]], analysis: dict[str, Any], said: str) -> None:
    assert suppressed(cyclonedx(state, affects, **analysis)) == said


def csaf(status: str, ids: list[str], category: str = "csaf_vex", **others: Any) -> bytes:
    helper = {"purl": PURL}
    return json.dumps(
        {
            "document": {
                "csaf_version": "2.0",
                "category": category,
                "publisher": {"name": "Acme"},
                "tracking": {"id": "A-1", "current_release_date": "2026-01-01T00:00:00Z"},
            },
            "product_tree": {
                "branches": [
                    {
                        "name": "v",
                        "branches": [
                            {"product": {"product_id": "P1", "name": "j", "product_identification_helper": helper}},
                            {
                                "product": {
                                    "product_id": "OS",
                                    "name": "o",
                                    "product_identification_helper": {"cpe": "c"},
                                }
                            },
                        ],
                    }
                ],
                "relationships": [
                    {
                        "full_product_name": {"product_id": "OS:P1"},
                        "product_reference": "P1",
                        "relates_to_product_reference": "OS",
                    }
                ],
            },
            "vulnerabilities": [{"cve": "CVE-1", "product_status": {status: ids}, **others}],
        }
    ).encode()


def test_csaf() -> None:
    flags = [{"label": "vulnerable_code_not_present", "product_ids": ["P1"]}]
    assert suppressed(csaf("known_not_affected", ["P1"], flags=flags)) == "not_affected Acme"
    assert suppressed(csaf("fixed", ["P1"])) == "fixed Acme"
    assert suppressed(csaf("known_affected", ["P1"])) == ""
    assert suppressed(csaf("known_not_affected", ["P1"])) == "", "nothing says why"
    assert suppressed(csaf("fixed", ["OS:P1"])) == "", "a part of what has no package URL could be of anything"
    with pytest.raises(EvidenceError, match="csaf_base"):
        read_vex(csaf("fixed", ["P1"], category="csaf_base"), "x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"@context": "openvex", "@context": "x"}',
        openvex(statement(timestamp="soon")),
        openvex(statements=5),
        openvex(statement(products="x")),
        b'{"bomFormat": "CycloneDX", "vulnerabilities": {}}',
        b'{"document": {"csaf_version": "2.0", "category": "csaf_vex"}}',
        b'{"@context": "openvex", "statements": [[' + b"[" * 100 + b"]" * 100 + b"]]}",
    ],
)
def test_a_document_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        read_vex(data, "vex.json")


def test_nothing_names_a_package_without_a_package_url() -> None:
    assert not names("", "")
    assert not names("pkg:pypi/", "pkg:pypi/x@1")
