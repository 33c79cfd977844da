"""Both ways with the real cosign: it takes what we sign, we take what it signs, and it takes our in-memory Sigstore."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from customhouse.app.artifact_sign import sign
from customhouse.app.artifact_verify import Request, verify
from customhouse.app.model_signing import By
from customhouse.core.errors import TamperError
from customhouse.trust.keys import Algorithm, generate_pair
from sigstore_world import ARTIFACT, IDENTITY, ISSUER, NOW, V02, World

pytestmark = pytest.mark.part("cosign")
Cosign = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cosign(find_part: Callable[[str], Path], tmp_path: Path) -> Cosign:
    program = find_part("cosign")

    def run(*arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        # A home of its own, and no network: TUF would be asked for the public instance's root.
        environment = {"HOME": str(tmp_path), "COSIGN_PASSWORD": "", "HTTPS_PROXY": "http://127.0.0.1:9"}
        done = subprocess.run(
            [str(program), *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode != 0) is fails, done.stderr
        return done

    return run


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    (tmp_path / "blob").write_bytes(ARTIFACT)
    return tmp_path / "blob"


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256, Algorithm.ED25519])
def test_cosign_takes_what_is_signed_here(algorithm: Algorithm, cosign: Cosign, blob: Path, tmp_path: Path) -> None:
    generate_pair(tmp_path, "own", algorithm)
    done = sign(str(blob), By(str(tmp_path / "own.key")), None)
    arguments = ("verify-blob", "--key", "own.pub", "--bundle", done["bundle"], "--insecure-ignore-tlog=true", "blob")
    cosign(*arguments)
    assert verify(Request(str(blob), key=str(tmp_path / "own.pub")))["verified"]
    blob.write_bytes(b"other")
    cosign(*arguments, fails=True)


def test_what_cosign_signs_and_attests_is_taken_here(cosign: Cosign, blob: Path, tmp_path: Path) -> None:
    cosign("generate-key-pair")
    cosign("signing-config", "create", "--out", "services.json")
    common = ("--yes", "--key", "cosign.key", "--signing-config", "services.json", "--bundle")
    cosign("sign-blob", *common, "signed.json", "blob")
    (tmp_path / "predicate.json").write_text('{"passed": true}')
    cosign("attest-blob", *common, "stated.json", "--predicate", "predicate.json", "--type", "custom", "blob")
    key = str(tmp_path / "cosign.pub")
    said = {
        name: verify(Request(str(blob), str(tmp_path / name), key))["predicate_type"]
        for name in ("signed.json", "stated.json")
    }
    assert said == {"signed.json": None, "stated.json": "https://cosign.sigstore.dev/attestation/v1"}
    blob.write_bytes(b"other")
    for name in said:
        with pytest.raises(TamperError):
            verify(Request(str(blob), str(tmp_path / name), key))


def test_cosign_takes_the_bundles_that_other_tests_make(cosign: Cosign, blob: Path, tmp_path: Path) -> None:
    world = World()
    (tmp_path / "root.json").write_text(json.dumps(world.root()))
    who = ("--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER, "--trusted-root", "root.json")
    for options, stamped in (
        ({}, False),
        ({"version": V02, "stamps": [NOW]}, True),
        ({"kind": "hashedrekord 0.0.2"}, True),
    ):
        (tmp_path / "bundle.json").write_text(json.dumps(world.bundle(**options)))
        flags = ("--use-signed-timestamps",) if stamped else ()
        cosign("verify-blob", "--bundle", "bundle.json", *who, *flags, "blob")
        asked = Request(
            str(blob),
            str(tmp_path / "bundle.json"),
            identity=IDENTITY,
            issuer=ISSUER,
            trusted_root=str(tmp_path / "root.json"),
        )
        assert verify(asked)["verified"]
