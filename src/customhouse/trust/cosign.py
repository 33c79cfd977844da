"""What cosign writes and reads: signatures of images (simple signing, and bundles) and attestations about them.

Formats: cosign `specs/SIGNATURE_SPEC.md` and `BUNDLE_SPEC.md`, release 3. A simple-signing payload binds one manifest
digest; an attestation is an in-toto Statement (v0.1 or v1) whose subject is the manifest. Both are kept as files beside
other evidence: `*.sigstore.json` is a Sigstore bundle, `*.cosign.json` a payload with the bundle that signs it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import bytes_digest, is_digest, same_digest
from customhouse.core.errors import EvidenceError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.trust import strict_json
from customhouse.trust.attestation import PREDICATE_TYPES
from customhouse.trust.bundle import BUNDLE_TYPE, ISSUED_AT, PAYLOAD_TYPE, pae
from customhouse.trust.provenance_forms import as_v1
from customhouse.trust.roots import Roots
from customhouse.trust.signers import Signed, signer_of

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGN_TYPE = "https://sigstore.dev/cosign/sign/v1"
"""Predicate type of a signature in the bundle format: the statement says nothing but its subject."""
SIMPLE_SUFFIX = ".cosign.json"
VULNERABILITIES = "https://cosign.sigstore.dev/attestation/vuln/v1"
_BUNDLE_PREFIX = "application/vnd.dev.sigstore.bundle"
_STATEMENTS = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
_CLAIMS = ("cosign container image signature", "atomic container signature")
_KINDS: Mapping[str, EvidenceKind] = {
    **{predicate_type: kind for kind, predicate_type in PREDICATE_TYPES.items() if kind is not EvidenceKind.SIGNATURE},
    SIGN_TYPE: EvidenceKind.SIGNATURE,
    "https://slsa.dev/provenance/v0.2": EvidenceKind.PROVENANCE,
    "https://spdx.dev/Document": EvidenceKind.BOM,
    "https://spdx.dev/Document/v2.2": EvidenceKind.BOM,
    "https://spdx.dev/Document/v2.3": EvidenceKind.BOM,
    VULNERABILITIES: EvidenceKind.SCAN,
    "https://in-toto.io/attestation/vulns/v0.1": EvidenceKind.VULNERABILITIES,
    "https://openvex.dev/ns": EvidenceKind.VEX,
}
OTHERS = frozenset(_KINDS) - frozenset(PREDICATE_TYPES.values()) - {SIGN_TYPE}
"""Predicate types that stand for a kind and are not the one that is written here."""
_WHEN: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "https://cyclonedx.org/bom": (("metadata", "timestamp"),),
    "https://spdx.dev/Document": (("creationInfo", "created"),),
    "https://spdx.dev/Document/v2.2": (("creationInfo", "created"),),
    "https://spdx.dev/Document/v2.3": (("creationInfo", "created"),),
    "https://slsa.dev/provenance/v1": (
        ("runDetails", "metadata", "finishedOn"),
        ("runDetails", "metadata", "startedOn"),
    ),
    "https://slsa.dev/provenance/v0.2": (("metadata", "buildFinishedOn"), ("metadata", "buildStartedOn")),
    VULNERABILITIES: (("metadata", "scanFinishedOn"), ("metadata", "scanStartedOn")),
    "https://in-toto.io/attestation/vulns/v0.1": (("metadata", "scanFinishedOn"),),
    "https://in-toto.io/attestation/vulns/v0.2": (("metadata", "scanFinishedOn"),),
    "https://openvex.dev/ns": (("timestamp",),),
    "https://openvex.dev/ns/v0.2.0": (("timestamp",),),
}
"""Where a predicate says when it was made, for statements that say it nowhere else; the signer answers for it."""
_MAX_SUBJECTS = 1000


@dataclass(frozen=True, slots=True)
class Said:
    """An in-toto Statement of either version: the digests of its subjects with their annotations, and the predicate."""

    subjects: Mapping[str, Mapping[str, Any]]
    predicate_type: str
    predicate: Mapping[str, Any]
    version: float = 1


def simple_payload(name: str, digest: str, at: datetime | None = None) -> bytes:
    """The simple-signing payload over an image; `name` is `host/repository`, `at` goes into its optional part."""
    optional = None if at is None else {ISSUED_AT: to_rfc3339(at)}
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": _CLAIMS[0],
    }
    return json.dumps({"critical": critical, "optional": optional}, separators=(",", ":")).encode()


def for_cosign(bundle: bytes) -> bytes:
    """A bundle of ours as cosign takes it: without `keyid`, which its DSSE reader compares with an ID of its own."""
    document = json.loads(bundle)
    for one in document["dsseEnvelope"]["signatures"]:
        one.pop("keyid", None)
    return json.dumps(document, indent=1).encode() + b"\n"


def is_claim(data: bytes) -> bool:
    """Whether a signature over these bytes would pass for one of an image: a JSON object with `critical`.

    Names of keys are compared as Go's readers do, without case.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and any(key.lower() == "critical" for key in value)


