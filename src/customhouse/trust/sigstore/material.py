"""Sigstore bundles (JSON, versions 0.1 to 0.3) as read: nothing in them is trusted yet.

Each version's own rules are held here: 0.1 needs the log's promise, 0.2 and 0.3 need its proof with a checkpoint; up to
0.2 a certificate comes as a chain, from 0.3 on alone; no bundle brings along a root certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from customhouse.core.errors import CustomhouseError, TamperError
from customhouse.trust import strict_json
from customhouse.trust.bundle import PAYLOAD_TYPE, pae
from customhouse.trust.certificates import read_certificate
from customhouse.trust.sigstore.fields import Fields

_VERSIONS = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": (0, 1),
    "application/vnd.dev.sigstore.bundle+json;version=0.2": (0, 2),
    "application/vnd.dev.sigstore.bundle+json;version=0.3": (0, 3),
    "application/vnd.dev.sigstore.bundle.v0.3+json": (0, 3),
}
MAX_ENTRIES = 32
MAX_TIMESTAMPS = 32
_MAX_CHAIN = 10
_MAX_PROOF = 64
"""A proof has a hash a level: a tree of 2⁶³ leaves has 63."""
MAX_CHECKPOINT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Proof:
    """An inclusion proof: the leaf's place, the tree's size and root, the hashes between, and the signed checkpoint."""

    index: int
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry of a signature log: what the log says of it. `time` counts only under a `promise` that verifies."""

    index: int
    log_id: bytes
    kind: str
    version: str
    body: bytes
    time: int
    promise: bytes
    proof: Proof | None


@dataclass(frozen=True, slots=True)
class Message:
    """A signature over an artifact's bytes; `digest` (hash name, bytes) is a hint that must not contradict."""

    signature: bytes
    digest: tuple[str, bytes] | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A DSSE envelope with its one signature."""

    signature: bytes
    payload: bytes
    payload_type: str

    @property
    def signed(self) -> bytes:
        """The bytes that are signed."""
        return pae(self.payload_type, self.payload)


@dataclass(frozen=True, slots=True)
class Material:
    """A bundle: content, who says to have signed (a certificate, or a key's hint), and what vouches for the time."""

    version: tuple[int, int]
    content: Message | Envelope
    certificate: x509.Certificate | None
    hint: str
    entries: tuple[LogEntry, ...]
    timestamps: tuple[bytes, ...]
    certificate_der: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        if self.certificate is not None:
            object.__setattr__(self, "certificate_der", self.certificate.public_bytes(Encoding.DER))

    @property
    def signature(self) -> bytes:
        """The signature."""
        return self.content.signature


def read_material(data: bytes) -> Material:
    """Read a bundle. Raises TamperError that names the field which is wrong."""
    try:
        document = Fields(strict_json.parse(data, "the bundle"), "the bundle")
    except TamperError:
        raise
    except CustomhouseError as error:
        raise TamperError(f"the bundle cannot be read: {error.message}") from error
    media_type = document.text("mediaType")
    version = _VERSIONS.get(media_type)
    if version is None:
        raise TamperError(f"the bundle is of an unknown version: {media_type[:80]!r}", hint="0.1, 0.2 and 0.3 are read")
    material = document.part("verificationMaterial")
    certificate, hint = _signer(material, version)
    stamps = material.optional_part("timestampVerificationData")
    timestamps = () if stamps is None else stamps.parts("rfc3161Timestamps", MAX_TIMESTAMPS)
    found = tuple(stamp.octets("signedTimestamp") for stamp in timestamps)
    entries = tuple(_entry(item, version) for item in material.parts("tlogEntries", MAX_ENTRIES))
    if len(set(found)) != len(found) or len({(entry.log_id, entry.body) for entry in entries}) != len(entries):
        raise TamperError("the bundle holds a timestamp or a log entry twice")
    return Material(version, _content(document), certificate, hint, entries, found)


def _content(document: Fields) -> Message | Envelope:
    if document.has("messageSignature") == document.has("dsseEnvelope"):
        raise TamperError("the bundle must hold either a messageSignature or a dsseEnvelope")
    if document.has("messageSignature"):
        message = document.part("messageSignature")
        digest = message.optional_part("messageDigest")
        said = digest is not None and (digest.has("algorithm") or digest.has("digest"))
        return Message(message.octets("signature"), _hinted(digest) if said and digest is not None else None)
    envelope = document.part("dsseEnvelope")
    signatures = envelope.parts("signatures", 10)
    if len(signatures) != 1:
        raise TamperError("the envelope must have exactly one signature")
    payload_type = envelope.text("payloadType")
    if payload_type != PAYLOAD_TYPE:
        raise TamperError(f"payloadType is {payload_type[:80]!r} and not {PAYLOAD_TYPE}, which speaks of artifacts")
    return Envelope(signatures[0].octets("sig"), envelope.octets("payload"), payload_type)


def _hinted(digest: Fields) -> tuple[str, bytes]:
    name = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}.get(digest.text("algorithm"))
    if name is None:
        raise TamperError("messageDigest is of a hash that is not used here")
    return name, digest.octets("digest")


