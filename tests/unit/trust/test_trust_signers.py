"""Who signed an image: keyless in both forms of cosign, by certificates of an own authority, revoked, stamped."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.trust.cosign import SIGN_TYPE, simple_payload, wrapped_signature
from customhouse.trust.filed import read_filed
from customhouse.trust.keys import ALL_KINDS
from customhouse.trust.roots import AuthorityRoot, IdentityRoot, Roots
from sigstore_world import IDENTITY, ISSUER, NOW, World, b64, certificate, name

DIGEST = "sha256:" + "ab" * 32
PAYLOAD = simple_payload("registry.example/team/app", DIGEST)
OLD = "application/vnd.dev.sigstore.bundle+json;version=0.1"


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def read(data: bytes, suffix: str, roots: Roots, at: datetime = NOW + timedelta(days=1)) -> Evidence:
    (found,) = read_filed({f"oci-0{suffix}": data}, DIGEST, roots, at)
    assert found.verified is (found.problem == "")
    return found


def keyless(world: World, identity: str = IDENTITY) -> Roots:
    root = json.dumps(world.root()).encode()
    return Roots(sigstore=(IdentityRoot("ci", root, identity, ISSUER, ALL_KINDS),))


def annotations(bundle: dict[str, Any]) -> dict[str, str]:
    """A bundle of version 0.1 as the annotations of an old layer."""
    material = bundle["verificationMaterial"]
    found = {"dev.cosignproject.cosign/signature": bundle["messageSignature"]["signature"]}
    chain = [
        x509.load_der_x509_certificate(base64.b64decode(item["rawBytes"])).public_bytes(Encoding.PEM).decode()
        for item in material["x509CertificateChain"]["certificates"]
    ]
    found["dev.sigstore.cosign/certificate"], found["dev.sigstore.cosign/chain"] = chain[0], "".join(chain[1:])
    for entry in material.get("tlogEntries", ()):
        payload = {
            "body": entry["canonicalizedBody"],
            "integratedTime": int(entry["integratedTime"]),
            "logIndex": int(entry["logIndex"]),
            "logID": base64.b64decode(entry["logId"]["keyId"]).hex(),
        }
        promise = entry["inclusionPromise"]["signedEntryTimestamp"]
        found["dev.sigstore.cosign/bundle"] = json.dumps({"SignedEntryTimestamp": promise, "Payload": payload})
    stamps = material.get("timestampVerificationData")
    if stamps:
        said = {"SignedRFC3161Timestamp": stamps["rfc3161Timestamps"][0]["signedTimestamp"]}
        found["dev.sigstore.cosign/rfc3161timestamp"] = json.dumps(said)
    return found


def test_a_keyless_signature_in_the_older_form_is_believed_by_identity_and_dated_by_its_log(world: World) -> None:
    bundle = world.bundle(version=OLD, artifact=PAYLOAD)
    data = wrapped_signature(PAYLOAD, annotations(bundle), "here")
    found = read(data, ".cosign.json", keyless(world))
    assert (found.problem, found.signer) == ("", "ci")
    assert found.issued_at == NOW + timedelta(seconds=2)
    assert "was expected" in read(data, ".cosign.json", keyless(world, "mallory")).problem
    assert "ci:" in read(data, ".cosign.json", keyless(World())).problem  # another Sigstore
    # The promise of the log is of another time than the log signed.
    told = annotations(bundle)
    told["dev.sigstore.cosign/bundle"] = told["dev.sigstore.cosign/bundle"].replace(
        '"integratedTime": 1', '"integratedTime": 2'
    )
    assert read(wrapped_signature(PAYLOAD, told, "here"), ".cosign.json", keyless(world)).problem
    # Without the log nothing says when it was signed, and a certificate of minutes is worth nothing.
    told.pop("dev.sigstore.cosign/bundle")
    assert read(wrapped_signature(PAYLOAD, told, "here"), ".cosign.json", keyless(world)).problem


def test_a_keyless_bundle_about_the_image_is_believed_and_one_about_another_is_not(world: World) -> None:
    for digest, said in ((DIGEST, ""), ("sha256:" + "cd" * 32, "it speaks of")):
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": digest.removeprefix("sha256:")}}],
            "predicateType": SIGN_TYPE,
            "predicate": {},
        }
        bundle = world.bundle(dsse=True, kind="dsse 0.0.1", statement=statement)
        found = read(json.dumps(bundle).encode(), ".sigstore.json", keyless(world))
        assert found.kind is EvidenceKind.SIGNATURE
        assert found.problem.startswith(said)
        assert found.verified is (digest == DIGEST)


@pytest.fixture(scope="module")
def own(world: World) -> tuple[AuthorityRoot, dict[str, str], x509.Certificate]:
    """An own authority whose signer's certificate lasts an hour; its signature, stamped, as annotations; the leaf."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = certificate(
        "builder",
        key.public_key(),
        "intermediate",
        world.authority.key,
        purposes=[ExtendedKeyUsageOID.CODE_SIGNING],
        start=NOW - timedelta(minutes=5),
        end=NOW + timedelta(hours=1),
        extra=[(x509.SubjectAlternativeName([x509.RFC822Name("builder@acme.example")]), False)],
    )
    signature = key.sign(PAYLOAD, ec.ECDSA(hashes.SHA256()))
    stamp = json.dumps({"SignedRFC3161Timestamp": b64(world.stamp(signature, NOW))})
    told = {
        "dev.cosignproject.cosign/signature": b64(signature),
        "dev.sigstore.cosign/certificate": leaf.public_bytes(Encoding.PEM).decode(),
        "dev.sigstore.cosign/chain": "",
        "dev.sigstore.cosign/rfc3161timestamp": stamp,
    }
    authority = world.authority
    pem = b"".join(item.public_bytes(Encoding.PEM) for item in (authority.between, authority.root))
    return AuthorityRoot("acme", pem, ("builder@acme.example",), ALL_KINDS), told, leaf


