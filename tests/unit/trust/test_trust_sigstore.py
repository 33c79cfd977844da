"""Sigstore verification against an instance of our own: what each service may get wrong, and what a stranger may."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from customhouse.core.errors import ConfigError, CustomhouseError, TamperError
from customhouse.trust.keys import PublicKey
from customhouse.trust.sigstore.identity import Expected
from customhouse.trust.sigstore.roots import read_root
from customhouse.trust.sigstore.verification import Artifact, Policy, Verified, verify_bundle
from sigstore_world import (
    ARTIFACT,
    IDENTITY,
    ISSUER,
    NOW,
    START,
    V01,
    V02,
    V03,
    Authority,
    World,
    b64,
    certificate,
    tlv,
)

WORLD = World()
KEY = ec.generate_private_key(ec.SECP256R1())
WHO = Policy(expected=Expected(IDENTITY, ISSUER))
DSSE_KINDS = ("dsse 0.0.1", "dsse 0.0.2", "intoto 0.0.2", "hashedrekord 0.0.1", "hashedrekord 0.0.2")
LATER = NOW + timedelta(days=30)


def check(
    bundle: dict[str, Any],
    policy: Policy = WHO,
    root: dict[str, Any] | None = None,
    artifact: bytes | Artifact = ARTIFACT,
    world: World = WORLD,
) -> Verified:
    thing = artifact if isinstance(artifact, Artifact) else Artifact.of_bytes(artifact)
    trusted = read_root(json.dumps(root or world.root()).encode())
    return verify_bundle(json.dumps(bundle).encode(), thing, policy, trusted, LATER)


def refused(words: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(TamperError, match=words):
        check(*arguments, **options)


@pytest.mark.parametrize(
    ("version", "kind"),
    [  # version 0.1 needs the promise that Rekor 2 does not give
        (V01, "hashedrekord 0.0.1"),
        (V02, "hashedrekord 0.0.1"),
        (V03, "hashedrekord 0.0.1"),
        (V02, "hashedrekord 0.0.2"),
        (V03, "hashedrekord 0.0.2"),
    ],
)
def test_a_signature_over_an_artifact_verifies(version: str, kind: str) -> None:
    found = check(WORLD.bundle(version=version, kind=kind))
    assert (found.method, found.identity, found.issuer) == ("identity", IDENTITY, ISSUER)
    assert found.times
    assert found.certificate_log == "https://ct.example.org"
    assert [entry.kind for entry in found.logged] == [kind]


@pytest.mark.parametrize("kind", DSSE_KINDS)
@pytest.mark.parametrize("managed", [None, KEY])
def test_an_attestation_verifies(kind: str, managed: Any) -> None:
    policy = WHO if managed is None else Policy(key=PublicKey(KEY.public_key()))
    found = check(WORLD.bundle(kind=kind, dsse=True, managed=managed), policy)
    assert found.predicate_type == "https://example.org/predicate"


def test_a_key_alone_verifies_and_says_what_it_could_not() -> None:
    policy = Policy(key=PublicKey(KEY.public_key()))
    bundle = WORLD.bundle(managed=KEY, stamps=[NOW])
    found = verify_bundle(json.dumps(bundle).encode(), Artifact.of_bytes(ARTIFACT), policy, None, LATER)
    assert len(found.unverified) == 2
    assert not found.times
    assert not found.logged


def test_every_kind_of_identity_that_fulcio_writes_is_read() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    user = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7"), tlv(0x0C, b"somebody!example.org"))
    for san, identity in ((x509.RFC822Name("a@example.org"), "a@example.org"), (user, "somebody!example.org")):
        bundle = WORLD.bundle(key=key, leaf=WORLD.leaf(key.public_key(), san=[san]))
        assert check(bundle, Policy(expected=Expected(identity, ISSUER))).identity == identity
        refused("was expected", bundle)


def leaf_bundle(**options: Any) -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    return WORLD.bundle(key=key, leaf=WORLD.leaf(key.public_key(), **options))


OTHER = Authority()
URI = x509.UniformResourceIdentifier
LEAVES: dict[str, tuple[dict[str, Any], str]] = {
    "of another authority": ({"issuer_key": OTHER.key}, "no trusted authority"),
    "an authority's own": ({"authority": True}, "authority's own"),
    "not for code": ({"purposes": [ExtendedKeyUsageOID.SERVER_AUTH]}, "not for code signing"),
    "for nothing": ({"purposes": []}, "not for code signing"),
    "not yet valid": ({"at": NOW + timedelta(hours=1)}, "was not valid at"),
    "no more valid": ({"at": NOW - timedelta(hours=1)}, "was not valid at"),
    "promised by another log": ({"sct_key": ec.generate_private_key(ec.SECP256R1())}, "SCT"),
    "promised before the log's key": ({"sct_at": START - timedelta(days=1)}, "certificate log's key was valid"),
    "no identity": ({"san": []}, "names no identity"),
    "two identities": ({"san": [URI(IDENTITY), URI("https://example.org/x")]}, "exactly one identity"),
    "a host's identity": ({"san": [x509.DNSName("example.org")]}, "not used here"),
    "no issuer": ({"issuers": []}, "who vouched"),
    "two issuers": ({"issuers": [("1.8", tlv(0x0C, ISSUER.encode())), ("1.1", b"https://other")]}, "two issuers"),
    "another issuer": ({"issuers": [("1.1", b"https://other.example.org")]}, "was expected"),
    "an issuer that is no text": ({"issuers": [("1.8", tlv(0x0C, b"\xff\xfe"))]}, "not text"),
}


@pytest.mark.parametrize("what", LEAVES)
def test_a_wrong_certificate_is_refused_and_named(what: str) -> None:
    options, words = LEAVES[what]
    refused(words, leaf_bundle(**options))


def test_a_certificate_with_what_is_not_understood_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.NameConstraints([x509.UniformResourceIdentifier("example.org")], None)
    for critical, words in ((True, "critical extension"), (False, "name constraints")):
        made = certificate(
            "leaf",
            key.public_key(),
            "intermediate",
            WORLD.authority.key,
            purposes=[ExtendedKeyUsageOID.CODE_SIGNING],
            start=NOW,
            end=NOW + timedelta(minutes=10),
            extra=[(x509.SubjectAlternativeName([URI(IDENTITY)]), True), (names, critical)],
        )
        refused(words, WORLD.bundle(key=key, leaf=made))


def edited(change: Callable[[dict[str, Any]], object], **options: Any) -> dict[str, Any]:
    bundle = WORLD.bundle(**options)
    change(bundle)
    return bundle


def material(bundle: dict[str, Any]) -> Any:
    return bundle["verificationMaterial"]


def entry(bundle: dict[str, Any]) -> Any:
    return material(bundle)["tlogEntries"][0]


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], dict[str, Any], str]] = {
    "no media type": (lambda b: b.pop("mediaType"), {}, "no mediaType"),
    "both contents": (lambda b: b.update(dsseEnvelope={}, messageSignature=b["messageSignature"]), {}, "either"),
    "two signatures": (lambda b: b["dsseEnvelope"]["signatures"].append({}), {"dsse": True}, "exactly one signature"),
    "another payload type": (
        lambda b: b["dsseEnvelope"].update(payloadType="text/plain"),
        {"dsse": True},
        "payloadType",
    ),
    "key and certificate": (lambda b: material(b).update(publicKey={"hint": ""}), {}, "one key or one certificate"),
    "a chain in 0.3": (
        lambda b: material(b).update(x509CertificateChain={"certificates": [material(b).pop("certificate")]}),
        {},
        "certificate chain",
    ),
    "a certificate in 0.2": (
        lambda b: material(b).update(certificate=material(b).pop("x509CertificateChain")["certificates"][0]),
        {"version": V02},
        "certificate alone",
    ),
    "no promise in 0.1": (lambda b: entry(b).pop("inclusionPromise"), {"version": V01}, "no inclusion promise"),
    "no proof": (lambda b: entry(b).pop("inclusionProof"), {}, "no inclusion proof"),
    "no checkpoint": (lambda b: entry(b)["inclusionProof"].pop("checkpoint"), {}, "no checkpoint"),
    "no log entry": (lambda b: material(b).pop("tlogEntries"), {"stamps": [NOW]}, "no log entry"),
    "no time": (lambda b: entry(b).pop("inclusionPromise"), {}, "when it was signed"),
    "no time, Rekor 2": (
        lambda b: material(b).pop("timestampVerificationData"),
        {"kind": "hashedrekord 0.0.2"},
        "when it was signed",
    ),
    "another kind": (lambda b: entry(b)["kindVersion"].update(kind="dsse"), {}, "another kind"),
    "an entry twice": (lambda b: material(b)["tlogEntries"].append(entry(b)), {}, "twice"),
    "a huge proof": (lambda b: entry(b)["inclusionProof"].update(hashes=[b64(b"x" * 32)] * 65), {}, "more than 64"),
    "a number too large": (lambda b: entry(b).update(logIndex=str(1 << 63)), {}, "no number"),
    "a number with a sign": (lambda b: entry(b).update(logIndex="+5"), {}, "no number"),
    "loose base64": (
        lambda b: b["messageSignature"].update(signature=" " + b["messageSignature"]["signature"]),
        {},
        "base64",
    ),
    "wasteful base64": (lambda b: b["messageSignature"].update(signature="AB=="), {}, "canonical"),
    "a list for an object": (lambda b: b.update(verificationMaterial=[]), {}, "not an object"),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_malformed_bundle_is_refused_and_the_field_named(what: str) -> None:
    change, options, words = EDITS[what]
    refused(words, edited(change, **options))


def test_a_key_twice_in_the_json_is_refused() -> None:
    text = json.dumps(WORLD.bundle())
    doubled = text[:-1] + ', "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}'
    with pytest.raises(TamperError, match="twice"):
        verify_bundle(
            doubled.encode(), Artifact.of_bytes(ARTIFACT), WHO, read_root(json.dumps(WORLD.root()).encode()), LATER
        )


def test_entries_and_timestamps_of_another_bundle_are_refused() -> None:
    for options in ({}, {"kind": "hashedrekord 0.0.2"}, {"dsse": True, "kind": "dsse 0.0.1"}):
        first, second = WORLD.bundle(**options), WORLD.bundle(**options)
        swapped = copy.deepcopy(first)
        material(swapped)["tlogEntries"] = material(second)["tlogEntries"]
        refused("another", swapped)
        if "timestampVerificationData" in material(first):
            stamped = copy.deepcopy(first)
            material(stamped)["timestampVerificationData"] = material(second)["timestampVerificationData"]
            refused("of another signature", stamped)


def test_a_valid_signature_of_another_certificate_is_refused() -> None:
    """CVE-2022-36056: the log entry must be of this certificate, not of somebody else's who signed the same."""
    mine, other = WORLD.bundle(), WORLD.bundle()
    mixed = copy.deepcopy(mine)
    material(mixed)["certificate"] = material(other)["certificate"]
    refused("another certificate or key|does not verify", mixed)


