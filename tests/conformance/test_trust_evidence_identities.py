"""Keyless evidence as the gate reads it: the given Sigstore cases, filed as a registry or a commit would have them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from customhouse._kit.digest import FileEntry, Tree, tree
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.cosign import SIMPLE_SUFFIX, wrapped_signature
from customhouse.trust.filed import read_filed
from customhouse.trust.keys import ALL_KINDS
from customhouse.trust.roots import IdentityRoot, Roots
from customhouse.trust.signers import Signed, signer_of

IDENTITY = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/"
    "extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
def suite(shared_data: Path) -> Path:
    return shared_data / "transparency" / "sigstore-conformance"


def root(suite: Path, case: Path | None = None, **more: Any) -> Roots:
    own = None if case is None else case / "trusted_root.json"
    given = own if own is not None and own.exists() else suite / "trusted_root_public_good.json"
    fields: dict[str, Any] = {"identity": IDENTITY, "issuer": ISSUER, "kinds": ALL_KINDS, **more}
    return Roots(sigstore=(IdentityRoot("builder", given.read_bytes(), **fields),))


def test_every_given_envelope_is_believed_or_refused_as_it_should_be(suite: Path) -> None:
    wrong, seen = [], 0
    for case in sorted((suite / "bundle-verify").iterdir()):
        data = (case / "bundle.sigstore.json").read_bytes() if case.is_dir() else b""
        if b'"dsseEnvelope"' not in data:
            continue
        seen += 1
        statement = json.loads(base64.b64decode(json.loads(data)["dsseEnvelope"]["payload"]))
        digest = f"sha256:{statement['subject'][0]['digest']['sha256']}"
        (found,) = read_filed({"oci-0.sigstore.json": data}, digest, root(suite, case), NOW)
        assert found.kind is EvidenceKind.PROVENANCE
        if found.verified is case.name.endswith("_fail"):
            wrong.append(f"{case.name}: {found.verified} {found.problem}")
    assert seen == 10
    assert wrong == []


def test_another_identity_issuer_subject_or_kind_is_refused(suite: Path) -> None:
    data = (suite / "bundle-verify/happy-path-intoto-in-dsse-v3/bundle.sigstore.json").read_bytes()
    statement = json.loads(base64.b64decode(json.loads(data)["dsseEnvelope"]["payload"]))
    digest = f"sha256:{statement['subject'][0]['digest']['sha256']}"

    def problem(roots: Roots, about: str = digest) -> str:
        (found,) = read_filed({"oci-0.sigstore.json": data}, about, roots, NOW)
        assert found.verified is (found.problem == "")
        return found.problem

    assert problem(root(suite)) == ""
    assert "was expected" in problem(root(suite, identity=IDENTITY + "2"))
    assert "was expected" in problem(root(suite, issuer="https://accounts.example"))
    assert "may not sign provenance" in problem(root(suite, kinds=frozenset({EvidenceKind.SCAN})))
    assert "it speaks of" in problem(root(suite), "sha256:" + "0" * 64)
    assert "no certificate authority is trusted" in problem(Roots())


def test_a_keyless_signature_of_the_older_form_is_put_into_a_bundle_that_verifies(suite: Path) -> None:
    """The annotations of a `.sig` layer: certificate, chain, and the log's promise in Rekor's own words."""
    folder = suite / "bundle-verify"
    bundle = json.loads((folder / "happy-path-v0.1/bundle.sigstore.json").read_text())
    payload = (folder / "a.txt").read_bytes()
    annotations = older(bundle)
    wrapped = json.loads(wrapped_signature(payload, annotations, "here"))
    assert base64.b64decode(wrapped["payload"]) == payload

    def said(document: dict[str, Any], roots: Roots) -> str:
        made = document["verificationMaterial"]["x509CertificateChain"]["certificates"]
        certificates = tuple(base64.b64decode(item["rawBytes"]) for item in made)
        signature = base64.b64decode(document["messageSignature"]["signature"])
        signed = Signed(payload, signature, certificates, document, payload)
        return signer_of(signed, EvidenceKind.SIGNATURE, roots, NOW).problem

    assert said(wrapped["bundle"], root(suite)) == ""
    assert "was expected" in said(wrapped["bundle"], root(suite, identity="mallory"))
    wrapped["bundle"]["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1700000000"
    assert said(wrapped["bundle"], root(suite)) != ""
    # What it signs is no claim about an image, so it is nothing at all as evidence about one.
    files = {f"oci-0{SIMPLE_SUFFIX}": wrapped_signature(payload, annotations, "here")}
    assert read_filed(files, "sha256:" + "0" * 64, root(suite), NOW) == ()


def older(bundle: Mapping[str, Any]) -> dict[str, str]:
    material = bundle["verificationMaterial"]
    entry = material["tlogEntries"][0]
    pem = [
        x509.load_der_x509_certificate(base64.b64decode(item["rawBytes"])).public_bytes(Encoding.PEM).decode()
        for item in material["x509CertificateChain"]["certificates"]
    ]
    log = {
        "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": entry["canonicalizedBody"],
            "integratedTime": int(entry["integratedTime"]),
            "logIndex": int(entry["logIndex"]),
            "logID": base64.b64decode(entry["logId"]["keyId"]).hex(),
        },
    }
    return {
        "dev.cosignproject.cosign/signature": bundle["messageSignature"]["signature"],
        "dev.sigstore.cosign/certificate": pem[0],
        "dev.sigstore.cosign/chain": "".join(pem[1:]),
        "dev.sigstore.cosign/bundle": json.dumps(log),
    }


@pytest.mark.parametrize("version", ["v1.0.0", "v1.0.1"])
def test_a_model_signed_without_a_key_is_believed_by_its_identity(suite: Path, version: str) -> None:
    folder = suite.parent / "model-signing" / f"{version}-sigstore"
    data = (folder / "model.sig").read_bytes()
    files = tree(folder)
    left_out = ("model.sig", "ignore-me")
    files = Tree(tuple(entry for entry in files.files if not entry.path.startswith(left_out)))
    signer = {"identity": "stefanb@us.ibm.com", "issuer": "https://sigstore.verify.ibm.com/oauth2"}
    name = f".evidence/{files.digest[7:]}/signature.sigstore.json"
    (found,) = read_filed({name: data}, files.digest, root(suite, **signer), NOW, files)
    assert (found.verified, found.signer, found.problem) == (True, "builder", "")
    more = Tree((*files.files, FileEntry("extra.py", files.files[0].digest, 1)))
    (found,) = read_filed({name: data}, files.digest, root(suite, **signer), NOW, more)
    assert not found.verified
    (found,) = read_filed({name: data}, files.digest, root(suite), NOW, files)
    assert not found.verified
    # Without the files nothing binds it to the digest that is pinned: other tools sign a digest of their own.
    (found,) = read_filed({name: data}, files.digest, root(suite, **signer), NOW)
    assert "does not say which model" in found.problem