def test_a_certificate_that_ran_out_is_believed_by_a_timestamp_alone(
    world: World, own: tuple[AuthorityRoot, dict[str, str], x509.Certificate]
) -> None:
    root, told, _ = own
    data = wrapped_signature(PAYLOAD, told, "here")
    soon, late = NOW + timedelta(minutes=9), NOW + timedelta(days=9)
    assert read(data, ".cosign.json", Roots(authorities=(root,)), soon).problem == ""
    assert "was not valid at" in read(data, ".cosign.json", Roots(authorities=(root,)), late).problem
    clock = b"".join(item.public_bytes(Encoding.PEM) for item in (world.stamping.between, world.stamping.root))
    stamped = Roots(authorities=(replace(root, timestamps=clock),))
    found = read(data, ".cosign.json", stamped, late)
    assert (found.problem, found.issued_at) == ("", NOW)
    # A timestamp over another signature, and one of an authority that nobody trusts.
    other = {
        **told,
        "dev.sigstore.cosign/rfc3161timestamp": json.dumps({"SignedRFC3161Timestamp": b64(world.stamp(b"x"))}),
    }
    assert "another signature" in read(wrapped_signature(PAYLOAD, other, "here"), ".cosign.json", stamped, late).problem
    strange = World().stamping.root.public_bytes(Encoding.PEM)
    assert read(data, ".cosign.json", Roots(authorities=(replace(root, timestamps=strange),)), late).problem


def test_a_revoked_signer_and_a_list_that_says_nothing_are_refused(
    world: World, own: tuple[AuthorityRoot, dict[str, str], x509.Certificate]
) -> None:
    root, told, leaf = own
    data = wrapped_signature(PAYLOAD, told, "here")
    at = NOW + timedelta(minutes=9)

    def problem(revocations: bytes) -> str:
        return read(data, ".cosign.json", Roots(authorities=(replace(root, revocations=revocations),)), at).problem

    def listed(
        *serials: int, until: timedelta = timedelta(days=1), key: Any = None, issuer: str = "intermediate"
    ) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name(issuer))
            .last_update(NOW - timedelta(hours=1))
            .next_update(NOW + until)
        )
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - timedelta(hours=1))
            builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(key or world.authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    assert problem(listed(4711)) == ""
    assert "is revoked" in problem(listed(leaf.serial_number))
    assert "out of date" in problem(listed(4711, until=timedelta(minutes=1)))
    assert "no revocation list" in problem(listed(4711, key=world.ct_key))
    assert "no revocation list" in problem(listed(4711, issuer="another"))
