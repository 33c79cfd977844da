"""OSV records: what is read, and what makes a record a broken one, told with its member."""

from __future__ import annotations

import json
from typing import Any

import pytest

from customhouse.core.advisory import affected_from_json, affected_to_json
from customhouse.core.vulnerability import Rating
from customhouse.trust.vulnerabilities.osv import MAX_RECORD, parse_record, read_record


def record(**others: Any) -> dict[str, Any]:
    return {
        "id": "GHSA-1",
        "modified": "2026-01-02T03:04:05Z",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "Foo_Bar"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.2"}]}],
            }
        ],
        **others,
    }


def affected(**others: Any) -> dict[str, Any]:
    return {**record()["affected"][0], **others}


def test_a_package_is_looked_up_by_the_one_spelling_of_its_name() -> None:
    (item,) = read_record(record()).affected
    assert (item.family, item.key, item.name) == ("PyPI", "foo-bar", "Foo_Bar")


def test_the_year_one_is_no_date() -> None:
    read = read_record(record(modified="0001-01-01T00:00:00Z", withdrawn="0001-01-01T00:00:00Z"))
    assert (read.modified, read.withdrawn) == (None, None)


@pytest.mark.parametrize(
    ("others", "rating"),
    [
        ({"database_specific": {"severity": "MODERATE"}}, Rating.MEDIUM),
        ({"severity": [{"type": "Ubuntu", "score": "negligible"}]}, Rating.LOW),
        ({"database_specific": {"severity": "dire"}}, Rating.UNKNOWN),
        ({}, Rating.UNKNOWN),
    ],
)
def test_the_words_of_databases_become_ratings(others: dict[str, Any], rating: Rating) -> None:
    assert read_record(record(**others)).rating is rating


def test_what_is_kept_of_a_package_comes_back_the_same() -> None:
    said = record(
        affected=[
            affected(
                versions=["1.0", "1.1"],
                severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
                ecosystem_specific={"imports": [{"path": "a/b", "symbols": ["F"]}], "urgency": "low"},
            )
        ]
    )
    (item,) = read_record(said).affected
    again = affected_from_json(json.loads(json.dumps(affected_to_json(item))), item.family, item.key)
    assert again == item
    assert item.imports == (("a/b", ("F",)),)


def test_systems_that_are_affected_alone_are_noted() -> None:
    for imports, note in (
        ([{"path": "a", "goos": ["windows"]}], "on windows alone"),
        ([{"path": "a", "goos": ["windows"]}, {"path": "b"}], ""),
        ([], ""),
    ):
        (item,) = read_record(record(affected=[affected(ecosystem_specific={"imports": imports})])).affected
        assert item.note == note


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ([], "JSON object"),
        (record(id=""), "id"),
        (record(id="../../x"), "id"),
        ({"id": "A-1"}, "modified"),
        (record(modified="yesterday"), "modified"),
        (record(withdrawn=5), "withdrawn"),
        (record(schema_version="2.0.0"), "schema_version"),
        (record(aliases="CVE-1"), "aliases"),
        (record(affected={"package": {}}), "affected"),
        (record(affected=[affected(package={"ecosystem": "PyPI"})]), "affected[0].package"),
        (record(affected=[affected(ranges=[{"type": "MOON", "events": []}])]), "affected[0].ranges[0].type"),
        (record(affected=[affected(ranges=[{"type": "SEMVER", "events": []}])]), "affected[0].ranges[0].events"),
        (
            record(affected=[affected(ranges=[{"type": "SEMVER", "events": [{"introduced": 1}]}])]),
            "affected[0].ranges[0].events[0].introduced",
        ),
        (
            record(affected=[affected(ranges=[{"type": "SEMVER", "events": [{"introduced": "0"}, {"mended": "1"}]}])]),
            "affected[0].ranges[0].events[1]",
        ),
        (record(affected=[affected(versions=[1.0])]), "affected[0].versions"),
        (record(affected=[affected(ecosystem_specific={"imports": [{"symbols": ["F"]}]})]), "imports[0]"),
        (record(severity=[{"type": "CVSS_V3"}]), "severity[0]"),
        (record(summary=["x"]), "summary"),
    ],
)
def test_a_malformed_member_makes_the_record_a_broken_one_and_is_named(said: Any, named: str) -> None:
    with pytest.raises(ValueError, match=r".+") as raised:
        read_record(said)
    assert named in str(raised.value)


def test_bytes_that_are_no_json_or_too_many_are_refused() -> None:
    for data in (b"", b"{", b"\xff\xfe", b'{"id": NaN}', b"[" * 100_000, b" " * (MAX_RECORD + 1)):
        with pytest.raises(ValueError, match=r"JSON|bytes|object"):
            parse_record(data)


TWINS = (
    b'"affected" : [], "affected": []',  # a blank before the colon: as many `":` as keys that are left
    b'"affected": [], "affected"\n:[]',
    b'"affected": [], "\\u0061ffected": []',
    b'"affected": [], "affected": [], "summary": "\\u003a \\u003a"',  # a colon for the one that went with the key
    b'"affected": [], "database_specific": {"a": {"b" : 1, "b":2}}',
)


@pytest.mark.parametrize("twin", TWINS)
def test_a_record_that_names_a_member_twice_is_a_broken_one(twin: bytes) -> None:
    """Another reader takes the first of the two: what it says is affected would be clean here."""
    with pytest.raises(ValueError, match="is there twice"):
        parse_record(b'{"id": "GHSA-1", "modified": "2026-01-02T03:04:05Z", ' + twin + b"}")


def test_colons_in_texts_and_names_are_no_members() -> None:
    said = record(summary='a: b":"c', database_specific={"k:k": ":", '":': {"x": ["::", '"a":1']}})
    for text in (json.dumps(said), json.dumps(said, indent=2), json.dumps(said).replace(": b", "\\u003A b")):
        assert parse_record(text.encode())[1] == said
