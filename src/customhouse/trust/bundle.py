"""DSSE envelopes (v1.0.2) in Sigstore bundles (v0.3 JSON): write, read, verify with a public key.

One envelope, one signature (the bundle's specification allows no more). What is verified is the payload's very bytes,
before anything in them counts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from customhouse._kit.canonical import canonical_json
from customhouse.core.errors import EvidenceError
from customhouse.core.evidence import EvidenceKind
from customhouse.core.resource import PREFIX
from customhouse.trust import strict_json
from customhouse.trust.keys import PrivateKey, PublicKey, TrustRoot

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
SIGNATURE_TYPE = "https://model_signing/signature/v1.0"
ISSUED_AT = PREFIX + "issued-at"
"""Annotation of the subject (in-toto has no time of its own): when the statement was made, RFC 3339."""
TREE_DIGEST = PREFIX + "tree-digest"
"""Annotation of the subject of a model signature: the digest that declarations pin (`_kit.digest.Tree.digest`)."""
_MAX_CERTIFICATES = 10


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: type and payload with their lengths, so that no byte can change sides."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as read; nothing in it is trusted yet.

    `hint` is what the bundle says of its key, `certificates` (DER, leaf first) what it brings along; `method` is
    `key`, `certificate` or `sigstore` (keyless: a certificate of minutes and entries of a transparency log).
    """

    payload: bytes
    signature: bytes
    method: str
    hint: str = ""
    certificates: tuple[bytes, ...] = ()
    where: str = ""

    def signed_by(self, key: PublicKey) -> bool:
        """Whether `key` signed the payload."""
        return key.verify(pae(PAYLOAD_TYPE, self.payload), self.signature)

    def signed_by_legacy(self, key: PublicKey) -> bool:
        """Whether `key` signed the payload as model_signing 0.2 did: SHA-256, and Python's text of the bytes encoded.

        The text of bytes is one-to-one, so this cannot be taken for a signature over anything else.
        """
        text = f"DSSEV1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(self.payload)} {self.payload!r}"
        return key.verify(text.encode(), self.signature, sha256=True)

    def statement(self) -> Statement:
        """The in-toto Statement v1 in the payload. Raises EvidenceError when it is not one."""
        document = strict_json.parse(self.payload, self.where)
        if not isinstance(document, dict) or document.get("_type") != STATEMENT_TYPE:
            raise EvidenceError("the payload is not an in-toto Statement v1", where=self.where)
        subjects, predicate = document.get("subject"), document.get("predicate", {})
        if not isinstance(subjects, list) or not subjects or len(subjects) > 100_000:
            raise EvidenceError("the statement has no subject", where=self.where)
        if not isinstance(document.get("predicateType"), str) or not isinstance(predicate, dict):
            raise EvidenceError("the statement has no predicate", where=self.where)
        return Statement(tuple(_subject(item, self.where) for item in subjects), document["predicateType"], predicate)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a statement is about: a name (for people), the sha256 in 64 hex digits, signed annotations."""

    name: str
    sha256: str
    annotations: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """An in-toto Statement."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]


def statement(
    subject_name: str,
    sha256: str,
    predicate_type: str,
    predicate: Mapping[str, Any],
    annotations: Mapping[str, Any] | None = None,
) -> bytes:
    """The canonical JSON of an in-toto Statement v1 about one subject; `sha256` is 64 hex digits."""
    subject: dict[str, Any] = {"name": subject_name, "digest": {"sha256": sha256}}
    if annotations:
        subject["annotations"] = dict(annotations)
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [subject],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    return canonical_json(document)


def seal(payload: bytes, key: PrivateKey, certificates: Sequence[bytes] = ()) -> bytes:
    """Sign a statement and write the bundle (JSON, sorted keys, a newline at the end: it lives in Git).

    `certificates` (DER, the signer's first) name the signer instead of the key's hint.
    """
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    document = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": _signer(key, certificates),
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": key.public.key_id}],
        },
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def key_hint(key: PublicKey) -> str:
    """The sha256 of the key's PEM: what model_signing (since 1.0) compares; the specification leaves it open."""
    return hashlib.sha256(key.pem()).hexdigest()


