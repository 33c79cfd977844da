"""customhouse.yaml: what is understood, what is refused, and that nothing is lost between file and value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse._kit.money import Money
from customhouse.app.configuration import BUILTIN_TIERS, CURRENCY, BudgetSpec, Configuration, TrustKey, parse, schema
from customhouse.app.configuring import as_document, explain_key
from customhouse.app.governance import read_configuration
from customhouse.app.tiering import judged_environment
from customhouse.app.trusting import AuthoritySpec, IdentitySpec, TrustSpec
from customhouse.core.errors import ConfigError, UsageError
from customhouse.core.evidence import EvidenceKind
from customhouse.core.resource import ResourceRef
from customhouse.policy.tiers import Environment, EnvironmentJudgement, Relaxation, TierSpec

HEAD = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n"


def read(text: str) -> Configuration:
    return read_configuration((HEAD + text).encode())


def keys(rule: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, child in rule.get("properties", {}).items():
        yield f"{path}{name}"
        yield from keys(child, f"{path}{name}.")
        yield from keys(child.get("items", {}), f"{path}{name}.")
        if isinstance(child.get("additionalProperties"), Mapping):
            yield from keys(child["additionalProperties"], f"{path}{name}.some.")


def test_a_minimal_file_means_the_defaults() -> None:
    assert read("") == Configuration()


def test_commits_are_signed_unless_the_file_says_otherwise() -> None:
    signers = b"apiVersion: customhouse.dev/v1\ntrust: {allowedSigners: signers}\n"
    assert read_configuration(signers).require_signed_commits is True
    assert Configuration().require_signed_commits is False
    with pytest.raises(ConfigError, match="nobody is named who may sign") as caught:
        read_configuration(b"apiVersion: customhouse.dev/v1\n")
    assert "policy.requireSignedCommits: false" in caught.value.hint


def test_defaults_of_the_schema_are_the_defaults_in_force() -> None:
    document = as_document(Configuration())

    def check(rule: Mapping[str, Any], value: Any, path: str) -> None:
        if "default" in rule and path != "policy.requireSignedCommits":
            assert value == rule["default"], path
        if value is None:
            return  # what is not there as a whole has no defaults in force
        for name, child in rule.get("properties", {}).items():
            check(child, value.get(name), f"{path}.{name}".strip("."))

    check(schema(), document, "")


@pytest.mark.parametrize("key", list(keys(schema())))
def test_every_key_is_documented_and_explained(key: str) -> None:
    found = explain_key(key)
    # The rules of a list's or a map's entries describe the entry's keys, the map itself is described by its own key.
    assert found["description"] or found["keys"], key


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("budget", "budgets"),
        ("policy.trustedRegistry", "policy.trustedRegistries"),
        ("maxAgeDays", "prices.maxAgeDays"),
    ],
)
def test_a_key_that_does_not_exist_names_the_nearest(key: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        explain_key(key)
    assert near in caught.value.hint


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("brunch: main\n", "3:9", "unknown key 'brunch'", "did you mean 'branch'?"),
        ("target: {volume: {a: b}}\n", "3:10", "unknown key 'volume'", "did you mean 'volumes'?"),
        ("target: {port: 70000}\n", "3:16", "port is 70000, outside 0 to 65535", ""),
        ("target: {port: yes}\n", "3:16", "port is True; it must be of type integer", ""),
        ("target: local\n", "3:9", "target is 'local'; it must be of type object", ""),
        ("prices: {provider: amazon}\n", "3:20", "provider is 'amazon'", "one of: aws, azure, gcp"),
        ("budgets: [{name: a, monthly: 5}]\n", "3:30", "money is decimal text in quotes", ""),
        ("budgets: [{name: a, monthly: 'a lot'}]\n", "3:30", "write it like 500 or 12.50", ""),
        ("budgets: [{name: a}]\n", "3:11", "monthly is missing", ""),
        (
            "budgets: [{name: a, monthly: '1'}, {name: a, monthly: '2'}]\n",
            "3:43",
            "two budgets are called 'a'",
            "",
        ),
        ("tiers: {namespaces: {web: [gold]}}\n", "3:28", "no tier is called 'gold'", "one of:"),
        (
            "tiers: {namespaces: {web: [experiment1]}}\n",
            "3:28",
            "no tier",
            "did you mean 'experiment'?",
        ),
        ("trust: {keys: [{name: a, publicKey: b, kinds: []}]}\n", "3:40", "kinds is empty", ""),
        ("trust: {keys: [{name: a, publicKey: b, kinds: [scam]}]}\n", "3:48", "is 'scam'", "did you mean 'scan'?"),
        ("branch: ''\n", "3:9", "branch is empty", ""),
        ("forge: {kind: github, repository: x}\n", "3:35", "repository is 'x', which is too short", "owner/name"),
        ("forge: {kind: github, repository: models}\n", "3:35", "repository is 'models'", "owner/name"),
        ("forge: {kind: github, repository: 'a b/c'}\n", "3:35", "repository is 'a b/c'", "owner/name"),
    ],
)
def test_what_is_wrong_has_its_place_and_a_fix(text: str, place: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.where == f"customhouse.yaml:{place}"
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"- a\n", b"apiVersion: customhouse.dev/v2\n", b"a: 1\n---\nb: 2\n", b"\xff", b"{" * 3000]
)
def test_what_is_no_configuration_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        read_configuration(data)
    assert caught.value.where.startswith("customhouse.yaml")


def test_a_tier_of_ones_own_starts_from_the_built_in_one() -> None:
    found = read("tiers: {definitions: {standard: {maxReplicas: 3}, gold: {replicaCeiling: '12.50'}}}\n")
    assert found.tiers["standard"].max_replicas == 3
    assert found.tiers["standard"].gpu_classes == BUILTIN_TIERS["standard"].gpu_classes
    assert found.tiers["gold"].replica_ceiling == Money.parse("12.50")
    assert found.tiers["gold"].required_evidence == BUILTIN_TIERS["standard"].required_evidence


names = st.text("abcdefgh-", min_size=1, max_size=8)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
money = st.integers(0, 10**9).map(lambda cents: Money.parse(f"{cents // 100}.{cents % 100:02d}", CURRENCY))
moments = st.sampled_from([datetime(2026, 1, 2, 3, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC)])
said = texts.filter(str.strip)
relaxations = st.builds(
    Relaxation,
    st.just("container-root"),
    st.sampled_from(["note", "muted"]),
    said,
    said,
    said,
    moments,
    st.none() | moments,
)
tiers = st.builds(
    TierSpec,
    gpu_classes=st.lists(texts, max_size=3).map(tuple),
    spot=st.sampled_from(["required", "allowed", "forbidden"]),
    max_replicas=st.integers(1, 99),
    replica_ceiling=st.none() | money,
    max_accelerators=st.none() | st.integers(0, 9),
    required_evidence=st.lists(st.sampled_from(["signature", "scan", "bom"]), max_size=3).map(tuple),
    evidence_max_age_days=st.none() | st.integers(1, 99),
    required_image_evidence=st.lists(st.sampled_from(["signature", "scan"]), max_size=2).map(tuple),
    prescanned_images=st.lists(texts, max_size=2).map(tuple),
    per_thousand_predictions_ceiling=st.none() | money,
    per_million_tokens_ceiling=st.none() | money,
    dedicated_nodes=st.none() | st.tuples(texts, texts),
    monitoring=st.lists(st.sampled_from(["readiness", "metrics"]), max_size=2).map(tuple),
    latency_target_ms=st.none() | st.integers(1, 9999),
    scale_to_zero=st.sampled_from(["allowed", "forbidden"]),
    serverless=st.sampled_from(["allowed", "forbidden"]),
    cold_start_seconds=st.none() | st.integers(0, 99),
    ttl_required=st.booleans(),
    max_ttl_days=st.none() | st.integers(1, 99),
    queue_required=st.booleans(),
    checks=st.just(BUILTIN_TIERS["standard"].checks),
    relaxations=st.lists(relaxations, max_size=1).map(tuple),
)
environments = st.builds(
    Environment,
    names,
    st.lists(texts, min_size=1, max_size=2).map(tuple),
    st.booleans(),
    st.just({"service-exposed": "error"}),
    st.lists(relaxations, max_size=1).map(tuple),
)
kinds = st.sampled_from([(EvidenceKind.SCAN,), (EvidenceKind.BOM, EvidenceKind.SCAN)])
trust = st.builds(
    TrustSpec,
    authorities=st.lists(st.builds(AuthoritySpec, texts, texts, st.tuples(texts), kinds), max_size=1).map(tuple),
    identities=st.lists(st.builds(IdentitySpec, texts, texts, texts, texts, kinds), max_size=1).map(tuple),
    notary_policy=st.just("notary/trustpolicy.json"),
    notary_store=st.just("notary/truststore"),
    registries=st.lists(texts, max_size=2).map(tuple),
)
configurations = st.builds(
    Configuration,
    trust=st.just(TrustSpec()) | trust,
    branch=texts,
    paths=st.lists(texts, max_size=2).map(tuple),
    target_port=st.integers(0, 65535),
    volumes=st.dictionaries(texts, texts, max_size=2),
    images=st.dictionaries(texts, texts, max_size=2),
    tier_namespaces=st.dictionaries(names, st.lists(st.sampled_from(list(BUILTIN_TIERS)), max_size=2).map(tuple)),
    tiers=st.dictionaries(st.sampled_from(["gold", "silver"]), tiers, max_size=2).map(
        lambda own: {**BUILTIN_TIERS, **own}
    ),
    environments=st.lists(environments, max_size=2, unique_by=lambda item: item.name).map(tuple),
    max_exception_days=st.integers(1, 366),
    frameworks=st.dictionaries(names, st.tuples(st.none() | st.just("2.4"), st.none() | st.just("3")), max_size=2),
    trusted_registries=st.lists(texts, max_size=2).map(tuple),
    required_labels=st.lists(texts, max_size=2).map(tuple),
    require_signed_commits=st.booleans(),
    allowed_signers=texts,
    keys=st.lists(
        st.builds(
            TrustKey, texts, texts, st.sampled_from([(EvidenceKind.SCAN,), (EvidenceKind.BOM, EvidenceKind.SCAN)])
        ),
        max_size=2,
    ).map(tuple),
    provider=st.sampled_from(["aws", "azure", "gcp"]),
    region=texts,
    price_max_age_days=st.integers(1, 9999),
    budgets=st.lists(
        st.builds(
            BudgetSpec, names, money, st.lists(names, max_size=2).map(tuple), st.dictionaries(names, texts, max_size=2)
        ),
        max_size=2,
        unique_by=lambda budget: budget.name,
    ).map(tuple),
    autonomy=st.sampled_from(["observe", "recommend", "propose"]),
    minimum_windows=st.integers(2, 999),
    window_seconds=st.integers(1, 999),
)


@given(configurations)
def test_what_is_shown_reads_back_as_the_same_configuration(configuration: Configuration) -> None:
    document = as_document(configuration)
    assert parse(json.loads(json.dumps(document)), {}) == configuration


RELAXED = """environments:
  production:
    namespaces: [fraud]
    relaxations: [{rule: RULE, severity: muted, owner: ada, reason: old image, ticket: OPS-1, expires: "WHEN"}]