def test_an_entry_of_rekor_1_without_a_promise_needs_a_timestamp() -> None:
    bundle = WORLD.bundle(stamps=[NOW + timedelta(seconds=1)])
    entry(bundle).pop("inclusionPromise")
    found = check(bundle)
    assert [source for source, _ in found.times] == ["https://example.org"]
    assert [item.index for item in found.logged] == [5]  # of the proof: the number over all trees is not signed


def test_times_outside_of_what_they_must_lie_in_are_refused() -> None:
    inside, outside = NOW + timedelta(seconds=1), NOW + timedelta(minutes=11)
    refused("was not valid at", WORLD.bundle(logged_at=outside))
    refused("was not valid at", WORLD.bundle(kind="hashedrekord 0.0.2", stamps=[inside, outside]))
    refused("was not valid at", WORLD.bundle(stamps=[outside]))
    late = LATER + timedelta(minutes=6)
    key = ec.generate_private_key(ec.SECP256R1())
    refused("is to come", WORLD.bundle(key=key, leaf=WORLD.leaf(key.public_key(), at=late), logged_at=late))


def windowed(part: str, **window: str | None) -> dict[str, Any]:
    root = WORLD.root()
    held = root[part][-1] if part == "tlogs" else root[part][0]
    valid = held["publicKey"]["validFor"] if "publicKey" in held else held["validFor"]
    valid.update(window)
    return root


