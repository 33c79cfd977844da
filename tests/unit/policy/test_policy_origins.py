"""Licences, base models and places as rules see them, read from verified bills alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

import policy_cases as cases
from customhouse._kit.canonical import canonical_json
from customhouse.core.evidence import ArtifactRef, Evidence, EvidenceKind
from customhouse.policy.facts import PolicySettings, build_facts
from customhouse.policy.licences import choices, comparable, said_licences
from customhouse.policy.origins import origins, place_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MIT", [["mit"]]),
        ("mit or Apache-2.0", [["mit"], ["apache-2.0"]]),
        ("MIT AND (GPL-2.0 OR Zlib)", [["mit", "gpl-2.0-only"], ["mit", "zlib"]]),
        ("MIT OR Zlib AND ISC", [["mit"], ["zlib", "isc"]]),
        ("LicenseRef-Acme.1", [["licenseref-acme.1"]]),
        ("DocumentRef-x:LicenseRef-y", [["documentref-x:licenseref-y"]]),
        ("(((MIT)))", [["mit"]]),
    ],
)
def test_an_expression_leaves_choices(text, found):
    assert [[term[0] for term in choice] for choice in choices(text)] == found


def test_an_exception_and_a_later_version_give_what_the_licence_gives():
    ((whole,),) = choices("GPL-2.0-only WITH Classpath-exception-2.0")
    assert whole == ("gpl-2.0-only with classpath-exception-2.0", "gpl-2.0-only")
    assert choices("LGPL-2.1+") == choices("lgpl-2.1-or-later") == ((("lgpl-2.1-or-later", "lgpl-2.1-only"),),)
    assert choices("Apache-1.1+") == ((("apache-1.1+", "apache-1.1"),),)
    assert (comparable("GPL-3.0"), comparable("MIT")) == ("gpl-3.0-only", "mit")


@pytest.mark.parametrize(
    "text",
    [
        *("", "MIT AND", "OR MIT", "(MIT", "MIT)", "MIT Apache-2.0", "MIT WITH", "MIT/Zlib", "MIT, Zlib", "ＭＩＴ"),
        *("NOASSERTION", "MIT AND NONE", "(" * 40 + "MIT" + ")" * 40, "MIT OR " * 100 + "ISC", "AND", "MIT\nOR ISC"),
        " AND ".join(f"(A{i} OR B{i})" for i in range(5)),
        " AND ".join(f"A{i}" for i in range(17)),
    ],
)
def test_what_is_no_expression_or_too_much_of_one_is_not_read(text):
    assert choices(text) is None


def test_a_bill_says_its_licences_or_nothing():
    licence = {"license": {"id": "MIT"}}
    assert said_licences({}) is None
    assert said_licences({"licenses": [{"license": {"name": "other"}}, {"expression": "NOASSERTION"}]}) is None
    assert said_licences({"licenses": [licence]}) == [{"text": "MIT", "choices": [[["mit"]]]}]
    # A hub's own name, and words, stand for themselves; neither becomes the licence that it resembles.
    named = said_licences({"licenses": [{"license": {"name": "Llama 3.1 (Community)"}}, {"license": {"id": "MIT*"}}]})
    assert [row["choices"] for row in named] == [[[["llama-3.1-community"]]], [[["mit"]]]]
    assert said_licences({"licenses": [licence] * 9}) == [{"text": "9 licences", "choices": None}]
    assert [
        row["choices"] for row in said_licences({"licenses": ["MIT", {"license": {"id": 3}}, {"expression": []}]})
    ] == [
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("reference", "name", "pinned"),
    [
        ("hf://Acme/Fraud@main", "hf://acme/fraud", False),
        ("hf://acme/fraud", "hf://acme/fraud", False),
        (f"hf://acme/fraud@{COMMIT}", "hf://acme/fraud", True),
        (f"hf://acme/fraud:{COMMIT}", "hf://acme/fraud", True),
        (f"hf://acme/fraud@{COMMIT[:12]}", "hf://acme/fraud", False),
        ("https://huggingface.co/acme/fraud/resolve/main/model.onnx", "hf://acme/fraud", False),
        (f"https://hf.co/acme/fraud/tree/{COMMIT}", "hf://acme/fraud", True),
        (f"pkg:huggingface/Acme/Fraud@{COMMIT}", "hf://acme/fraud", True),
        ("https://huggingface.co@evil.example/acme/fraud", "https://evil.example/acme/fraud", None),
        ("https://Models.example:8443/a%2e%2e/b?x=1#y", "https://models.example:8443/a../b", None),
        ("oci://Registry.example:5000/a/b:v1@sha256:00", "oci://registry.example:5000/a/b", None),
        ("s3://bucket/key?versionId=3", "s3://bucket/key", None),
        ("models:/fraud@champion", "models:/fraud", None),
        ("https://[::1", "https://[::1", None),
        ("oci+native://registry.example/a:v1", "oci://registry.example/a", None),
        ("gs://bucket/a/b", "gs://bucket/a/b", None),
        ("https://ok.example/ours/" + "a" * 5000 + "/../..", "a reference of more than 4096 characters", None),
    ],
)
def test_a_place_is_one_however_it_is_written(reference, name, pinned):
    found = place_of(reference)
    assert (found.name, found.pinned) == (name, pinned)


@pytest.mark.parametrize(
    "reference", ["pvc://models/fraud", "/srv/model", "model.onnx", "pkg:pypi/x@1", "", "/srv/a:b", "file:///x"]
)
def test_what_lies_here_is_no_place_that_it_comes_from(reference):
    assert place_of(reference) is None


class Rules:
    """Everything may come from the hub's `acme`."""

    def stated(self):
        return {"licences": {}, "bases": {}}

    def refused(self, place):
        return "" if place.startswith("hf://acme/") else "not acme"


