"""Signing without a key of one's own: a certificate of minutes for an identity, a timestamp, an entry in a log.

Steps: 1. a key is made and never leaves this function; 2. the certificate authority (Fulcio, API v2) issues a
certificate for it against the identity token; 3. the key signs; 4. timestamp authorities stamp the signature;
5. the log (Rekor, version 2 or 1) takes it in; 6. the bundle is verified against the trusted root of the same
configuration, by the identity in the certificate, before anybody sees it: services that answer wrongly are found here.

The services are those of the trust configuration that was given, and no others are asked.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from customhouse._kit.clock import from_rfc3339
from customhouse.core.errors import ConfigError, CustomhouseError, EvidenceError, TamperError
from customhouse.trust import strict_json
from customhouse.trust.bundle import BUNDLE_TYPE, PAYLOAD_TYPE, pae
from customhouse.trust.certificates import read_certificate
from customhouse.trust.sigstore.fields import Fields
from customhouse.trust.sigstore.identity import Expected, certificate_identity
from customhouse.trust.sigstore.roots import SigstoreRoot, Window, read_root
from customhouse.trust.sigstore.verification import Artifact, Policy, Verified, verify_bundle

Post = Callable[[str, dict[str, str], bytes], bytes]
"""(address, headers, body) → the body of a good answer. Raises EvidenceError, which never holds a header's value."""
_CONFIG_TYPE = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_SIGNING_TYPE = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
_MAX_SERVICES = 20
_MAX_TOKEN = 16 * 1024
_DETAILS = "PKIX_ECDSA_P256_SHA_256"


@dataclass(frozen=True, slots=True)
class Services:
    """Where to ask: authority, log with the version of its API, timestamp authorities; and what is trusted."""

    authority: str
    log: str
    log_version: int
    timestamps: tuple[str, ...]
    root: SigstoreRoot


def read_services(data: bytes, now: datetime, where: str = "trust configuration") -> Services:
    """Read a client's trust configuration (a signing configuration of version 0.2 and a trusted root).

    The first service of each kind that is in force at `now` and speaks a version that is known here is taken. Raises
    ConfigError.
    """
    try:
        document = Fields(strict_json.parse(data, where), "the trust configuration")
        if document.text("mediaType") != _CONFIG_TYPE:
            raise TamperError(f"not a trust configuration (mediaType {_CONFIG_TYPE})")
        signing = document.part("signingConfig")
        if signing.text("mediaType") != _SIGNING_TYPE:
            raise TamperError("the signing configuration is not of version 0.2")
        authority, _ = _service(signing, "caUrls", (1,), now)
        log, version = _service(signing, "rekorTlogUrls", (2, 1), now)
        stamping = _service(signing, "tsaUrls", (1,), now)[0] if signing.list("tsaUrls", _MAX_SERVICES) else ""
        if version == 2 and not stamping:
            raise TamperError("a log of version 2 gives no time, and there is no timestamp authority")
        root = read_root(orjson.dumps(document.part("trustedRoot").raw), where)
    except ConfigError:
        raise
    except (CustomhouseError, ValueError) as error:
        said = error.message if isinstance(error, CustomhouseError) else str(error)
        raise ConfigError(said, where=where, hint="it is what `sigstore --trust-config` takes") from error
    return Services(authority, log, version, (stamping,) if stamping else (), root)


def _service(signing: Fields, name: str, versions: tuple[int, ...], now: datetime) -> tuple[str, int]:
    listed = signing.parts(name, _MAX_SERVICES)
    for version in versions:
        for item in listed:
            window = item.optional_part("validFor")
            start = None if window is None or not window.has("start") else from_rfc3339(window.text("start"))
            end = None if window is None or not window.has("end") else from_rfc3339(window.text("end"))
            if item.number("majorApiVersion", 1) == version and Window(start, end).holds(now):
                address = item.text("url").rstrip("/")
                if urlsplit(address).scheme not in ("https", "http") or not urlsplit(address).hostname:
                    raise TamperError(f"{name}: not an address")
                return address, version
    raise TamperError(f"{name} names no service that is in force and whose version is known")


def sign_statement(payload: bytes, token: str, services: Services, post: Post, now: datetime) -> tuple[bytes, Verified]:
    """Sign an in-toto statement: (bundle, what it was verified to say). Raises EvidenceError and TamperError."""
    return _sign(pae(PAYLOAD_TYPE, payload), payload, None, token, services, post, now)


def sign_artifact(
    artifact: Artifact, token: str, services: Services, post: Post, now: datetime
) -> tuple[bytes, Verified]:
    """Sign an artifact's bytes, by their digest: (bundle, what it was verified to say)."""
    return _sign(b"", None, artifact, token, services, post, now)


