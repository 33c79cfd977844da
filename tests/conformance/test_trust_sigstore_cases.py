"""The Sigstore project's conformance cases for verification, through the use case that `artifact verify` calls.

One folder is one case; those that end in `_fail` must be refused (exit 5), all others verified (exit 0).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from customhouse.app.artifact_verify import Request, verify
from customhouse.core.errors import TamperError

IDENTITY = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/"
    ".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"


@pytest.fixture
def suite(shared_data: Path) -> Path:
    return shared_data / "transparency" / "sigstore-conformance"


def request_of(suite: Path, case: Path) -> Request:
    def said(name: str, default: str) -> str:
        return (case / name).read_text().strip() if (case / name).exists() else default

    own, root = case / "artifact", case / "trusted_root.json"
    key = case / "key.pub"
    return Request(
        artifact=str(own if own.exists() else case.parent / "a.txt"),
        bundle=str(case / "bundle.sigstore.json"),
        key=str(key) if key.exists() else None,
        identity=None if key.exists() else said("identity", IDENTITY),
        issuer=None if key.exists() else said("issuer", ISSUER),
        trusted_root=str(root if root.exists() else suite / "trusted_root_public_good.json"),
    )


def outcome(asked: Request) -> str:
    try:
        assert verify(asked)["verified"]
    except TamperError as error:
        return error.message
    return "verified"


def test_every_case_is_decided_as_the_suite_says(suite: Path) -> None:
    cases = sorted(path for path in (suite / "bundle-verify").iterdir() if path.is_dir())
    assert len(cases) >= 44
    said = {case.name: outcome(request_of(suite, case)) for case in cases}
    accepted = {name for name, text in said.items() if text == "verified"}
    assert accepted == {name for name in said if not name.endswith("_fail")}


def test_refusals_say_what_failed(suite: Path) -> None:
    cases = suite / "bundle-verify"
    for name, words in {
        "set-invalid-signature_fail": "signed entry timestamp",
        "invalid-checkpoint-signature_fail": "checkpoint's signature",
        "checkpoint-wrong-roothash_fail": "another tree",
        "inclusion-proof-corrupted-hash_fail": "inclusion proof",
        "intoto-expired-certificate_fail": "not valid at 2023-02-01",
        "invalid-ct-key_fail": "SCT",
        "bundle-from-wrong-instance_fail": "not in the trusted root",
        "dsse-mismatch-sig_fail": "another signature",
        "wrong-hashedrekord-entry_fail": "another artifact",
        "trust-root-tlog-missing-validity-start_fail": "validity has no beginning",
        "message-digest-mismatch_fail": "messageDigest",
        "bundle-with-root-cert_fail": "root certificate",
    }.items():
        assert words in outcome(request_of(suite, cases / name)), name


def test_another_identity_or_issuer_is_refused(suite: Path) -> None:
    for name in ("happy-path-v0.1", "happy-path-v0.3", "happy-path-intoto-in-dsse-v3"):
        asked = request_of(suite, suite / "bundle-verify" / name)
        for identity, issuer in ((IDENTITY[:-1], ISSUER), (IDENTITY.upper(), ISSUER), (IDENTITY, ISSUER + "/")):
            changed = Request(asked.artifact, asked.bundle, None, identity, None, issuer, None, asked.trusted_root)
            assert "was expected" in outcome(changed)


def test_a_pattern_must_match_the_whole_identity(suite: Path) -> None:
    asked = request_of(suite, suite / "bundle-verify" / "happy-path-v0.3")
    for pattern, good in ((r"https://github\.com/sigstore-conformance/.*@refs/heads/main", True), (r"sigstore", False)):
        changed = Request(asked.artifact, asked.bundle, None, None, pattern, ISSUER, None, asked.trusted_root)
        assert (outcome(changed) == "verified") is good


def test_of_several_bundles_and_roots_in_one_file_one_must_hold(suite: Path, tmp_path: Path) -> None:
    """As `gh attestation download` and `gh attestation trusted-root` write them: a document a line."""
    cases = suite / "bundle-verify"
    good = request_of(suite, cases / "happy-path-v0.3")
    other = request_of(suite, cases / "bundle-with-sct-with-extensions")

    def lines(*files: str | None) -> str:
        written = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        written.write_text("\n".join(json.dumps(json.loads(Path(str(file)).read_text())) for file in files))
        return str(written)

    bundles = lines(cases / "dsse-mismatch-sig_fail" / "bundle.sigstore.json", good.bundle)
    roots = lines(other.trusted_root, good.trusted_root)
    assert outcome(replace(good, bundle=bundles, trusted_root=roots)) == "verified"
    assert "(and 1 more were refused)" in outcome(replace(good, bundle=bundles, trusted_root=other.trusted_root))
    assert "(and 1 more were refused)" in outcome(replace(good, artifact=__file__, trusted_root=roots))
    many = lines(*[good.bundle] * 150)
    assert "more than 200" in outcome(replace(good, bundle=many, trusted_root=roots))


def test_a_digest_stands_for_the_artifact(suite: Path) -> None:
    import hashlib

    cases = suite / "bundle-verify"
    digest = "sha256:" + hashlib.sha256((cases / "a.txt").read_bytes()).hexdigest()
    for name in ("happy-path-v0.3", "happy-path-intoto-in-dsse-v3", "trust-root-tsa-validity-end-inclusive"):
        asked = request_of(suite, cases / name)
        by_digest = Request(digest, asked.bundle, None, IDENTITY, None, ISSUER, None, asked.trusted_root)
        assert outcome(by_digest) == "verified"
        assert verify(asked)["digest"] == digest
        other = Request("sha256:" + "0" * 64, asked.bundle, None, IDENTITY, None, ISSUER, None, asked.trusted_root)
        assert outcome(other) != "verified"
