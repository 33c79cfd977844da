"""Evidence: what counts is the signed payload and a root that may sign the kind; what is wrong is said."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from customhouse._kit.digest import bytes_digest
from customhouse.core.errors import EvidenceError, UsageError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.attestation import PREDICATE_TYPES, attest, collect, evidence_path, read_evidence
from customhouse.trust.bundle import pae
from customhouse.trust.keys import Algorithm, TrustRoot, generate

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
KEY = generate()
ROOT = TrustRoot("release", KEY.public.pem())
SIGNED = [kind for kind in EvidenceKind if kind is not EvidenceKind.SIGNATURE]


def scan(key: Any = KEY, digest: str = DIGEST) -> bytes:
    return attest("fraud", digest, EvidenceKind.SCAN, {"verdict": "clean"}, key, issued_at=AT)


def edited(edit: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(scan())
    edit(document)
    return json.dumps(document).encode()


def with_payload(payload: bytes) -> bytes:
    """A bundle whose signature is good, over any payload."""

    def put(document: dict[str, Any]) -> None:
        envelope = document["dsseEnvelope"]
        envelope["payload"] = base64.b64encode(payload).decode()
        envelope["signatures"][0]["sig"] = base64.b64encode(KEY.sign(pae(envelope["payloadType"], payload))).decode()

    return edited(put)


def test_the_encoding_that_is_signed_is_that_of_the_specification() -> None:
    # secure-systems-lab/dsse, protocol.md, "Test vectors".
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("algorithm", [Algorithm.ED25519, Algorithm.ECDSA_P256])
@pytest.mark.parametrize("kind", SIGNED)
def test_each_kind_is_written_and_read_back(kind: EvidenceKind, algorithm: Algorithm) -> None:
    key = generate(algorithm)
    data = attest("fraud", DIGEST, kind, {"a": [1, 2.5, "µ"]}, key, issued_at=AT)
    (read,) = read_evidence(data, [ROOT, TrustRoot("mine", key.public.pem())])
    assert read.verified
    assert (read.subject, read.kind, read.signer, read.issued_at) == (DIGEST, kind, "mine", AT)
    assert read.predicate == {"a": [1, 2.5, "µ"]}
    assert read.predicate_type == PREDICATE_TYPES[kind]
    assert read.digest == bytes_digest(data)


def test_a_bundle_is_what_sigstore_tools_expect() -> None:
    document = json.loads(scan())
    assert document["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert document["verificationMaterial"] == {
        "publicKey": {"hint": hashlib.sha256(KEY.public.pem()).hexdigest()}  # what model_signing compares
    }
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"][0]["digest"] == {"sha256": "ab" * 32}


def test_a_key_that_may_not_sign_the_kind_does_not_count() -> None:
    root = TrustRoot("trainer", KEY.public.pem(), frozenset({EvidenceKind.PROVENANCE}))
    (read,) = read_evidence(scan(), [root])
    assert (read.verified, read.signer, read.problem) == (False, "trainer", "trainer may not sign scan")
    (read,) = read_evidence(scan(), [root, ROOT])
    assert (read.verified, read.signer) == (True, "release")


def test_an_unknown_key_does_not_count() -> None:
    for roots in ([], [TrustRoot("other", generate().public.pem())]):
        (read,) = read_evidence(scan(), roots)
        assert not read.verified
        assert read.signer is None
        assert "unknown key" in read.problem


def test_a_changed_statement_does_not_count() -> None:
    def forge(document: dict[str, Any]) -> None:
        payload = base64.b64decode(document["dsseEnvelope"]["payload"]).replace(b"clean", b"ClEaN")
        document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()

    (read,) = read_evidence(edited(forge), [ROOT])
    assert not read.verified
    assert "changed after signing" in read.problem


def test_a_hint_of_a_trusted_key_is_not_a_signature() -> None:
    stranger = generate()
    document = json.loads(scan(stranger))
    document["verificationMaterial"]["publicKey"]["hint"] = KEY.public.key_id
    (read,) = read_evidence(json.dumps(document).encode(), [ROOT])
    assert not read.verified


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(document: dict[str, Any]) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return edit


STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "x", "digest": {"sha256": "ab" * 32}}],
    "predicateType": PREDICATE_TYPES[EvidenceKind.SCAN],
    "predicate": {},
}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 50_000,
        b"[" * 100 + b"]" * 100,
        b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}',
        edited(put("mediaType", value="application/json")),
        edited(put("verificationMaterial", value={})),
        edited(put("verificationMaterial", value={"x509CertificateChain": {"certificates": []}})),
        edited(put("verificationMaterial", value={"certificate": {}})),
        edited(put("dsseEnvelope", "payloadType", value="text/plain")),
        edited(put("dsseEnvelope", "payload", value="?")),
        edited(put("dsseEnvelope", "payload", value="ü")),
        edited(put("dsseEnvelope", "payload", value=7)),
        edited(put("dsseEnvelope", "signatures", value=[])),
        edited(put("dsseEnvelope", "signatures", value=[{}, {}])),
        scan().replace(b'"dsseEnvelope"', b'"dsseEnvelope":{},"dsseEnvelope"', 1),
        with_payload(b"not json"),
        with_payload(b"[]"),
        with_payload(b'{"a":NaN}'),
        with_payload(b"1" * 5000),
        with_payload(json.dumps({**STATEMENT, "_type": "x"}).encode()),
        with_payload(json.dumps({**STATEMENT, "subject": []}).encode()),
        with_payload(json.dumps({**STATEMENT, "subject": [{"digest": {"sha256": "AB" * 32}}]}).encode()),
        with_payload(json.dumps({**STATEMENT, "subject": [{"digest": {"sha512": "ab" * 64}}]}).encode()),
        with_payload(json.dumps({**STATEMENT, "predicate": []}).encode()),
        with_payload(json.dumps({**STATEMENT, "predicateType": "https://example.com/other"}).encode()),
        with_payload(json.dumps(STATEMENT).replace("{", '{"predicate":{"verdict":"clean"},', 1).encode()),
        with_payload(
            json.dumps(
                {
                    **STATEMENT,
                    "subject": [
                        {"digest": {"sha256": "ab" * 32}, "annotations": {"customhouse.dev/issued-at": "yesterday"}}
                    ],
                }
            ).encode()
        ),
    ],
)
def test_what_is_malformed_stops_the_gate_and_is_named(data: bytes) -> None:
    with pytest.raises(EvidenceError) as error:
        read_evidence(data, [ROOT], ".evidence/x/scan.sigstore.json")
    assert error.value.where == ".evidence/x/scan.sigstore.json"


def test_what_is_too_large_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(EvidenceError, match="larger than"):
        read_evidence(b" " * (17 << 20), [ROOT])


def test_a_statement_about_several_subjects_is_read_for_each() -> None:
    document = {**STATEMENT, "subject": [{"digest": {"sha256": "ab" * 32}}, {"digest": {"sha256": "cd" * 32}}]}
    data = with_payload(json.dumps(document).encode())
    assert [read.subject for read in read_evidence(data, [ROOT])] == [DIGEST, OTHER]
    (read,) = collect({evidence_path(OTHER, EvidenceKind.SCAN): data}, OTHER, [ROOT])
    assert (read.subject, read.verified) == (OTHER, True)


def test_evidence_lives_under_the_digest_of_what_it_is_about() -> None:
    assert evidence_path(DIGEST, EvidenceKind.DATA_VALIDATION) == (
        f".evidence/{'ab' * 32}/data-validation.sigstore.json"
    )
    for bad in ("../../etc/passwd", "sha256:" + "AB" * 32, "ab" * 32):
        with pytest.raises(UsageError, match="not a digest"):
            evidence_path(bad, EvidenceKind.SCAN)
        with pytest.raises(UsageError, match="not a digest"):
            attest("x", bad, EvidenceKind.SCAN, {}, KEY)


def test_only_the_evidence_of_the_digest_is_collected() -> None:
    files = {
        evidence_path(DIGEST, EvidenceKind.SCAN): scan(),
        evidence_path(DIGEST, EvidenceKind.BOM): attest("fraud", DIGEST, EvidenceKind.BOM, {}, KEY),
        evidence_path(OTHER, EvidenceKind.SCAN): scan(digest=OTHER),
        f".evidence/{'ab' * 32}/README.md": b"not evidence",
        "models/fraud.yaml": b"kind: x",
    }
    assert [read.kind for read in collect(files, DIGEST, [ROOT])] == [EvidenceKind.BOM, EvidenceKind.SCAN]
    assert collect({}, DIGEST, [ROOT]) == ()


def test_evidence_filed_under_another_digest_does_not_count() -> None:
    (read,) = collect({evidence_path(DIGEST, EvidenceKind.SCAN): scan(digest=OTHER)}, DIGEST, [ROOT])
    assert (read.subject, read.verified) == (DIGEST, False)
    assert OTHER in read.problem


def test_a_file_name_does_not_make_a_kind() -> None:
    (read,) = collect({evidence_path(DIGEST, EvidenceKind.BOM): scan()}, DIGEST, [ROOT])
    assert read.kind is EvidenceKind.SCAN


def test_a_model_signature_is_not_made_by_attest() -> None:
    with pytest.raises(UsageError, match="lists files"):
        attest("fraud", DIGEST, EvidenceKind.SIGNATURE, {}, KEY)
