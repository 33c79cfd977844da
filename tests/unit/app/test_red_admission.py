"""Attacks on admission: what was judged once, with evidence that came later."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import FixedClock
from customhouse._kit.money import Money
from customhouse.app.admission import Admission
from customhouse.app.admission_context import AdmissionContext, Recorded, key_of
from customhouse.app.admission_review import Review
from customhouse.app.configuration import CURRENCY
from customhouse.app.governance import Governance, governance
from customhouse.app.scan_names import AddedName, ScanSpec
from customhouse.core.change import Actor, ActorKind, Change, Operation, Revision, SignatureState
from customhouse.core.cost import WorkloadCost
from customhouse.core.evidence import ArtifactRef, EvidenceKind
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.facts import ArtifactEvidence, FactsContext, build_facts
from customhouse.policy.pods import artifacts as named_artifacts
from customhouse.trust.attestation import FOLDER, attest
from customhouse.trust.filed import read_filed
from customhouse.trust.keys import PrivateKey, TrustRoot, generate
from customhouse.trust.roots import Roots

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
DIGEST = "sha256:" + "ab" * 32
OBJECT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "api", "namespace": "prod"},
    "spec": {"containers": [{"name": "main", "image": f"registry.example/app@{DIGEST}"}]},
}
PLACE = f"{FOLDER}/{DIGEST.removeprefix('sha256:')}"


@pytest.fixture(scope="module")
def engine() -> RegorusEngine:
    return RegorusEngine(compile_packaged=True)


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return generate()


@pytest.fixture(scope="module")
def governing(key: PrivateKey) -> Governance:
    return replace(governance(None, None), others=Roots((TrustRoot("ci", key.public.pem()),)))


def scan(verdict: str, key: PrivateKey, **more: Any) -> bytes:
    said = {"scanner": {"name": "s", "version": "1"}, "verdict": verdict, "files": [], **more}
    return attest("app", DIGEST, EvidenceKind.SCAN, said, key, issued_at=NOW)


def verdicts_at_admission(
    governing: Governance, engine: RegorusEngine, recorded: dict[str, bytes], filed: dict[str, bytes]
) -> list[str]:
    """The verdicts of the scans at admission."""
    return [item["summary"]["verdict"] for item in scans_at_admission(governing, engine, recorded, filed)]


def scans_at_admission(
    governing: Governance, engine: RegorusEngine, recorded: dict[str, bytes], filed: dict[str, bytes]
) -> list[dict[str, Any]]:
    """What the Facts say of scans when the evidence was `recorded` at the gate, and is `filed` at admission."""
    ref = ResourceRef.of(OBJECT)
    declaration = Declaration(ref, OBJECT, Location("apps/api.yaml"))
    revision = Revision("c" * 40, (), "Ada <ada@example.com>", NOW, "api", SignatureState.VERIFIED, "ada")
    change = Change(Operation.CREATE, ref, None, declaration, revision, Actor(ActorKind.PERSON, "Ada"))
    (artifact,) = (one for one in named_artifacts(OBJECT, ref) if isinstance(one, ArtifactRef))
    known = read_filed(recorded, DIGEST, governing.believed, NOW)
    book = governing.book.reference(governing.prices.provider, governing.prices.region)
    zero = Money.zero(CURRENCY)
    context = FactsContext(
        as_of=NOW,
        book=book,
        artifacts=(ArtifactEvidence(artifact, known),),
        cost_after=WorkloadCost(ref, zero, zero, zero),
        settings=governing.policy,
    )
    found = Recorded(declaration, canonical_json(build_facts(change, context).document))
    given = AdmissionContext(
        governing, revision="c" * 40, declared=(declaration,), recorded={key_of(ref): found}, evidence=filed
    )
    review = Review("u", "CREATE", ref, "pods", "", "ada", (), OBJECT, {}, dry_run=False)
    outcome = Admission(given, engine, FixedClock(NOW)).validate(review)
    assert outcome.kind == "recorded", outcome.reason
    assert outcome.facts is not None
    (told,) = outcome.facts.document["artifacts"]
    return [item for item in told["evidence"] if item["kind"] == "scan"]


def test_a_bad_statement_about_what_had_none_is_seen(
    governing: Governance, engine: RegorusEngine, key: PrivateKey
) -> None:
    filed = {f"{PLACE}/oci-{'0' * 16}.sigstore.json": scan("malicious", key)}
    assert verdicts_at_admission(governing, engine, {}, filed) == ["malicious"]


def test_a_bad_statement_is_seen_where_the_good_one_was_recorded_twice(
    governing: Governance, engine: RegorusEngine, key: PrivateKey
) -> None:
    good = scan("clean", key)
    recorded = {f"{PLACE}/scan.sigstore.json": good, f"{PLACE}/oci-{'0' * 16}.sigstore.json": good}
    filed = {f"{PLACE}/scan.sigstore.json": good, f"{PLACE}/zz.sigstore.json": scan("malicious", key)}
    assert "malicious" in verdicts_at_admission(governing, engine, recorded, filed)


def test_what_was_withdrawn_no_longer_counts(governing: Governance, engine: RegorusEngine, key: PrivateKey) -> None:
    recorded = {f"{PLACE}/scan.sigstore.json": scan("clean", key)}
    assert verdicts_at_admission(governing, engine, recorded, {}) == []


def test_a_scan_that_rests_on_a_name_of_ones_own_counts_only_while_it_is_declared(
    governing: Governance, engine: RegorusEngine, key: PrivateKey
) -> None:
    added = [{"name": "acme.Ranker", "use": "state"}]
    filed = {f"{PLACE}/scan.sigstore.json": scan("clean", key, added_names=added)}
    name = AddedName("acme.Ranker", "state", "it was read", "risk")

    def believed(*names: AddedName) -> list[bool]:
        rules = replace(governing, configuration=replace(governing.configuration, scan=ScanSpec(names)))
        return [item["verified"] for item in scans_at_admission(rules, engine, filed, filed)]

    assert believed(name) == [True]
    assert believed() == [False]
    assert believed(replace(name, use="call")) == [False]
    assert believed(replace(name, expires=NOW)) == [False]