def wrapped_signature(payload: bytes, annotations: Mapping[str, str], where: str) -> bytes:
    """A layer of a `.sig` manifest as a file (`*.cosign.json`). Raises EvidenceError for one without a signature."""
    signature = _base64(annotations.get("dev.cosignproject.cosign/signature"), "the signature", where)
    digest = {"algorithm": "SHA2_256", "digest": _encode(bytes.fromhex(bytes_digest(payload)[7:]))}
    content = {"messageSignature": {"messageDigest": digest, "signature": _encode(signature)}}
    bundle = {**_material(annotations, where), **content}
    return json.dumps({"payload": _encode(payload), "bundle": bundle}, indent=1).encode() + b"\n"


def wrapped_attestations(envelope: bytes, annotations: Mapping[str, str], where: str) -> tuple[bytes, ...]:
    """A layer of an `.att` manifest as Sigstore bundles, one a signature. Raises EvidenceError."""
    document = strict_json.parse(envelope, where)
    signatures = document.get("signatures") if isinstance(document, dict) else None
    if not isinstance(signatures, list) or not 0 < len(signatures) <= 10:
        raise EvidenceError("an envelope without signatures, or with too many", where=where)
    material = _material(annotations, where)
    return tuple(
        json.dumps({**material, "dsseEnvelope": {**document, "signatures": [one]}}, indent=1).encode() + b"\n"
        for one in signatures
    )


def read_simple(data: bytes, digest: str, roots: Roots, at: datetime, where: str) -> Evidence:
    """A `*.cosign.json` as Evidence about the digest that its payload binds. Raises EvidenceError when malformed.

    1. who signed the payload; 2. it is a claim about an image; 3. its digest is `digest`. What it calls the image is
    kept and not compared: a mirror keeps the signatures of what it mirrors, and only the digest says what runs.
    """
    document = strict_json.parse(data, where)
    bundle = document.get("bundle") if isinstance(document, dict) else None
    if not isinstance(bundle, dict):
        raise EvidenceError("not a payload with its bundle", where=where)
    payload = _base64(document.get("payload"), "the payload", where)
    content = _mapping(bundle.get("messageSignature"))
    signature = _base64(content.get("signature"), "the signature", where)
    signed = Signed(payload, signature, _certificates(bundle, where), bundle, payload)
    # 1.
    signer = signer_of(signed, EvidenceKind.SIGNATURE, roots, at)
    # 2.
    claim = strict_json.parse(payload, where)
    critical = _mapping(claim.get("critical") if isinstance(claim, dict) else None)
    found = _mapping(critical.get("image")).get("docker-manifest-digest")
    if critical.get("type") not in _CLAIMS or not isinstance(found, str) or not is_digest(found):
        raise EvidenceError("the payload is no claim about an image", where=where)
    # 3.
    problem = signer.problem
    if not same_digest(found, digest):
        problem = problem or f"it speaks of {found}, not of what it is filed under"
    optional = _mapping(claim.get("optional"))
    name = _mapping(critical.get("identity")).get("docker-reference")
    return Evidence(
        digest,
        EvidenceKind.SIGNATURE,
        SIMPLE_SIGNING,
        {"reference": name if isinstance(name, str) else "", "optional": optional},
        signer.at or _time(optional.get(ISSUED_AT)),
        signer.name,
        not problem,
        bytes_digest(data),
        problem,
    )


