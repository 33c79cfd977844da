"""Log entries of Rekor, versions 1 and 2: that a log took them in, when, and that they speak of this very signature.

Steps of `verify_entry`, each of which refuses:
1. the log is one of the trusted root's;
2. the promise (signed entry timestamp), where there is one, is the log's over body, index and time;
3. the proof leads from the body to the root of a checkpoint that the log signed;
4. the log's key was valid at the time of the promise, or else at the times that timestamp authorities gave;
5. the body is of the kind that the bundle says, and holds this signature, this certificate or key, this content.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from customhouse._kit.canonical import canonical_json
from customhouse.core.errors import CustomhouseError, TamperError
from customhouse.trust import merkle, strict_json
from customhouse.trust.certificates import der_of_pem
from customhouse.trust.keys import PublicKey
from customhouse.trust.sigstore.fields import Fields, octets
from customhouse.trust.sigstore.material import Envelope, LogEntry, Proof
from customhouse.trust.sigstore.roots import LogKey

_DASH = "— "
_MAX_SIGNATURES = 100
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_HASH_NAMES = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}


@dataclass(frozen=True, slots=True)
class Signed:
    """What an entry must speak of: the signature, who made it (the certificate's or the key's DER) and the content.

    `digest` gives the content's digest by a hash's name (raises TamperError where it is not known); `envelope` is set
    for DSSE.
    """

    signature: bytes
    signer: bytes
    digest: Callable[[str], bytes]
    envelope: Envelope | None


@dataclass(frozen=True, slots=True)
class Logged:
    """A verified entry. `time` (promised by the log) is None for a log that promises none."""

    log: str
    index: int
    kind: str
    time: datetime | None


def verify_entry(entry: LogEntry, logs: Sequence[LogKey], signed: Signed, stamped: Sequence[datetime] = ()) -> Logged:
    """Check one entry; `stamped` are the times of verified timestamps. Raises TamperError, saying which step."""
    known = [log for log in logs if entry.log_id in log.ids]
    if not known:
        raise TamperError(f"the log entry is of a log that is not in the trusted root ({entry.log_id.hex()[:16]}…)")
    time = datetime.fromtimestamp(entry.time, UTC) if 0 < entry.time < 1 << 36 else None
    if entry.promise and time is None:
        raise TamperError("the log entry has a promise without a time")
    times = [time] if entry.promise and time is not None else list(stamped)
    log = next((item for item in known if all(item.window.holds(at) for at in times)), None)
    if log is None:
        shown = ", ".join(at.isoformat() for at in times)
        raise TamperError(f"the log's key was valid {known[0].window}, and the entry is of {shown}")
    if entry.promise:
        _verify_promise(entry, log)
    if entry.proof is not None:
        _verify_proof(entry, entry.proof, log)
    _verify_body(entry, signed)
    # Rekor 1 counts over all its trees, and only its promise is over that number.
    index = entry.index if entry.promise or entry.proof is None else entry.proof.index
    return Logged(log.name, index, f"{entry.kind} {entry.version}", time if entry.promise else None)


def _verify_promise(entry: LogEntry, log: LogKey) -> None:
    """Step 2."""
    promised = canonical_json(
        {
            "body": base64.b64encode(entry.body).decode(),
            "integratedTime": entry.time,
            "logID": entry.log_id.hex(),
            "logIndex": entry.index,
        }
    )
    if not log.key.verify(promised, entry.promise):
        raise TamperError("the log entry's promise (signed entry timestamp) does not verify")


def _verify_proof(entry: LogEntry, proof: Proof, log: LogKey) -> None:
    """Step 3."""
    size, root = _checkpoint(proof.checkpoint, log)
    if size != proof.size or not hmac.compare_digest(root, proof.root):
        raise TamperError("the checkpoint is of another tree than the inclusion proof")
    if (entry.kind, entry.version) in _VERSION_2 and entry.index != proof.index:
        raise TamperError("the log entry has another index than its proof")
    merkle.verify_inclusion(proof.index, proof.size, merkle.leaf_hash(entry.body), proof.hashes, root)


def _checkpoint(note: str, log: LogKey) -> tuple[int, bytes]:
    """(size, root) of a checkpoint (C2SP tlog-checkpoint) that the log signed; witnesses may have signed it too."""
    head, separator, tail = note.partition("\n\n")
    text = head + "\n"
    lines = tail.removesuffix("\n").split("\n")
    if not separator or not tail.endswith("\n") or len(lines) > _MAX_SIGNATURES:
        raise TamperError("the checkpoint has no signatures, or too many")
    body = head.split("\n")
    hints = {name[:4] for name in log.ids}
    good = False
    for line in lines:
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or not name or not space:
            raise TamperError("the checkpoint has a malformed signature line")
        raw = octets(encoded, "a signature of the checkpoint")
        # Rekor 1 calls its trees "NAME - NUMBER" and signs as NAME; version 2 has one name for both.
        if raw[:4] in hints and (body[0] == name or body[0].startswith(f"{name} - ")):
            if not log.key.verify(text.encode(errors="surrogatepass"), raw[4:]):
                raise TamperError("the checkpoint's signature does not verify")
            good = True
    if not good:
        raise TamperError("the checkpoint is not signed by the log")
    if len(body) < 3 or not body[0] or not _SIZE.fullmatch(body[1]):
        raise TamperError("the checkpoint is malformed")
    return int(body[1]), octets(body[2], "the checkpoint's root")


def _verify_body(entry: LogEntry, signed: Signed) -> None:
    """Step 5."""
    try:
        body = Fields(strict_json.parse(entry.body, "the log entry"), "the log entry")
    except TamperError:
        raise
    except CustomhouseError as error:
        raise TamperError(f"the log entry cannot be read: {error.message}") from error
    if (body.text("kind"), body.text("apiVersion")) != (entry.kind, entry.version):
        raise TamperError("the log entry is of another kind than the bundle says")
    check = _KINDS.get((entry.kind, entry.version))
    if check is None:
        raise TamperError(f"log entries of kind {entry.kind[:40]} {entry.version[:20]} are not read")
    check(body.part("spec"), signed)


def _hashedrekord_1(spec: Fields, signed: Signed) -> None:
    digest = spec.part("data").part("hash")
    _same_digest(digest.text("algorithm"), _hex(digest.text("value")), signed)
    signature = spec.part("signature")
    _same_signature(signature.octets("content"), signed)
    _same_signer(_from_pem(signature.part("publicKey").octets("content")), signed)


def _hashedrekord_2(spec: Fields, signed: Signed) -> None:
    held = spec.part("hashedRekordV002")
    digest = held.part("data")
    _same_digest(_HASH_NAMES.get(digest.text("algorithm"), "?"), digest.octets("digest"), signed)
    _version_2_signature(held.part("signature"), signed)


def _dsse_1(spec: Fields, signed: Signed) -> None:
    envelope = _envelope(signed)
    _same_payload(spec.part("payloadHash"), envelope)
    signature = _only(spec.parts("signatures", 10))
    _same_signature(signature.octets("signature"), signed)
    _same_signer(_from_pem(signature.octets("verifier")), signed)


def _dsse_2(spec: Fields, signed: Signed) -> None:
    held = spec.part("dsseV002")
    envelope = _envelope(signed)
    digest = held.part("payloadHash")
    name = _HASH_NAMES.get(digest.text("algorithm"), "?")
    _compare(_hash(name, envelope.payload), digest.octets("digest"), "the log entry is of another payload")
    _version_2_signature(_only(held.parts("signatures", 10)), signed)


def _intoto_2(spec: Fields, signed: Signed) -> None:
    """The kind that holds base64 of base64 in some releases of the log, and may leave the payload out."""
    content = spec.part("content")
    envelope = _envelope(signed)
    logged = content.part("envelope")
    if logged.text("payloadType") != envelope.payload_type:
        raise TamperError("the log entry is of another type of payload")
    if logged.has("payload"):
        payload = _once_or_twice(logged, "payload", envelope.payload)
        _compare(payload, envelope.payload, "the log entry is of another payload")
    _same_payload(content.part("payloadHash"), envelope)
    signature = _only(logged.parts("signatures", 10))
    _same_signature(_once_or_twice(signature, "sig", signed.signature), signed)
    _same_signer(_from_pem(signature.octets("publicKey")), signed)


_KINDS: Mapping[tuple[str, str], Callable[[Fields, Signed], None]] = {
    ("hashedrekord", "0.0.1"): _hashedrekord_1,
    ("hashedrekord", "0.0.2"): _hashedrekord_2,
    ("dsse", "0.0.1"): _dsse_1,
    ("dsse", "0.0.2"): _dsse_2,
    ("intoto", "0.0.2"): _intoto_2,
}


_VERSION_2 = (("hashedrekord", "0.0.2"), ("dsse", "0.0.2"))


def _version_2_signature(fields: Fields, signed: Signed) -> None:
    _same_signature(fields.octets("content"), signed)
    verifier = fields.part("verifier")
    if verifier.has("x509Certificate") == verifier.has("publicKey"):
        raise TamperError("the log entry must name one certificate or one key")
    name = "x509Certificate" if verifier.has("x509Certificate") else "publicKey"
    _same_signer(verifier.part(name).octets("rawBytes"), signed)


def _once_or_twice(fields: Fields, name: str, wanted: bytes) -> bytes:
    data = fields.octets(name)
    if hmac.compare_digest(data, wanted):
        return data
    try:
        return octets(data.decode("ascii"), name)
    except UnicodeDecodeError:
        return data


def _envelope(signed: Signed) -> Envelope:
    if signed.envelope is None:
        raise TamperError("the log entry is of an attestation, and this is a signature over an artifact")
    return signed.envelope


def _only(listed: Sequence[Fields]) -> Fields:
    if len(listed) != 1:
        raise TamperError("the log entry must have exactly one signature")
    return listed[0]


def _same_payload(logged: Fields, envelope: Envelope) -> None:
    digest = _hash(logged.text("algorithm"), envelope.payload)
    _compare(digest, _hex(logged.text("value")), "the log entry is of another payload")


def _same_digest(name: str, logged: bytes, signed: Signed) -> None:
    if name not in _HASH_NAMES.values():
        raise TamperError("the log entry is of a hash that is not used here")
    _compare(signed.digest(name), logged, "the log entry is of another artifact")


def _same_signature(logged: bytes, signed: Signed) -> None:
    _compare(logged, signed.signature, "the log entry is of another signature")


def _same_signer(logged: bytes, signed: Signed) -> None:
    _compare(logged, signed.signer, "the log entry is of another certificate or key")


def _compare(left: bytes, right: bytes, problem: str) -> None:
    if not hmac.compare_digest(left, right):
        raise TamperError(problem)


def _hash(name: str, data: bytes) -> bytes:
    if name not in _HASH_NAMES.values():
        raise TamperError("the log entry is of a hash that is not used here")
    return hashlib.new(name, data).digest()


def _hex(text: str) -> bytes:
    if len(text) % 2 or set(text) - set("0123456789abcdef"):
        raise TamperError("the log entry's digest is not hex")
    return bytes.fromhex(text)


def _from_pem(pem: bytes) -> bytes:
    """The DER of a PEM certificate, or of a PEM public key."""
    if b"BEGIN CERTIFICATE" in pem:
        return der_of_pem(pem)
    try:
        return PublicKey.from_pem(pem).der
    except CustomhouseError as error:
        raise TamperError("the log entry's key cannot be read") from error