def bill(component, *, verified=True, subject=cases.DIGEST):
    predicate = {"bomFormat": "CycloneDX", "metadata": {"component": component}}
    return Evidence(subject, EvidenceKind.BOM, "t", predicate, cases.NOW, "release", verified, "sha256:" + "e" * 64)


def told(*bills, reference="pvc://models/fraud", rules=None):
    artifact = ArtifactRef("model", reference, cases.DIGEST, True, "/spec")
    return origins([(artifact, bills)], rules or Rules()).get("origins", [None])[0]


BASE = {"name": "Acme/Base", "purl": "pkg:huggingface/Acme/Base", "licenses": [{"license": {"id": "MIT"}}]}


def test_what_a_verified_bill_says_is_told_and_nothing_else():
    component = {
        "licenses": [{"expression": "MIT OR Zlib"}],
        "pedigree": {
            "ancestors": [
                {**BASE, "pedigree": {"ancestors": [{"name": "Evil/Root", "purl": "pkg:huggingface/Evil/Root"}]}}
            ]
        },
        "externalReferences": [
            {"type": "distribution", "url": f"hf://acme/fraud@{COMMIT}"},
            {"type": "website", "url": "https://elsewhere.example"},
        ],
    }
    found = told(bill(component))
    assert [row["text"] for row in found["licences"]] == ["MIT OR Zlib"]
    assert [(base["name"], base["pinned"], len(base["licences"])) for base in found["bases"]] == [
        ("Acme/Base", False, 1),
        ("Evil/Root", False, 0),
    ]
    assert {(row["name"], row["of"], row["refused"]) for row in found["places"]} == {
        ("hf://acme/fraud", "", ""),
        ("hf://acme/base", "Acme/Base", ""),
        ("hf://evil/root", "Evil/Root", "not acme"),
    }
    # A bill that does not verify, or is of other bytes, says nothing.
    for other in (bill(component, verified=False), bill(component, subject="sha256:" + "2" * 64)):
        assert (told(other)["bills"], told(other)["licences"], told(other)["bases"]) == (0, [], [])


def test_base_models_are_pinned_by_a_digest_or_a_commit():
    def pinned(**base):
        return told(bill({"pedigree": {"ancestors": [{"name": "a/b", **base}]}}))["bases"][0]["pinned"]

    assert pinned(hashes=[{"alg": "SHA-256", "content": "1" * 64}])
    assert pinned(purl=f"pkg:huggingface/a/b@{COMMIT}")
    assert not pinned(purl="pkg:huggingface/a/b@main")
    assert not pinned(hashes=[{"alg": "MD5", "content": "1" * 32}])
    assert not pinned(version=COMMIT)


def test_that_there_is_no_base_has_to_be_said():
    assert not told(bill({}))["made_from_none"]
    assert told(bill({"properties": [{"name": "customhouse:base-models", "value": "none"}]}))["made_from_none"]


def test_facts_are_what_they_were_where_nothing_is_asked():
    plain = build_facts(cases.created(cases.service()), cases.context(cases.service())).document
    assert "origins" not in plain
    assert "models" not in plain["settings"]
    moving = cases.service(storageUri="hf://acme/fraud")
    found = build_facts(cases.created(moving), cases.context(moving)).document["origins"]
    assert [(row["name"], row["pinned"]) for row in found[0]["places"]] == [("hf://acme/fraud", False)]
    asked = replace(cases.context(cases.service()), settings=PolicySettings(models=Rules()))
    document = build_facts(cases.created(cases.service()), asked).document
    assert (document["settings"]["models"], len(document["origins"])) == (Rules().stated(), 1)


@pytest.mark.parametrize(
    "odd", [None, 3, "x", [], {}, [None], [[]], [{}], {"ancestors": 3}, {"ancestors": [3, {"name": []}]}]
)
def test_bills_of_odd_shape_are_read_as_far_as_they_go(odd):
    keys = ("licenses", "pedigree", "externalReferences", "properties", "purl", "hashes")
    found = told(bill(dict.fromkeys(keys, odd)), bill(odd))
    canonical_json(found)
    assert found["bills"] == 2


def test_what_is_told_is_bounded():
    deep = {"name": "x"}
    for number in range(50):
        deep = {"name": f"n{number}", "pedigree": {"ancestors": [deep, {"name": f"m{number}"}]}}
    wide = {"pedigree": {"ancestors": [{"name": f"b{n}", "purl": f"pkg:huggingface/a/b{n}"} for n in range(5000)]}}
    assert len(told(bill({"pedigree": {"ancestors": [deep]}}))["bases"]) <= 64
    found = told(bill(wide))
    assert (len(found["bases"]), found["bases_left_out"]) == (64, 936)
    assert len(canonical_json(found)) < 64 * 1024