def read_vulnerabilities(data: bytes, digest: str, roots: Roots, at: datetime, where: str) -> tuple[Evidence, ...]:
    """A bundle as `read_attestation` reads it; cosign's report of vulnerabilities is two statements.

    It is a scan, as it always was, for signers who may sign that, and what a tier's thresholds judge, for those who may
    sign vulnerabilities. Where it counts as the second, its findings deny by the thresholds and not by the scan.
    """
    scan = read_attestation(data, digest, roots, at, where)
    if scan is None or scan.predicate_type != VULNERABILITIES:
        return () if scan is None else (scan,)
    report = read_attestation(data, digest, roots, at, where, EvidenceKind.VULNERABILITIES)
    if report is None:
        return (scan,)
    if report.verified and scan.predicate["verdict"] == "suspicious":
        scan = replace(scan, predicate={**scan.predicate, "verdict": "clean", "findings": []})
    return (scan, report)


def read_attestation(
    data: bytes, digest: str, roots: Roots, at: datetime, where: str, wanted: EvidenceKind | None = None
) -> Evidence | None:
    """A bundle about an image as Evidence; None for a predicate that no rule asks for. Raises EvidenceError.

    `wanted` is the kind that it is taken for, instead of what its predicate type stands for.

    1. read; 2. what it says, and whether that is of a kind that counts; 3. who signed it, for that kind; 4. whether
    one of its subjects is `digest`.
    """
    # 1.
    document = strict_json.parse(data, where)
    if not isinstance(document, dict) or not str(document.get("mediaType", "")).startswith(_BUNDLE_PREFIX):
        raise EvidenceError("not a Sigstore bundle", where=where)
    envelope = _mapping(document.get("dsseEnvelope"))
    signatures = envelope.get("signatures")
    if envelope.get("payloadType") != PAYLOAD_TYPE or not isinstance(signatures, list) or len(signatures) != 1:
        raise EvidenceError("not one signed in-toto statement", where=where)
    payload = _base64(envelope.get("payload"), "the payload", where)
    # 2.
    said = read_statement(payload, where)
    kind = _KINDS.get(said.predicate_type) if wanted is None else wanted
    if kind is None:
        return None
    # 3.
    signature = _base64(_mapping(signatures[0]).get("sig"), "the signature", where)
    certificates = _certificates(document, where)
    signed = Signed(pae(PAYLOAD_TYPE, payload), signature, certificates, document)
    signer = signer_of(signed, kind, roots, at)
    # 4.
    problem = signer.problem
    annotations = said.subjects.get(digest)
    if annotations is None:
        problem = problem or f"it speaks of {next(iter(said.subjects))}, not of what it is filed under"
    issued = signer.at or _time(_mapping(annotations).get(ISSUED_AT)) or _when(said)
    return Evidence(
        digest,
        kind,
        said.predicate_type,
        _plain(said) if wanted is None else said.predicate,
        issued,
        signer.name,
        not problem,
        bytes_digest(data),
        problem,
    )