def test_the_windows_of_the_trusted_root_are_closed_intervals() -> None:
    at = NOW + timedelta(seconds=1)
    edge, before = at.isoformat().replace("+00:00", "Z"), (at - timedelta(seconds=1)).isoformat()
    bundle = WORLD.bundle(kind="hashedrekord 0.0.2", stamps=[at])
    for part, words in (
        ("tlogs", "log's key was valid"),
        ("certificateAuthorities", "authority was trusted"),
        ("timestampAuthorities", "authority was trusted"),
    ):
        assert check(bundle, root=windowed(part, end=edge)).times
        refused(words, bundle, root=windowed(part, end=before))
        assert check(bundle, root=windowed(part, start=edge)).times
        refused(words, bundle, root=windowed(part, start=(at + timedelta(seconds=1)).isoformat()))
    assert check(bundle, root=windowed("ctlogs", end=NOW.isoformat())).certificate_log
    early = windowed("ctlogs", end=(NOW - timedelta(milliseconds=1)).isoformat())
    refused("certificate log's key was valid", bundle, root=early)


def test_a_window_of_one_authority_does_not_serve_another() -> None:
    root, other = WORLD.root(), World()
    at = NOW + timedelta(seconds=1)
    expired = dict(
        root["timestampAuthorities"][0], validFor={"start": "2025-01-01T00:00:00Z", "end": "2025-02-01T00:00:00Z"}
    )
    valid = other.root()["timestampAuthorities"][0]
    bundle = WORLD.bundle(kind="hashedrekord 0.0.2", stamps=[at])
    refused("authority was trusted|no certificate", bundle, root={**root, "timestampAuthorities": [expired, valid]})