def _signer(material: Fields, version: tuple[int, int]) -> tuple[x509.Certificate | None, str]:
    named = [name for name in ("publicKey", "x509CertificateChain", "certificate") if material.has(name)]
    if len(named) != 1:
        raise TamperError("the bundle must name one key or one certificate")
    if named[0] == "publicKey":
        return None, material.part("publicKey").text("hint", "")[:200]
    if named[0] == "certificate":
        if version < (0, 3):
            raise TamperError("a certificate alone, in a version of the bundle that has chains")
        return _leaf(material.part("certificate").octets("rawBytes")), ""
    if version >= (0, 3):
        raise TamperError("a certificate chain, in a version of the bundle that has the certificate alone")
    chain = material.part("x509CertificateChain").parts("certificates", _MAX_CHAIN)
    if not chain:
        raise TamperError("the certificate chain is empty")
    certificates = [read_certificate(item.octets("rawBytes")) for item in chain]
    # A root is trusted because it was given beforehand; a bundle that brings one along wants to be believed by itself.
    if any(certificate.subject == certificate.issuer for certificate in certificates[1:]):
        raise TamperError("the certificate chain holds a root certificate")
    return _leaf(chain[0].octets("rawBytes")), ""


def _leaf(der: bytes) -> x509.Certificate:
    certificate = read_certificate(der)
    if certificate.issuer == certificate.subject:
        raise TamperError("the certificate is issued by itself")
    return certificate


def _entry(fields: Fields, version: tuple[int, int]) -> LogEntry:
    kind = fields.part("kindVersion")
    promised, proved = fields.optional_part("inclusionPromise"), fields.optional_part("inclusionProof")
    if version == (0, 1):
        if promised is None:
            raise TamperError("a log entry has no inclusion promise, which version 0.1 needs")
        if proved is not None and not proved.has("checkpoint"):
            proved = None  # in this version a proof may lack what makes it one: then it proves nothing
    elif proved is None:
        raise TamperError("a log entry has no inclusion proof")
    return LogEntry(
        index=fields.number("logIndex", 0),
        log_id=fields.part("logId").octets("keyId"),
        kind=kind.text("kind"),
        version=kind.text("version"),
        body=fields.octets("canonicalizedBody"),
        time=fields.number("integratedTime", 0),
        promise=b"" if promised is None else promised.octets("signedEntryTimestamp"),
        proof=None if proved is None else _proof(proved),
    )


def _proof(fields: Fields) -> Proof:
    checkpoint = fields.part("checkpoint").text("envelope")
    if len(checkpoint) > MAX_CHECKPOINT:
        raise TamperError(f"the checkpoint is longer than {MAX_CHECKPOINT} letters")
    hashes = tuple(_hash(item) for item in fields.list("hashes", _MAX_PROOF))
    return Proof(fields.number("logIndex", 0), fields.number("treeSize"), fields.octets("rootHash"), hashes, checkpoint)


def _hash(item: Any) -> bytes:
    return Fields({"hash": item}, "the inclusion proof").octets("hash")