def read_statement(payload: bytes, where: str) -> Said:
    """An in-toto Statement of version 0.1 or 1. Raises EvidenceError when it is not one with sha256 subjects."""
    document = strict_json.parse(payload, where)
    if not isinstance(document, dict) or document.get("_type") not in _STATEMENTS:
        raise EvidenceError("the payload is not an in-toto Statement", where=where)
    subjects, kind = document.get("subject"), document.get("predicateType")
    predicate = document.get("predicate", {})
    if not isinstance(subjects, list) or not 0 < len(subjects) <= _MAX_SUBJECTS or not isinstance(kind, str):
        raise EvidenceError("the statement has no subject or no predicate type", where=where)
    found: dict[str, Mapping[str, Any]] = {}
    for item in subjects:
        value = _mapping(_mapping(item).get("digest")).get("sha256")
        digest = f"sha256:{value}"
        if is_digest(digest):
            found[digest] = _mapping(_mapping(item).get("annotations"))
    if not found:
        raise EvidenceError("no subject of the statement has a sha256 digest", where=where)
    return Said(found, kind, _mapping(predicate), 1 if document["_type"] == _STATEMENTS[0] else 0.1)


def _plain(said: Said) -> Mapping[str, Any]:
    """The predicate in the form that rules know: CycloneDX for SPDX, SLSA v1 for v0.2, a scan for vulnerabilities."""
    if said.predicate_type == VULNERABILITIES:
        return vulnerability_scan(said.predicate)
    if said.predicate_type == "https://slsa.dev/provenance/v0.2":
        return as_v1(said.predicate)
    if said.predicate_type.startswith("https://spdx.dev/Document"):
        packages = said.predicate.get("packages")
        return {
            "bomFormat": "SPDX",
            "specVersion": said.predicate.get("spdxVersion"),
            "components": [_component(_mapping(item)) for item in packages] if isinstance(packages, list) else [],
        }
    return said.predicate


def _component(package: Mapping[str, Any]) -> dict[str, Any]:
    licence = package.get("licenseConcluded")
    known = isinstance(licence, str) and licence not in ("NOASSERTION", "NONE")
    listed = package.get("externalRefs")
    references = [_mapping(item) for item in listed] if isinstance(listed, list) else []
    purls = [item.get("referenceLocator") for item in references if item.get("referenceType") == "purl"]
    named = {"name": package.get("name"), "version": package.get("versionInfo"), "purl": next(iter(purls), None)}
    return {
        "type": "library",
        "licenses": [{"license": {"id": licence}}] if known else [],
        **{key: value for key, value in named.items() if isinstance(value, str)},
    }