def test_a_trusted_root_that_is_wrong_is_refused_and_the_place_named() -> None:
    for part, words in (
        ("tlogs", r"publicKey of tlogs\[1\]"),
        ("certificateAuthorities", r"certificateAuthorities\[0\]"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_root(json.dumps(windowed(part, start=None)).encode())
    for change in (
        {"mediaType": "application/json"},
        {"tlogs": [{}]},
        {"certificateAuthorities": [{"certChain": {"certificates": []}}]},
        {"ctlogs": "none"},
        {"timestampAuthorities": [{"certChain": {"certificates": [{"rawBytes": "AAAA"}]}}]},
    ):
        with pytest.raises(ConfigError):
            read_root(json.dumps(WORLD.root(**change)).encode())


def test_without_logs_in_the_root_nothing_verifies_unless_that_is_asked_for() -> None:
    bundle = WORLD.bundle(entry=False, stamps=[NOW + timedelta(seconds=1)])
    bare = WORLD.root(tlogs=[], ctlogs=[])
    refused("no log entry", bundle, root=bare)
    refused("SCT", bundle, replace(WHO, need_log=False), root=bare)
    found = check(bundle, replace(WHO, need_log=False, need_certificate_log=False), root=bare)
    assert (found.logged, found.certificate_log) == ((), "")
    assert found.times


def test_a_statement_must_be_one_and_speak_of_the_artifact() -> None:
    good = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": "0" * 64}}],
        "predicateType": "https://example.org/predicate",
    }
    for change, words in (
        ({}, "other artifacts"),
        ({"_type": "https://in-toto.io/Statement/v9"}, "not an in-toto Statement"),
        ({"_type": None}, "not an in-toto Statement"),
        ({"subject": []}, "no subject"),
        ({"subject": [{"name": "a"}]}, "no digest"),
        ({"subject": [{"name": "a", "digest": {"sha256": "\ud800"}}]}, "other artifacts"),
        ({"predicateType": ""}, "no predicateType"),
    ):
        refused(words, WORLD.bundle(dsse=True, kind="dsse 0.0.1", statement={**good, **change}))


def test_a_subject_with_one_right_and_one_wrong_digest_is_refused() -> None:
    thing = Artifact.of_bytes(ARTIFACT)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": thing.digests["sha256"], "sha512": "0" * 128}}],
        "predicateType": "https://example.org/predicate",
    }
    refused("other artifacts", WORLD.bundle(dsse=True, kind="dsse 0.0.1", statement=statement))


def test_a_message_by_digest_alone_verifies_where_the_key_signs_that_digest() -> None:
    digest = Artifact.of_digest("sha256:" + Artifact.of_bytes(ARTIFACT).digests["sha256"])
    assert check(WORLD.bundle(), artifact=digest).logged
    wrong = Artifact.of_digest("sha512:" + hashlib.sha512(ARTIFACT).hexdigest())
    refused("given by another", WORLD.bundle(), artifact=wrong)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "artifact"
    file.write_bytes(ARTIFACT)
    thing = Artifact.of_file(file)
    assert thing.digest("sha384") == hashlib.sha384(ARTIFACT).digest()
    file.write_bytes(b"other")
    for read in (lambda: thing.digest("sha512"), thing.whole):
        with pytest.raises(TamperError, match="changed while it was read"):
            read()


