"""`models:` of customhouse.yaml: what is read, what is refused, and what the gate says by it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from packaging.licenses._spdx import LICENSES

import policy_cases as cases
from customhouse.app.governance import read_configuration
from customhouse.core.decision import Point, Verdict
from customhouse.core.errors import ConfigError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.facts import ArtifactEvidence, ArtifactRef, PolicySettings, build_facts
from customhouse.policy.gate import Gate
from customhouse.policy.licences import choices, named
from customhouse.policy.waiver import Scope, Waiver

HEAD = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def policy(text):
    return read_configuration((HEAD + f"models:\n  {text}\n").encode()).models


def test_nothing_is_asked_without_the_key():
    assert read_configuration(HEAD.encode()).models is None


def test_names_are_read_as_they_are_compared():
    found = policy("licences: {allowed: [Apache-2.0, gpl-3.0, LicenseRef-llama3.1], denied: [CC-BY-NC-*, GFDL-1.3+]}")
    assert found.allowed.names == ("apache-2.0", "gpl-3.0-only", "licenseref-llama3.1", "llama3.1")
    assert (found.denied.names, found.denied.prefixes) == (("gfdl-1.3-or-later",), ("cc-by-nc-",))
    # A name of one's own never becomes SPDX's of another licence.
    assert policy("licences: {allowed: [LicenseRef-MIT]}").allowed.names == ("licenseref-mit",)
    assert policy("licences: {denied: [LicenseRef-MI*]}").denied.prefixes == ("licenseref-mi",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "licences: {allowed: [Apache2]}",
            r"customhouse.yaml:4:\d+.*'Apache2' is no SPDX licence; did you mean Apache-",
        ),
        ("licences: {denied: [MIT OR ISC]}", "is not one SPDX licence"),
        ("licences: {denied: [CC-NC-*]}", "no SPDX licence begins with 'CC-NC-'"),
        ("licences: {denied: ['*']}", "at the end of a name alone"),
        ("licences: {denied: [MIT WITH Nothing-1.0]}", "no exception that SPDX lists"),
        ("licences: {allowed: [MIT], denied: [mit]}", "mit is allowed and denied"),
        ("licences: {permitted: [MIT]}", "unknown key 'permitted'"),
        ("sources: {allowed: [acme/*]}", "names no place"),
        ("sources: {allowed: ['pvc://models/**']}", "nothing of where they come from"),
        ("sources: {allowed: ['https://*.example/**']}", "a wildcard in the host"),
        ("sources: {allowed: ['hf://acme/x@main']}", "a place has no revision"),
        ("bases: {required: 1}", "must be of type boolean"),
    ],
)
def test_what_means_nothing_is_refused_at_its_place(text, message):
    with pytest.raises(ConfigError) as caught:
        policy(text)
    import re

    assert re.search(message, f"{caught.value.where} {caught.value.message} {caught.value.hint}")


def test_places_are_allowed_by_pattern_and_denied_before_that():
    found = policy(
        "sources: {allowed: ['hf://Acme/*', 'https://hf.co/other/**', 'models:/**'], denied: ['hf://acme/old-*']}"
    )
    assert found.refused("hf://acme/fraud") == found.refused("hf://other/x") == found.refused("models:/fraud/3") == ""
    assert "denies (hf://acme/old-*)" in found.refused("hf://acme/old-fraud")
    assert "no pattern" in found.refused("hf://acme2/fraud")
    assert "no pattern" in found.refused("s3://acme/fraud")
    assert policy("sources: {denied: ['hf://evil/**']}").refused("s3://any/where") == ""
    near = policy("sources: {allowed: ['https://models.example/ours/**']}")
    assert near.refused("https://models.example/ours/m.onnx") == ""
    assert ".." in near.refused("https://models.example/ours/../theirs/m.onnx")
    assert ".." in near.refused("https://models.example/ours/%2e%2e/theirs/m.onnx")


def rules_of(text, component, reference="pvc://models/fraud", waivers=()):
    """What the gate says of a model whose signed bill holds `component`."""
    manifest = cases.service(storageUri=reference)
    base = cases.context(manifest)
    statement = Evidence(
        cases.DIGEST, EvidenceKind.BOM, "t", {"metadata": {"component": component}}, cases.NOW, "r", True, cases.DIGEST
    )
    pointer = base.artifacts[0].artifact.pointer
    artifact = ArtifactRef("model", reference, cases.DIGEST, True, pointer)
    kept = [item for item in base.artifacts[0].evidence if item.kind is not EvidenceKind.BOM]
    context = replace(
        base,
        artifacts=(ArtifactEvidence(artifact, (*kept, statement)), *base.artifacts[1:]),
        settings=PolicySettings(models=policy(text)),
    )
    change = cases.created(manifest)
    return Gate(RegorusEngine(), builtin_bundle(), waivers).judge(
        change, build_facts(change, context), point=Point.GATE, decided_at=cases.NOW
    )


def told(decision):
    return {item.rule for item in decision.findings if item.rule.startswith(("model-l", "model-s", "model-r", "base-"))}


def test_the_gate_denies_by_licence_base_and_place_and_says_where():
    text = "licences: {allowed: [MIT], denied: [CC-BY-NC-*]}\n  bases: {required: true}\n  sources: {allowed: ['hf://acme/*']}"
    tainted = {
        "name": "evil/base",
        "purl": "pkg:huggingface/evil/base",
        "licenses": [{"license": {"name": "cc-by-nc-4.0"}}],
    }
    decision = rules_of(text, {"licenses": [{"license": {"id": "GPL-3.0-only"}}], "pedigree": {"ancestors": [tainted]}})
    assert decision.verdict is Verdict.DENY
    assert told(decision) == {"model-licence-not-allowed", "base-model-licence", "model-source-not-allowed"}
    assert all(item.fix and item.pointer == "/spec/predictor/model/storageUri" for item in decision.findings)
    fine = {
        "licenses": [{"license": {"id": "MIT"}}],
        "properties": [{"name": "customhouse:base-models", "value": "none"}],
    }
    assert told(rules_of(text, fine)) == set()
    assert told(rules_of(text, {})) == {"model-licence-unknown", "base-model-undeclared"}


def test_a_model_of_a_hub_needs_a_commit_whatever_is_configured():
    assert told(rules_of("bases: {required: false}", {}, "hf://acme/fraud@main")) == {"model-revision-not-pinned"}
    assert told(rules_of("bases: {required: false}", {}, f"hf://acme/fraud@{COMMIT}")) == set()


def test_a_waiver_takes_one_finding_away_and_leaves_the_others():
    waiver = Waiver(
        id="W-1",
        rules=("model-licence-unknown",),
        owner="ada",
        reason="the licence is being asked for",
        ticket="T-1",
        expires=cases.NOW + timedelta(days=5),
        scope=Scope(kind="InferenceService", name="fraud"),
    )
    text = "licences: {allowed: [MIT]}\n  bases: {required: true}"
    found = rules_of(text, {}, waivers=(waiver,)).findings
    waived = {
        item.rule: item.waiver for item in found if item.rule in ("model-licence-unknown", "base-model-undeclared")
    }
    assert waived == {"model-licence-unknown": "W-1", "base-model-undeclared": None}


def test_every_licence_that_spdx_lists_can_be_named_and_reads_as_itself():
    for name in sorted(LICENSES):
        assert choices(name) == named(name)
        assert policy(f"licences: {{allowed: ['{name}']}}").allowed.names == (choices(name)[0][0][0],)