def _sign(
    signed: bytes,
    payload: bytes | None,
    artifact: Artifact | None,
    token: str,
    services: Services,
    post: Post,
    now: datetime,
) -> tuple[bytes, Verified]:
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    digest = hashlib.sha256(signed).digest() if artifact is None else artifact.digest("sha256")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key, token, services, post)
    signature = key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    stamps = [{"signedTimestamp": _b64(_stamp(address, signature, post))} for address in services.timestamps]
    content = _content(signature, digest, payload)
    entry = _entry(certificate, signature, digest, content, services, post)
    material: dict[str, Any] = {"certificate": {"rawBytes": _b64(certificate.public_bytes(Encoding.DER))}}
    material["tlogEntries"] = [entry]
    if stamps:
        material["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
    document = {"mediaType": BUNDLE_TYPE, "verificationMaterial": material, **content}
    bundle = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    expected = Expected(*certificate_identity(certificate))
    return bundle, verify_bundle(bundle, artifact, Policy(expected=expected), services.root, now)


def _certificate(key: ec.EllipticCurvePrivateKey, token: str, services: Services, post: Post) -> x509.Certificate:
    """Step 2. The request's own subject says nothing: the authority takes the identity from the token."""
    if not token or len(token) > _MAX_TOKEN or not token.isascii() or any(letter.isspace() for letter in token):
        raise ConfigError("not an identity token", hint="the file holds one OpenID Connect token and nothing else")
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    asked = orjson.dumps({"certificateSigningRequest": _b64(request.public_bytes(Encoding.PEM))})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    address = services.authority + "/api/v2/signingCert"
    try:
        answer = Fields(strict_json.parse(post(address, headers, asked), address), "the authority's answer")
        listed = answer.part("signedCertificateEmbeddedSct").part("chain").list("certificates", 10)
        pem = str(listed[0]).encode() if listed else b""
        certificate = x509.load_pem_x509_certificate(pem)
    except (ValueError, TamperError) as error:
        raise EvidenceError("the certificate authority gave no certificate", where=address) from error
    if certificate.public_key() != key.public_key():
        raise EvidenceError("the certificate authority gave a certificate of another key", where=address)
    return read_certificate(certificate.public_bytes(Encoding.DER))


def _stamp(address: str, signature: bytes, post: Post) -> bytes:
    """Step 4: a request of RFC 3161 for the sha256 of the signature, with a nonce and the signer's certificate."""
    nonce = secrets.token_bytes(8)
    imprint = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
    number = b"\x02\x09\x01" + nonce
    body = b"\x02\x01\x01" + imprint + hashlib.sha256(signature).digest() + number + b"\x01\x01\xff"
    answer = post(address, {"Content-Type": "application/timestamp-query"}, b"\x30" + bytes([len(body)]) + body)
    if nonce not in answer:
        raise EvidenceError("the timestamp authority answered another request", where=address)
    return answer


def _content(signature: bytes, digest: bytes, payload: bytes | None) -> dict[str, Any]:
    if payload is None:
        said = {"algorithm": "SHA2_256", "digest": _b64(digest)}
        return {"messageSignature": {"messageDigest": said, "signature": _b64(signature)}}
    envelope = {"payload": _b64(payload), "payloadType": PAYLOAD_TYPE}
    return {"dsseEnvelope": {**envelope, "signatures": [{"sig": _b64(signature), "keyid": ""}]}}


def _entry(
    certificate: x509.Certificate,
    signature: bytes,
    digest: bytes,
    content: dict[str, Any],
    services: Services,
    post: Post,
) -> dict[str, Any]:
    """Step 5. Version 2 knows digests alone: an envelope is entered by the digest of what is signed of it."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if services.log_version == 2:
        verifier = {"x509Certificate": {"rawBytes": _b64(certificate.public_bytes(Encoding.DER))}}
        said = {"content": _b64(signature), "verifier": {**verifier, "keyDetails": _DETAILS}}
        asked: dict[str, Any] = {"hashedRekordRequestV002": {"digest": _b64(digest), "signature": said}}
        address = services.log + "/api/v2/log/entries"
        answer = strict_json.parse(post(address, headers, orjson.dumps(asked)), address)
        if not isinstance(answer, dict):
            raise EvidenceError("the log gave no entry", where=address)
        return answer
    pem = _b64(certificate.public_bytes(Encoding.PEM))
    if "dsseEnvelope" in content:
        proposed = {"envelope": orjson.dumps(content["dsseEnvelope"]).decode(), "verifiers": [pem]}
        asked = {"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": proposed}}
    else:
        spec = {
            "data": {"hash": {"algorithm": "sha256", "value": digest.hex()}},
            "signature": {"content": _b64(signature), "publicKey": {"content": pem}},
        }
        asked = {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}
    address = services.log + "/api/v1/log/entries"
    answer = strict_json.parse(post(address, headers, orjson.dumps(asked)), address)
    if not isinstance(answer, dict) or len(answer) != 1:
        raise EvidenceError("the log gave no entry", where=address)
    return _entry_of_version_1(next(iter(answer.values())), asked["kind"], address)


def _entry_of_version_1(answer: Any, kind: str, where: str) -> dict[str, Any]:
    """The answer of Rekor's first API as bundles have it."""
    try:
        fields = Fields(answer, "the log's answer")
        vouched = fields.part("verification")
        proof = vouched.part("inclusionProof")
        return {
            "logIndex": str(fields.number("logIndex")),
            "logId": {"keyId": _b64(bytes.fromhex(fields.text("logID")))},
            "kindVersion": {"kind": kind, "version": "0.0.1"},
            "integratedTime": str(fields.number("integratedTime")),
            "inclusionPromise": {"signedEntryTimestamp": vouched.text("signedEntryTimestamp")},
            "inclusionProof": {
                "logIndex": str(proof.number("logIndex")),
                "rootHash": _b64(bytes.fromhex(proof.text("rootHash"))),
                "treeSize": str(proof.number("treeSize")),
                "hashes": [_b64(bytes.fromhex(str(item))) for item in proof.list("hashes", 64)],
                "checkpoint": {"envelope": proof.text("checkpoint")},
            },
            "canonicalizedBody": fields.text("body"),
        }
    except (ValueError, TamperError) as error:
        raise EvidenceError(f"the log gave no entry: {error}", where=where) from error


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