def test_intermediates_and_roots_that_a_bundle_brings_along_count_for_nothing() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = WORLD.leaf(key.public_key(), issuer_key=OTHER.key)
    bundle = WORLD.bundle(version=V02, key=key, leaf=leaf)
    chain = material(bundle)["x509CertificateChain"]["certificates"]
    chain.append({"rawBytes": b64(OTHER.between.public_bytes(Encoding.DER))})
    refused("no trusted authority", bundle)
    chain.append({"rawBytes": b64(OTHER.root.public_bytes(Encoding.DER))})
    refused("root certificate", bundle)


def test_a_timestamp_by_another_key_too_coarse_or_not_whole_is_refused() -> None:
    bundle = WORLD.bundle(kind="hashedrekord 0.0.2", stamps=[])
    signature = base64.b64decode(bundle["messageSignature"]["signature"])
    good = WORLD.stamp(signature)
    for data, words in (
        (WORLD.stamp(signature, key=ec.generate_private_key(ec.SECP256R1())), "does not verify"),
        (WORLD.stamp(signature, seconds=61), "coarser"),
        (World().stamp(signature), "does not verify"),
        (good[:-1], "DER"),
        (good + b"\0", "DER"),
        (b"\x30\x80\x00\x00", "DER"),
        (b"\x30" * 4000, "DER"),
        (b"\x30\x84\xff\xff\xff\xff", "DER"),
    ):
        changed = copy.deepcopy(bundle)
        material(changed)["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": b64(data)}]}
        refused(words, changed)
    plain = copy.deepcopy(bundle)
    stamp = {"signedTimestamp": b64(WORLD.stamp(signature, embed=False))}
    material(plain)["timestampVerificationData"] = {"rfc3161Timestamps": [stamp]}
    assert check(plain).times


@pytest.mark.parametrize(
    ("purposes", "critical", "authority"),
    [
        ([ExtendedKeyUsageOID.TIME_STAMPING], False, False),
        ([ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING], True, False),
        ([ExtendedKeyUsageOID.CODE_SIGNING], True, False),
        ([ExtendedKeyUsageOID.TIME_STAMPING], True, True),
    ],
)
def test_a_certificate_that_is_not_for_timestamps_alone_stamps_nothing(
    purposes: list[x509.ObjectIdentifier], critical: bool, authority: bool
) -> None:
    world = World()
    public = world.tsa_key.public_key()
    options = {"purposes": purposes, "critical_purposes": critical, "authority": authority}
    world.tsa = certificate("tsa", public, "intermediate", world.stamping.key, **options)
    refused("not for timestamps", world.bundle(kind="hashedrekord 0.0.2"), world=world)


def test_a_timestamp_with_a_crowd_of_certificates_is_refused_before_they_are_read() -> None:
    bundle = WORLD.bundle(kind="hashedrekord 0.0.2", stamps=[])
    signature = base64.b64decode(bundle["messageSignature"]["signature"])
    own = WORLD.tsa.public_bytes(Encoding.DER)
    plain = WORLD.stamp(signature, embed=False)
    crowded = WORLD.stamp(signature, embed=own * 11)
    assert len(crowded) > len(plain)
    material(bundle)["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": b64(crowded)}]}
    refused("more than 10 certificates", bundle)


def test_witnesses_may_sign_a_checkpoint_too() -> None:
    bundle = WORLD.bundle(kind="hashedrekord 0.0.2")
    checkpoint = entry(bundle)["inclusionProof"]["checkpoint"]
    checkpoint["envelope"] += f"— witness.example.org {b64(b'1234' + bytes(72))}\n"
    assert check(bundle).logged
    checkpoint["envelope"] += "— witness.example.org not-base64\n"
    refused("base64", bundle)


def test_nothing_to_verify_by_is_an_error() -> None:
    data, thing = json.dumps(WORLD.bundle()).encode(), Artifact.of_bytes(ARTIFACT)
    for policy, root in ((Policy(), None), (WHO, None)):
        with pytest.raises(ConfigError):
            verify_bundle(data, thing, policy, root, LATER)
    with pytest.raises(CustomhouseError):
        Artifact.of_digest("sha256:zz")
