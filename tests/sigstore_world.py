"""A Sigstore instance in memory: authority, log of certificates, Rekor 1 and 2, timestamp authority, trusted root.

It makes what the real services make, byte for byte in form, so that tests can make it wrong in one place at a time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from customhouse._kit.canonical import canonical_json
from customhouse.trust import merkle
from customhouse.trust.bundle import PAYLOAD_TYPE, pae

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
START = datetime(2025, 1, 1, tzinfo=UTC)
IDENTITY = "https://example.org/builder@refs/heads/main"
ISSUER = "https://token.example.org"
V01, V02 = (f"application/vnd.dev.sigstore.bundle+json;version=0.{n}" for n in (1, 2))
V03 = "application/vnd.dev.sigstore.bundle.v0.3+json"
ARTIFACT = b"weights of a model"
_CURVE = ec.SECP256R1()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def spki(key: Any) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "example"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


def tlv(tag: int, *parts: bytes) -> bytes:
    """One value in DER."""
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + body


def oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    out = bytearray()
    for arc in (first * 40 + second, *rest):
        piece = [arc & 0x7F]
        while arc := arc >> 7:
            piece.append(0x80 | arc & 0x7F)
        out += bytes(reversed(piece))
    return tlv(6, bytes(out))


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


@dataclass
class Authority:
    """A root and an intermediate, for code signing or for timestamps."""

    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(_CURVE))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(_CURVE))

    def __post_init__(self) -> None:
        self.root = certificate("root", self.root_key.public_key(), "root", self.root_key, authority=True)
        self.between = certificate(
            "intermediate", self.key.public_key(), "root", self.root_key, authority=True, purposes=[self.purpose]
        )


def certificate(
    subject: str,
    public: Any,
    issuer: str,
    issuer_key: Any,
    *,
    authority: bool = False,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    critical_purposes: bool = False,
    start: datetime = START,
    end: datetime = START + timedelta(days=3650),
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    bare: bool = False,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]) if bare else name(subject))
        .issuer_name(name(issuer))
        .public_key(public)
        .serial_number(int.from_bytes(hashlib.sha256(subject.encode() + spki(public)).digest()[:12], "big") | 1)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(
            x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=critical_purposes)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


@dataclass
class World:
    """The instance. `bundle` signs; every step takes what can be made otherwise."""

    authority: Authority = field(default_factory=Authority)
    stamping: Authority = field(default_factory=lambda: Authority(ExtendedKeyUsageOID.TIME_STAMPING))
    ct_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(_CURVE))
    rekor_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(_CURVE))
    rekor2_key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)
    tsa_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(_CURVE))

    def __post_init__(self) -> None:
        self.rekor_id = hashlib.sha256(spki(self.rekor_key.public_key())).digest()
        raw = self.rekor2_key.public_key().public_bytes_raw()
        self.rekor2_id = hashlib.sha256(b"log2.example.org\n\x01" + raw).digest()
        self.ct_id = hashlib.sha256(spki(self.ct_key.public_key())).digest()
        self.tsa = certificate(
            "tsa",
            self.tsa_key.public_key(),
            "intermediate",
            self.stamping.key,
            purposes=[ExtendedKeyUsageOID.TIME_STAMPING],
            critical_purposes=True,
        )

    def root(self, **changes: Any) -> dict[str, Any]:
        """The trusted root as JSON values."""
        valid = {"start": "2025-01-01T00:00:00Z"}

        def log(url: str, key: Any, key_id: bytes) -> dict[str, Any]:
            details = "PKIX_ECDSA_P256_SHA_256" if isinstance(key, ec.EllipticCurvePublicKey) else "PKIX_ED25519"
            held = {"rawBytes": b64(spki(key)), "keyDetails": details, "validFor": dict(valid)}
            return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": held, "logId": {"keyId": b64(key_id)}}

        def chain(*listed: x509.Certificate) -> dict[str, Any]:
            held = [{"rawBytes": b64(item.public_bytes(Encoding.DER))} for item in listed]
            who = {"organization": "example", "commonName": "example"}
            return {
                "subject": who,
                "uri": "https://example.org",
                "certChain": {"certificates": held},
                "validFor": dict(valid),
            }

        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                log("https://log1.example.org", self.rekor_key.public_key(), self.rekor_id),
                log("https://log2.example.org", self.rekor2_key.public_key(), self.rekor2_id),
            ],
            "certificateAuthorities": [chain(self.authority.between, self.authority.root)],
            "ctlogs": [log("https://ct.example.org", self.ct_key.public_key(), self.ct_id)],
            "timestampAuthorities": [chain(self.tsa, self.stamping.between, self.stamping.root)],
            **changes,
        }

    def leaf(
        self,
        public: Any,
        *,
        at: datetime = NOW,
        san: Sequence[x509.GeneralName] = (x509.UniformResourceIdentifier(IDENTITY),),
        issuers: Sequence[tuple[str, bytes]] | None = None,
        sct_key: Any = None,
        sct_at: datetime | None = None,
        **options: Any,
    ) -> x509.Certificate:
        """A certificate as Fulcio issues it, with the promise of the log of certificates in it."""
        said = issuers if issuers is not None else [("1.8", tlv(0x0C, ISSUER.encode())), ("1.1", ISSUER.encode())]
        extra: list[tuple[x509.ExtensionType, bool]] = [(x509.SubjectAlternativeName(san), True)] if san else []
        extra += [
            (x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.{last}"), value), False)
            for last, value in said
        ]
        made = {
            "purposes": [ExtendedKeyUsageOID.CODE_SIGNING],
            "start": at,
            "end": at + timedelta(minutes=10),
            "bare": True,
            **options,
        }
        issuer_key = made.pop("issuer_key", self.authority.key)
        early = certificate("leaf", public, "intermediate", issuer_key, extra=extra, **made)
        body = early.tbs_certificate_bytes
        when = int((sct_at or at).timestamp() * 1000).to_bytes(8, "big")
        issuer_hash = hashlib.sha256(spki(self.authority.key.public_key())).digest()
        signed = b"\0\0" + when + b"\0\1" + issuer_hash + len(body).to_bytes(3, "big") + body + b"\0\0"
        signature = (sct_key or self.ct_key).sign(signed, ec.ECDSA(hashes.SHA256()))
        promise = b"\0" + self.ct_id + when + b"\0\0" + b"\4\3" + len(signature).to_bytes(2, "big") + signature
        listed = len(promise).to_bytes(2, "big") + promise
        held = tlv(4, len(listed).to_bytes(2, "big") + listed)
        promises = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), held)
        return certificate("leaf", public, "intermediate", issuer_key, extra=[*extra, (promises, False)], **made)

    def stamp(
        self,
        signature: bytes,
        at: datetime = NOW,
        *,
        seconds: int = 1,
        key: Any = None,
        embed: bool | bytes = True,
        imprint: bytes | None = None,
        nonce: int = 77,
    ) -> bytes:
        """A timestamp response over a signature (or over what has the digest `imprint`)."""
        sha256 = tlv(0x30, oid("2.16.840.1.101.3.4.2.1"))
        over = tlv(0x30, sha256, tlv(4, imprint or hashlib.sha256(signature).digest()))
        when = tlv(0x18, at.strftime("%Y%m%d%H%M%SZ").encode())
        accuracy = tlv(0x30, integer(seconds))
        info = tlv(0x30, integer(1), oid("1.2.3.4"), over, integer(78), when, accuracy, integer(nonce))
        encoded = self.tsa.public_bytes(Encoding.DER)
        named = tlv(0x30, tlv(0x30, tlv(0x30, tlv(4, hashlib.sha256(encoded).digest()))))
        attributes = b"".join(
            (
                tlv(0x30, oid("1.2.840.113549.1.9.3"), tlv(0x31, oid("1.2.840.113549.1.9.16.1.4"))),
                tlv(0x30, oid("1.2.840.113549.1.9.4"), tlv(0x31, tlv(4, hashlib.sha256(info).digest()))),
                tlv(0x30, oid("1.2.840.113549.1.9.16.2.47"), tlv(0x31, named)),
            )
        )
        made = (key or self.tsa_key).sign(tlv(0x31, attributes), ec.ECDSA(hashes.SHA256()))
        by = tlv(0x30, self.tsa.issuer.public_bytes(), integer(self.tsa.serial_number))
        ecdsa = tlv(0x30, oid("1.2.840.10045.4.3.2"))
        signer = tlv(0x30, integer(1), by, sha256, tlv(0xA0, attributes), ecdsa, tlv(4, made))
        content = tlv(0x30, oid("1.2.840.113549.1.9.16.1.4"), tlv(0xA0, tlv(4, info)))
        held = tlv(0xA0, embed if isinstance(embed, bytes) else encoded) if embed else b""
        data = tlv(0x30, integer(3), tlv(0x31, sha256), content, held, tlv(0x31, signer))
        token = tlv(0x30, oid("1.2.840.113549.1.7.2"), tlv(0xA0, data))
        return tlv(0x30, tlv(0x30, integer(0)), token)

    def entry(
        self,
        body: dict[str, Any],
        at: datetime = NOW + timedelta(seconds=2),
        *,
        promise: bool = True,
        proof: bool = True,
        neighbours: int = 5,
    ) -> dict[str, Any]:
        """A log entry: of Rekor 2 (no promise, no time) where the body is of version 0.0.2 and not `intoto`."""
        data = canonical_json(body)
        second = body["apiVersion"] == "0.0.2" and body["kind"] != "intoto"
        log_id = self.rekor2_id if second else self.rekor_id
        tree = merkle.MerkleTree(merkle.leaf_hash(f"other {n}".encode()) for n in range(neighbours))
        index = tree.size
        tree.append(merkle.leaf_hash(data))
        tree.append(merkle.leaf_hash(b"later"))
        log_name = "log2.example.org" if second else "log1.example.org"
        origin = log_name if second else f"{log_name} - 42"
        head = f"{origin}\n{tree.size}\n{b64(tree.root())}\n"
        signature = (
            self.rekor2_key.sign(head.encode())
            if second
            else self.rekor_key.sign(head.encode(), ec.ECDSA(hashes.SHA256()))
        )
        made: dict[str, Any] = {
            "logIndex": str(index if second else 1000 + index),
            "logId": {"keyId": b64(log_id)},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "canonicalizedBody": b64(data),
        }
        if proof:
            made["inclusionProof"] = {
                "logIndex": str(index),
                "rootHash": b64(tree.root()),
                "treeSize": str(tree.size),
                "hashes": [b64(item) for item in tree.inclusion_proof(index)],
                "checkpoint": {"envelope": f"{head}\n— {log_name} {b64(log_id[:4] + signature)}\n"},
            }
        if promise and not second:
            time = int(at.timestamp())
            said = {
                "body": b64(data),
                "integratedTime": time,
                "logID": log_id.hex(),
                "logIndex": int(made["logIndex"]),
            }
            signed = self.rekor_key.sign(canonical_json(said), ec.ECDSA(hashes.SHA256()))
            made["integratedTime"] = str(time)
            made["inclusionPromise"] = {"signedEntryTimestamp": b64(signed)}
        return made

    def bundle(
        self,
        *,
        version: str = V03,
        kind: str = "hashedrekord 0.0.1",
        artifact: bytes = ARTIFACT,
        dsse: bool = False,
        statement: dict[str, Any] | None = None,
        managed: ec.EllipticCurvePrivateKey | None = None,
        leaf: x509.Certificate | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        stamps: Sequence[datetime] | None = None,
        logged_at: datetime = NOW + timedelta(seconds=2),
        entry: bool = True,
        promise: bool = True,
    ) -> dict[str, Any]:
        """A signed bundle as JSON values, good unless told otherwise."""
        key = key or managed or ec.generate_private_key(_CURVE)
        if leaf is None and managed is None:
            leaf = self.leaf(key.public_key())
        said = statement or {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "a", "digest": {"sha256": hashlib.sha256(artifact).hexdigest()}}],
            "predicateType": "https://example.org/predicate",
            "predicate": {},
        }
        payload = json.dumps(said).encode()
        signed = pae(PAYLOAD_TYPE, payload) if dsse else artifact
        signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
        document: dict[str, Any] = {"mediaType": version}
        if managed is not None:
            material: dict[str, Any] = {"publicKey": {"hint": "a key"}}
        else:
            assert leaf is not None
            raw = {"rawBytes": b64(leaf.public_bytes(Encoding.DER))}
            alone = version == V03
            material = {"certificate": raw} if alone else {"x509CertificateChain": {"certificates": [raw]}}
        if entry:
            body = log_body(kind, signature, signed, payload, leaf, key.public_key())
            material["tlogEntries"] = [self.entry(body, logged_at, promise=promise)]
        if stamps is None:
            stamps = [NOW + timedelta(seconds=1)] if kind.endswith("0.0.2") and "intoto" not in kind else []
        if stamps:
            listed = [{"signedTimestamp": b64(self.stamp(signature, at))} for at in stamps]
            material["timestampVerificationData"] = {"rfc3161Timestamps": listed}
        document["verificationMaterial"] = material
        if dsse:
            envelope = {"payload": b64(payload), "payloadType": PAYLOAD_TYPE}
            document["dsseEnvelope"] = {**envelope, "signatures": [{"sig": b64(signature), "keyid": ""}]}
        else:
            digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(artifact).digest())}
            document["messageSignature"] = {"messageDigest": digest, "signature": b64(signature)}
        return document


def log_body(
    kind: str, signature: bytes, signed: bytes, payload: bytes, leaf: x509.Certificate | None, public: Any
) -> dict[str, Any]:
    """The body of a log entry, of any of the five kinds."""
    name_of, _, version = kind.partition(" ")
    pem = (
        leaf.public_bytes(Encoding.PEM)
        if leaf is not None
        else public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    raw = (
        {"x509Certificate": {"rawBytes": b64(leaf.public_bytes(Encoding.DER))}}
        if leaf is not None
        else {"publicKey": {"rawBytes": b64(spki(public))}}
    )
    second = {"content": b64(signature), "verifier": {**raw, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}
    digest, payload_digest = hashlib.sha256(signed), hashlib.sha256(payload)
    spec: dict[str, Any]
    if kind == "hashedrekord 0.0.1":
        spec = {
            "data": {"hash": {"algorithm": "sha256", "value": digest.hexdigest()}},
            "signature": {"content": b64(signature), "publicKey": {"content": b64(pem)}},
        }
    elif kind == "hashedrekord 0.0.2":
        data = {"algorithm": "SHA2_256", "digest": b64(digest.digest())}
        spec = {"hashedRekordV002": {"data": data, "signature": second}}
    elif kind == "dsse 0.0.1":
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": "00" * 32},
            "payloadHash": {"algorithm": "sha256", "value": payload_digest.hexdigest()},
            "signatures": [{"signature": b64(signature), "verifier": b64(pem)}],
        }
    elif kind == "dsse 0.0.2":
        held = {"algorithm": "SHA2_256", "digest": b64(payload_digest.digest())}
        spec = {"dsseV002": {"payloadHash": held, "signatures": [second]}}
    else:
        envelope = {
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": b64(b64(signature).encode()), "publicKey": b64(pem)}],
        }
        hashed = {"algorithm": "sha256", "value": payload_digest.hexdigest()}
        spec = {"content": {"envelope": envelope, "payloadHash": hashed}}
    return {"apiVersion": version, "kind": name_of, "spec": spec}
