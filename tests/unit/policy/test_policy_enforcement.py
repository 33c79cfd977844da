"""Rules of one's own start as dryrun or warn: what they find is told, and does not deny."""

from __future__ import annotations

import pytest

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import QUERY, builtin_bundle, load_bundle

RULE = """package customhouse.rules.%s

import data.customhouse.lib

# METADATA
# title: t
# description: d
# custom:
#   id: %s
#   category: cost
#   severity: error
#   enforcement: %s
#   fix: f
findings contains lib.%s("cost", "%s", "", "m", "f") if input.own
"""
FACTS = {"own": True, "tier": {"checks": {}, "relaxations": {}}, "settings": {}}


def found(*rules: tuple[str, str, str], tier: dict[str, str] | None = None) -> dict[str, str]:
    files = {f"{n}.rego": (RULE % (n, n, mode, kind, n)).encode() for n, mode, kind in rules}
    bundle = load_bundle(files, base=builtin_bundle())
    facts = {**FACTS, "tier": {"checks": tier or {}, "relaxations": {}}}
    answer = RegorusEngine().evaluate(bundle.modules, bundle.data, facts, QUERY)
    return {item["rule"]: item["severity"] for item in answer if item["rule"] in {rule[0] for rule in rules}}


def test_a_rule_finds_at_most_what_its_enforcement_says():
    assert found(("a", "deny", "error"), ("b", "warn", "error"), ("c", "dryrun", "error")) == {
        "a": "error",
        "b": "warning",
        "c": "note",
    }
    assert found(("a", "warn", "note"), ("b", "dryrun", "warning"), ("c", "warn", "warning")) == {
        "a": "note",
        "b": "note",
        "c": "warning",
    }


def test_a_tier_that_is_strict_about_a_rule_does_not_lift_it_over_its_enforcement():
    assert found(("a", "warn", "note"), ("b", "dryrun", "note"), tier={"a": "error", "b": "error"}) == {
        "a": "warning",
        "b": "note",
    }


def test_the_mode_is_part_of_the_bundle():
    digests = {
        load_bundle({"a.rego": (RULE % ("a", "a", mode, "error", "a")).encode()}, base=builtin_bundle()).digest
        for mode in ("deny", "warn", "dryrun")
    }
    assert len(digests) == 3


def test_another_word_is_refused_at_its_place():
    with pytest.raises(PolicyError, match=r"a\.rego:5: enforcement is 'audit'.*one of: deny, warn, dryrun"):
        load_bundle({"a.rego": (RULE % ("a", "a", "audit", "error", "a")).encode()}, base=builtin_bundle())


def test_bundles_that_join_one_after_the_other_are_all_asked():
    first = load_bundle({"a.rego": (RULE % ("a", "a", "deny", "error", "a")).encode()}, base=builtin_bundle())
    both = load_bundle({"b.rego": (RULE % ("b", "b", "deny", "error", "b")).encode()}, base=first)
    answer = RegorusEngine().evaluate(both.modules, both.data, FACTS, QUERY)
    assert {"a", "b"} <= {item["rule"] for item in answer}


def test_data_of_a_bundle_before_is_not_replaced():
    first = load_bundle(
        {"a.rego": (RULE % ("a", "a", "deny", "error", "a")).encode(), "data.json": b'{"k":1}'}, base=builtin_bundle()
    )
    with pytest.raises(PolicyError, match="data key k is taken"):
        load_bundle({"data.json": b'{"k":2}'}, base=first)