"""


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("tiers: {definitions: {gold: {checks: {container-root: note}}}}\n", "write a relaxation", 3),
        ("environments: {live: {namespaces: [a], checks: {container-root: warning}}}\n", "write a relaxation", 3),
        ("environments: {live: {namespaces: []}}\n", "is empty", 3),
        (
            "environments: {live: {namespaces: [a], checks: {container-rot: error}}}\n",
            "did you mean 'container-root'",
            3,
        ),
        (RELAXED.replace("RULE", "no-such").replace("WHEN", "2026-01-02T00:00:00Z"), "no rule is called 'no-such'", 6),
        (RELAXED.replace("RULE", "commit-signature").replace("WHEN", "2026-01-02T00:00:00Z"), "cannot be relaxed", 6),
        (RELAXED.replace("RULE", "container-root").replace("WHEN", "soon"), "expires", 6),
        (RELAXED.replace("RULE", "container-root").replace("owner: ada, ", ""), "owner is missing", 6),
        (RELAXED.replace("RULE", "container-root").replace("owner: ada", "owner: ' '"), "owner is empty", 6),
    ],
)
def test_what_is_laxer_needs_somebody_who_answers_and_an_end(text: str, said: str, line: int) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        read(text)
    assert caught.value.where.startswith(f"customhouse.yaml:{line}:")


def test_a_check_may_be_made_stricter_for_a_tier_and_for_an_environment() -> None:
    found = read(
        "tiers: {definitions: {standard: {checks: {network-default-deny: error}}}}\n"
        "environments: {live: {namespaces: ['prod-*'], production: true, checks: {pod-token-mounted: error}}}\n"
    )
    assert found.tiers["standard"].checks["network-default-deny"] == "error"
    assert found.tiers["standard"].checks["pod-token-mounted"] == "warning"
    ref = ResourceRef("v1", "Pod", "prod-eu", "a")
    where = judged_environment(found, ref)
    assert where is not None
    assert (where.name, where.production, dict(where.checks)) == ("live", True, {"pod-token-mounted": "error"})
    assert judged_environment(found, ResourceRef("v1", "Pod", "dev", "a")) == EnvironmentJudgement()
    assert judged_environment(
        found, ResourceRef("rbac.authorization.k8s.io/v1", "ClusterRole", "default", "a")
    ) == EnvironmentJudgement(None, True, {"pod-token-mounted": "error"})
    assert judged_environment(read(""), ref) is None
