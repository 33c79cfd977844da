"""Facts: everything rules may know, and nothing harmless in place of what is missing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from customhouse._kit.money import Money
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.cost import WorkloadCost
from customhouse.core.errors import CannotDecideError
from customhouse.core.evidence import EvidenceKind
from customhouse.policy.facts import Alternative, build_facts
from customhouse.policy.summary import summarise
from customhouse.policy.tiers import TierJudgement, TierSpec
from policy_cases import DIGEST, NOW, context, created, declared, deleted, deployment, evidence, service


def document(manifest=None, **changes):
    manifest = manifest or service()
    return build_facts(created(manifest), context(manifest, **changes)).document


def test_the_same_inputs_give_the_same_digest():
    assert (
        build_facts(created(service()), context(service())).digest
        == build_facts(created(service()), context(service())).digest
    )


def test_facts_have_the_documented_keys():
    assert set(document()) == {
        "schema",
        "as_of",
        "change",
        "revision",
        "review",
        "actor",
        "derived",
        "tier",
        "environment",
        "surroundings",
        "lifetime",
        "usage",
        "artifacts",
        "cost",
        "change_set",
        "budgets",
        "prices",
        "settings",
    }


def test_money_is_in_whole_micro_units_rounded_up():
    cost = WorkloadCost(declared(service()).ref, Money.parse("0.0000001"), Money.parse("0"), Money.parse("0.000003"))
    seen = document(cost_after=cost)["cost"]
    assert seen["monthly_after_micro"] == 1
    assert seen["monthly_replica_micro"] == 2, "3 micro-units over two replicas, rounded up"


def test_an_artifact_that_the_app_knows_nothing_of_is_there_without_evidence():
    seen = document(artifacts=())["artifacts"]
    assert [(item["role"], item["evidence"]) for item in seen] == [("model", [])]


def test_evidence_about_other_bytes_is_not_verified():
    other = evidence(EvidenceKind.SCAN, subject="sha256:" + "2" * 64)
    seen = build_facts(created(service()), context(service(), [other])).document["artifacts"][0]["evidence"][0]
    assert seen["verified"] is False
    assert "2222" in seen["problem"]


def test_evidence_for_a_model_without_a_digest_is_not_verified():
    manifest = service()
    del manifest["metadata"]["annotations"]
    items = context(manifest).artifacts[0]
    loose = replace(items, artifact=replace(items.artifact, digest=None, pinned=False))
    seen = build_facts(created(manifest), context(manifest, artifacts=(loose,))).document["artifacts"][0]
    assert seen["pinned"] is False
    assert [item["verified"] for item in seen["evidence"]] == [False, False, False]


def test_the_age_of_evidence_is_counted_from_as_of():
    seen = document()["artifacts"][0]["evidence"][0]
    assert seen["age_seconds"] == 0
    assert seen["issued_at"] == "2026-01-31T10:00:00Z"


def test_a_workload_without_a_price_estimate_cannot_be_judged():
    with pytest.raises(CannotDecideError, match="no price estimate"):
        document(cost_after=None)


def test_a_deletion_needs_no_price_and_costs_nothing_afterwards():
    seen = build_facts(deleted(service()), context(service(), cost_before=context(service()).cost_after)).document
    assert seen["change"]["after"] is None
    assert seen["cost"]["monthly_before_micro"] == 50_250_000
    assert seen["cost"]["monthly_after_micro"] == 0


def test_two_currencies_cannot_be_judged():
    with pytest.raises(CannotDecideError, match="EUR beside amounts in USD"):
        document(change_set_delta=Money.parse("1", "EUR"))


def test_a_tier_with_an_unknown_word_for_spot_cannot_be_judged():
    with pytest.raises(CannotDecideError, match="sometimes"):
        document(tier=TierJudgement(spec=TierSpec(spot="sometimes")))


def test_a_change_without_the_side_it_needs_cannot_be_judged():
    good = created(service())
    with pytest.raises(CannotDecideError, match="lacks a side"):
        build_facts(replace(good, operation=Operation.UPDATE), context(service()))
    other = declared(deployment())
    odd = Change(Operation.CREATE, good.ref, None, other, None, Actor(ActorKind.PERSON, "a"))
    with pytest.raises(CannotDecideError, match="carries a declaration of"):
        build_facts(odd, context(service()))


def test_alternatives_are_ordered_by_price_and_bounded():
    many = tuple(Alternative(f"choice {n:02}", Money.parse(100 - n)) for n in range(20))
    seen = document(alternatives=many)["cost"]["alternatives"]
    assert len(seen) == 10
    assert seen[0] == {"description": "choice 19", "monthly_micro": 81_000_000}


def test_without_a_change_set_the_delta_is_that_of_this_change():
    assert document()["change_set"]["monthly_delta_micro"] == 50_250_000
    assert document(change_set_delta=Money.parse("-3"))["change_set"]["monthly_delta_micro"] == -3_000_000


@pytest.mark.parametrize(
    ("predicate", "verdict"),
    [
        ({"verdict": "clean"}, "clean"),
        ({"verdict": "clean", "files": [{"path": "a", "verdict": "malicious"}]}, "malicious"),
        ({"verdict": "unscannable", "files": [{"path": "a", "verdict": "malicious"}]}, "malicious"),
        ({"verdict": "malicious", "files": [{"path": "a", "verdict": "unscannable"}]}, "malicious"),
        ({"files": [{"path": "a", "verdict": "clean"}, {"path": "b", "verdict": "who knows"}]}, "unscannable"),
        ({"verdict": "fine"}, None),
        ({"verdict": ["clean"]}, None),
        ({"verdict": None, "files": "clean"}, None),
        ({}, None),
    ],
)
def test_a_scan_is_as_bad_as_its_worst_row(predicate, verdict):
    assert summarise(EvidenceKind.SCAN, predicate)["verdict"] == verdict


def test_a_summary_is_bounded_whatever_the_predicate_holds():
    rows = [{"path": "p" * 5000, "verdict": "suspicious", "findings": [{"rule": f"r{n}" * 500}]} for n in range(3000)]
    assert len(json.dumps(summarise(EvidenceKind.SCAN, {"verdict": "clean", "files": rows}))) < 80_000
    metrics = {f"m{n}": n for n in range(10_000)}
    assert len(summarise(EvidenceKind.EVALUATION, {"metrics": metrics})["metrics"]) == 64


def test_a_bill_of_materials_is_counted_by_type():
    components = [{"type": "file"}, {"type": "library", "licenses": [{"license": {"id": "MIT"}}]}, {"type": "file"}]
    seen = summarise(EvidenceKind.BOM, {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components})
    assert seen == {
        "format": "CycloneDX",
        "spec_version": "1.6",
        "components": 3,
        "by_type": {"file": 2, "library": 1},
        "licences": ["MIT"],
        "licences_left_out": 0,
        "model_licences": [],
        "unlicensed": 0,
        "hints": [],
    }


def test_no_licence_and_no_hint_of_a_bill_is_out_of_a_rules_sight():
    expression = {"licenses": [{"expression": "GPL-3.0-only OR MIT"}], "type": "library"}
    hinted = {"type": "library", "properties": [{"name": "customhouse:hint:typosquat", "value": "is it?"}, {"name": 7}]}
    many = [{"type": "library", "licenses": [{"license": {"name": f"own {n:04}"}}]} for n in range(300)]
    odd = [{"licenses": 7}, {"licenses": [7, {}]}, {"properties": 7}, 7]
    seen = summarise(
        EvidenceKind.BOM,
        {
            "metadata": {"component": {"licenses": [{"license": {"id": "CC-BY-NC-4.0"}}]}},
            "components": [expression, hinted, *many, *odd],
        },
    )
    assert seen["model_licences"] == ["CC-BY-NC-4.0"]
    assert {"CC-BY-NC-4.0", "GPL-3.0-only OR MIT"} <= set(seen["licences"])
    assert (len(seen["licences"]), seen["licences_left_out"]) == (256, 46)
    assert (seen["hints"], seen["unlicensed"]) == (["typosquat: is it?"], 1)


def test_provenance_names_builder_and_materials():
    predicate = {
        "buildDefinition": {
            "buildType": "t",
            "externalParameters": {"job": {"resource": "fraud/train"}},
            "resolvedDependencies": [{"name": "data", "digest": {"sha256": DIGEST[7:]}}, {"uri": "git", "digest": {}}],
        },
        "runDetails": {"builder": {"id": "b"}},
    }
    seen = summarise(EvidenceKind.PROVENANCE, predicate)
    assert (seen["builder"], seen["job"]) == ("b", "fraud/train")
    assert seen["materials"] == [
        {"name": "data", "digest": DIGEST, "commit": None},
        {"name": "git", "digest": None, "commit": None},
    ]


@pytest.mark.parametrize("name", ["gitCommit", "sha1", "sha256"])
def test_a_material_in_git_is_known_by_its_commit(name):
    listed = [{"uri": "git+https://example.com/a", "digest": {name: "0" * 40}}]
    seen = summarise(EvidenceKind.PROVENANCE, {"buildDefinition": {"resolvedDependencies": listed}})
    assert seen["materials"] == [{"name": "git+https://example.com/a", "digest": None, "commit": "0" * 40}]


def test_a_sha1_of_something_else_than_git_pins_nothing():
    listed = [{"name": "dataset", "uri": "s3://data/rows", "digest": {"sha1": "0" * 40}}]
    seen = summarise(EvidenceKind.PROVENANCE, {"buildDefinition": {"resolvedDependencies": listed}})
    assert seen["materials"] == [{"name": "dataset", "digest": None, "commit": None}]


@pytest.mark.parametrize("kind", list(EvidenceKind))
@pytest.mark.parametrize(
    "junk", [{}, {"files": 3, "components": "x", "metrics": [], "runDetails": 1, "buildDefinition": []}]
)
def test_a_predicate_of_the_wrong_shape_is_summarised_without_a_crash(kind, junk):
    assert isinstance(summarise(kind, junk), dict)


def test_facts_beyond_the_limit_cannot_be_judged():
    many = tuple(
        evidence(EvidenceKind.SCAN, {"verdict": "x" * 10}, problem="p" * 900, digest=f"{n}") for n in range(2000)
    )
    with pytest.raises(CannotDecideError, match="the limit is"):
        build_facts(created(service()), context(service(), many))


def test_as_of_is_the_one_time_in_facts():
    assert document()["as_of"] == NOW.isoformat().replace("+00:00", "Z")