def _signer(key: PrivateKey, certificates: Sequence[bytes]) -> dict[str, Any]:
    if not certificates:
        return {"publicKey": {"hint": key_hint(key.public)}}
    # A chain, where version 0.3 has the one certificate: model_signing reads no other form for its own authorities.
    chain = [{"rawBytes": base64.b64encode(der).decode()} for der in certificates]
    return {"x509CertificateChain": {"certificates": chain}, "tlogEntries": []}


def read_bundle(data: bytes, where: str = "bundle") -> Bundle:
    """Read a bundle without trusting it. Raises EvidenceError (with `where`) when it is malformed."""
    try:
        document = strict_json.parse(data, where)
    except EvidenceError as error:
        hint = "it is a Sigstore bundle (JSON), as `customhouse model sign --out` and `model attest` write it"
        raise EvidenceError(error.message, where=where, hint=hint) from error
    if not isinstance(document, dict) or document.get("mediaType") != BUNDLE_TYPE:
        raise EvidenceError("not a Sigstore bundle v0.3", where=where, hint=f"mediaType must be {BUNDLE_TYPE}")
    envelope = _mapping(document, "dsseEnvelope", where)
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise EvidenceError(f"payloadType is not {PAYLOAD_TYPE}", where=where)
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise EvidenceError("the envelope must have exactly one signature", where=where)
    material = _mapping(document, "verificationMaterial", where)
    method, hint, certificates = _material(material, where)
    return Bundle(
        payload=_base64(envelope.get("payload"), "payload", where),
        signature=_base64(signatures[0].get("sig"), "sig", where),
        method=method,
        hint=hint,
        certificates=certificates,
        where=where,
    )


def authenticate(bundle: Bundle, kind: EvidenceKind, roots: Sequence[TrustRoot]) -> tuple[str | None, str]:
    """(name of the root that signed, problem); no problem means: it verifies and this root may sign this kind."""
    if bundle.method != "key":
        return None, f"signed by {bundle.method}, and trust roots here are public keys"
    signers = [root for root in roots if bundle.signed_by(root.key)]
    for root in signers:
        if kind in root.kinds:
            return root.name, ""
    if signers:
        return signers[0].name, f"{signers[0].name} may not sign {kind.value}"
    named = next((root for root in roots if bundle.hint in (root.key.key_id, key_hint(root.key))), None)
    if named is not None:
        return None, f"the signature of {named.name} does not verify: the statement was changed after signing"
    return None, f"signed by an unknown key{f' ({bundle.hint[:16]}…)' if bundle.hint else ''}"


def _material(material: Mapping[str, Any], where: str) -> tuple[str, str, tuple[bytes, ...]]:
    if "publicKey" in material:
        key = _mapping(material, "publicKey", where)
        return "key", str(key.get("hint", ""))[:128], ()
    if "x509CertificateChain" in material:
        chain = _mapping(material, "x509CertificateChain", where).get("certificates")
        if not isinstance(chain, list) or not 0 < len(chain) <= _MAX_CERTIFICATES:
            raise EvidenceError("the certificate chain is empty or too long", where=where)
        raw = tuple(_base64(c.get("rawBytes") if isinstance(c, dict) else None, "rawBytes", where) for c in chain)
        return ("sigstore" if material.get("tlogEntries") else "certificate"), "", raw
    if "certificate" in material:
        raw_bytes = _mapping(material, "certificate", where).get("rawBytes")
        method = "sigstore" if material.get("tlogEntries") else "certificate"
        return method, "", (_base64(raw_bytes, "rawBytes", where),)
    raise EvidenceError("the bundle names no key and no certificate", where=where)


def _subject(item: Any, where: str) -> Subject:
    digests = item.get("digest") if isinstance(item, dict) else None
    sha256 = digests.get("sha256") if isinstance(digests, dict) else None
    if not isinstance(sha256, str) or len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise EvidenceError("a subject has no sha256 of 64 lower-case hex digits", where=where)
    annotations = item.get("annotations")
    return Subject(str(item.get("name", "")), sha256, annotations if isinstance(annotations, dict) else {})


def _mapping(values: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = values.get(key)
    if not isinstance(value, dict):
        raise EvidenceError(f"{key} is missing", where=where)
    return value


def _base64(value: Any, name: str, where: str) -> bytes:
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except ValueError as error:  # binascii.Error, or a letter beyond ASCII
        raise EvidenceError(f"{name} is not base64", where=where) from error
    raise EvidenceError(f"{name} is missing", where=where)