def vulnerability_scan(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The vulnerability predicate of cosign as a scan: the reports of Trivy and Grype, as JSON, are understood.

    `suspicious` when something HIGH or CRITICAL has a fix that was not taken; `unscannable` for a report that is not
    understood: a scan that nobody can read is none.
    """
    scanner = _mapping(predicate.get("scanner"))
    rows = _report(_mapping(scanner.get("result")))
    name = {"name": str(scanner.get("uri", ""))[:200], "version": str(scanner.get("version", ""))[:100]}
    if rows is None:
        return {"scanner": name, "verdict": "unscannable", "findings": []}
    bad = [identifier for identifier, severity, fixed in rows if severity.upper() in ("HIGH", "CRITICAL") and fixed]
    findings = [{"rule": identifier[:100]} for identifier in sorted(set(bad))[:1000]]
    return {"scanner": name, "verdict": "suspicious" if bad else "clean", "findings": findings}


def _report(result: Mapping[str, Any]) -> list[tuple[str, str, bool]] | None:
    """(identifier, severity, has a fix) of every vulnerability; None for a report of another shape."""
    results, matches = result.get("Results"), result.get("matches")
    rows: list[tuple[str, str, bool]] = []
    if isinstance(results, list) and "SchemaVersion" in result:  # Trivy
        for part in results:
            for item in _mapping(part).get("Vulnerabilities") or ():
                found = _mapping(item)
                rows.append(
                    (str(found.get("VulnerabilityID")), str(found.get("Severity")), bool(found.get("FixedVersion")))
                )
        return rows
    if isinstance(matches, list) and "descriptor" in result:  # Grype
        for item in matches:
            found = _mapping(_mapping(item).get("vulnerability"))
            fixed = bool(_mapping(found.get("fix")).get("versions"))
            rows.append((str(found.get("id")), str(found.get("severity")), fixed))
        return rows
    return None


def _material(annotations: Mapping[str, str], where: str) -> dict[str, Any]:
    """What the annotations of an old-style layer bring along, as a bundle's head.

    A log entry of that time has a promise (SET) and no proof, and a chain was kept: bundle v0.1, which allows both.
    """
    material: dict[str, Any] = {}
    pem = annotations.get("dev.sigstore.cosign/certificate", "")
    if pem:
        chain = [*_pem(pem, where)[:1], *_pem(annotations.get("dev.sigstore.cosign/chain", ""), where, roots=False)]
        material["x509CertificateChain"] = {"certificates": [{"rawBytes": _encode(der)} for der in chain]}
    else:
        material["publicKey"] = {"hint": ""}
    entry = annotations.get("dev.sigstore.cosign/bundle")
    if entry:
        material["tlogEntries"] = [_log_entry(strict_json.parse(entry.encode(), where), where)]
    stamp = annotations.get("dev.sigstore.cosign/rfc3161timestamp")
    if stamp:
        read = _mapping(strict_json.parse(stamp.encode(), where))
        token = _base64(read.get("SignedRFC3161Timestamp"), "the timestamp", where)
        material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": _encode(token)}]}
    media_type = f"{_BUNDLE_PREFIX}+json;version=0.1" if entry or pem else BUNDLE_TYPE
    return {"mediaType": media_type, "verificationMaterial": material}


def _log_entry(value: Any, where: str) -> dict[str, Any]:
    found, payload = _mapping(value), _mapping(_mapping(value).get("Payload"))
    body = payload.get("body")
    kind = _mapping(strict_json.parse(_base64(body, "the log entry", where), where))
    try:
        log = bytes.fromhex(str(payload.get("logID")))
        numbers = {"logIndex": str(int(payload["logIndex"])), "integratedTime": str(int(payload["integratedTime"]))}
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceError("the log entry is malformed", where=where) from error
    promise = _base64(found.get("SignedEntryTimestamp"), "the log's promise", where)
    return {
        **numbers,
        "logId": {"keyId": _encode(log)},
        "kindVersion": {"kind": str(kind.get("kind")), "version": str(kind.get("apiVersion"))},
        "inclusionPromise": {"signedEntryTimestamp": _encode(promise)},
        "canonicalizedBody": body,
    }


def _pem(text: str, where: str, *, roots: bool = True) -> list[bytes]:
    """The certificates of a text; without `roots` those of authorities that vouch for themselves are left out."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    if not text.strip():
        return []
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise EvidenceError("a certificate cannot be read", where=where) from error
    if len(found) > 10:
        raise EvidenceError("the certificate chain is too long", where=where)
    return [item.public_bytes(Encoding.DER) for item in found if roots or item.issuer != item.subject]


def _certificates(bundle: Mapping[str, Any], where: str) -> tuple[bytes, ...]:
    material = _mapping(bundle.get("verificationMaterial"))
    chain = _mapping(material.get("x509CertificateChain")).get("certificates")
    listed = chain if isinstance(chain, list) else [material["certificate"]] if "certificate" in material else []
    if len(listed) > 10:
        raise EvidenceError("the certificate chain is too long", where=where)
    return tuple(_base64(_mapping(item).get("rawBytes"), "a certificate", where) for item in listed)


def _when(said: Said) -> datetime | None:
    for path in _WHEN.get(said.predicate_type, ()):
        value: Any = said.predicate
        for key in path:
            value = _mapping(value).get(key)
        found = _time(value)
        if found is not None:
            return found
    return None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return from_rfc3339(value)
    except ValueError:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _base64(value: Any, what: str, where: str) -> bytes:
    try:
        if isinstance(value, str) and value:
            return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise EvidenceError(f"{what} is not base64", where=where) from error
    raise EvidenceError(f"{what} is missing", where=where)
