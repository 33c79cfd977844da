"""Images signed by the real cosign are verified here, and what is signed here is verified by it; both ways refuse."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from customhouse.cli.program import root
from oci_registry import Registry

pytestmark = [pytest.mark.part("docker-registry"), pytest.mark.part("cosign")]
REPOSITORY = "team/app"
BOM = {"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"timestamp": "2026-01-02T03:04:05Z"}}


class Cosign:
    """The program with a home of its own, and nothing to fetch: no services, an empty trusted root."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.folder, self._program = folder, program
        self._environment = {**os.environ, "HOME": str(folder), "COSIGN_PASSWORD": "x"}
        self.must("signing-config", "create", "--out", "sc.json")
        self.must("trusted-root", "create", "--out", "tr.json")
        self.must("generate-key-pair")
        (folder / "bom.json").write_text(json.dumps(BOM))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self._program), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )

    def must(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def signs(self, reference: str, *more: str, verb: str = "sign", old: bool = False, key: str = "cosign.key") -> None:
        how = ["--signing-config", "sc.json", "--trusted-root", "tr.json"]
        if old:
            how = ["--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false"]
        self.must(verb, "--yes", "--key", key, *how, *more, reference)

    def verifies(self, reference: str, key: str, *more: str, verb: str = "verify") -> bool:
        return self.run(verb, "--key", key, "--insecure-ignore-tlog=true", *more, reference).returncode == 0


@pytest.fixture(scope="module")
def registry(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = Registry(find_part("docker-registry"), tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def cosign(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Cosign:
    return Cosign(find_part("cosign"), tmp_path_factory.mktemp("cosign"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `our.pem` and `our.pub`."""
    folder = tmp_path_factory.mktemp("keys")
    write_pair(folder, "our", ec.generate_private_key(ec.SECP256R1()))
    return folder


def write_pair(folder: Path, name: str, key: ec.EllipticCurvePrivateKey) -> None:
    place = folder / f"{name}.pem"
    place.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    place.chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)


def cli(*arguments: str) -> Result:
    from customhouse.core.errors import CustomhouseError

    result = CliRunner().invoke(root, [*arguments], env={"DOCKER_CONFIG": "/nowhere"})
    if isinstance(result.exception, CustomhouseError):
        result.exit_code = result.exception.exit_status
    return result


def verified(reference: str, *more: str) -> dict[str, Any]:
    result = cli("image", "verify", reference, "-o", "json", *more)
    assert result.exit_code in (0, 5), result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["verified"] is (result.exit_code == 0)
    return found


def kinds(found: dict[str, Any]) -> list[str]:
    return sorted(item["kind"] for item in found["evidence"] if item["verified"])


def test_what_cosign_signs_and_attests_is_verified_in_both_of_its_forms(registry: Registry, cosign: Cosign) -> None:
    digest = registry.image(REPOSITORY, "theirs", b"theirs")
    reference = f"{registry.host}/{REPOSITORY}@{digest}"
    key = str(cosign.folder / "cosign.pub")
    for old in (False, True):
        cosign.signs(reference, old=old)
        cosign.signs(reference, "--type", "cyclonedx", "--predicate", "bom.json", verb="attest", old=old)
    found = verified(reference, "--key", key, "--require", "signature", "--require", "bom")
    assert kinds(found) == ["bom", "bom", "signature", "signature"]
    assert {item["issued_at"] for item in found["evidence"] if item["kind"] == "bom"} == {"2026-01-02T03:04:05Z"}
    # The tag is resolved to the same digest, and the same is found.
    assert verified(f"{registry.host}/{REPOSITORY}:theirs", "--key", key)["digest"] == digest


def test_another_key_and_another_image_are_refused(registry: Registry, cosign: Cosign, ours: Path) -> None:
    digest = registry.image(REPOSITORY, "one", b"one")
    other = registry.image(REPOSITORY, "other", b"other")
    cosign.signs(f"{registry.host}/{REPOSITORY}@{digest}")
    cosign.signs(f"{registry.host}/{REPOSITORY}@{digest}", old=True)
    found = verified(f"{registry.host}/{REPOSITORY}@{digest}", "--key", str(ours / "our.pub"))
    assert kinds(found) == []
    assert found["missing"] == ["signature"]
    assert {item["problem"] for item in found["evidence"]} == {"signed by an unknown key, or changed after signing"}
    # A thief files the signatures of one image under another: by tag, and as a referrer.
    layers = json.loads(registry.get(f"/v2/{REPOSITORY}/manifests/{digest.replace(':', '-')}.sig"))["layers"]
    registry.manifest(REPOSITORY, f"{other.replace(':', '-')}.sig", layers)
    index = json.loads(registry.get(f"/v2/{REPOSITORY}/manifests/{digest.replace(':', '-')}"))
    stolen = json.loads(registry.get(f"/v2/{REPOSITORY}/manifests/{index['manifests'][0]['digest']}"))
    stolen["subject"] = {**stolen["subject"], "digest": other}
    moved = registry.document(REPOSITORY, "moved", stolen, stolen["mediaType"])
    entry = {**index["manifests"][0], "digest": moved}
    registry.document(
        REPOSITORY, other.replace(":", "-"), {**index, "manifests": [entry, *index["manifests"]]}, index["mediaType"]
    )
    found = verified(f"{registry.host}/{REPOSITORY}@{other}", "--key", str(cosign.folder / "cosign.pub"))
    assert len(found["evidence"]) == 2
    assert kinds(found) == []
    assert all(digest in item["problem"] for item in found["evidence"])


def test_what_is_signed_here_is_verified_by_cosign_in_both_of_its_forms(
    registry: Registry, cosign: Cosign, ours: Path, tmp_path: Path
) -> None:
    digest = registry.image(REPOSITORY, "ours", b"ours")
    reference = f"{registry.host}/{REPOSITORY}@{digest}"
    key = str(ours / "our.pem")
    signed = cli("image", "sign", f"{registry.host}/{REPOSITORY}:ours", "--key", key)
    assert signed.stdout.strip() == reference, signed.output
    (tmp_path / "bom.json").write_text(json.dumps(BOM))
    attested = cli(
        "image", "attest", reference, "--key", key, "--kind", "bom", "--predicate", str(tmp_path / "bom.json")
    )
    assert attested.exit_code == 0, attested.output
    public = str(ours / "our.pub")
    for form in ("true", "false"):
        assert cosign.verifies(reference, public, f"--new-bundle-format={form}")
    assert cosign.verifies(reference, public, "--type", "cyclonedx", verb="verify-attestation")
    found = verified(reference, "--key", public, "--require", "signature", "--require", "bom")
    assert kinds(found) == ["bom", "signature", "signature"]
    assert all(item["issued_at"] for item in found["evidence"])
    # And not by another key, nor is another image signed by it.
    for form in ("true", "false"):
        assert not cosign.verifies(reference, "cosign.pub", f"--new-bundle-format={form}")
    # Both may sign the same image: neither takes away what the other wrote.
    cosign.signs(reference, old=True)
    assert cosign.verifies(reference, public, "--new-bundle-format=false")
    assert cosign.verifies(reference, "cosign.pub", "--new-bundle-format=false")


def test_artifact_sign_and_verify_take_images_too(registry: Registry, cosign: Cosign, ours: Path) -> None:
    digest = registry.image(REPOSITORY, "artifact", b"artifact")
    reference = f"oci://{registry.host}/{REPOSITORY}:artifact"
    key, public = str(ours / "our.pem"), str(ours / "our.pub")
    assert cli("artifact", "verify", reference, "--key", public).exit_code == 5
    assert cli("artifact", "sign", reference, "--key", key).exit_code == 0
    assert cosign.verifies(f"{registry.host}/{REPOSITORY}@{digest}", public)
    assert cli("artifact", "verify", reference, "--key", public).exit_code == 0
    assert cli("artifact", "verify", reference, "--key", str(cosign.folder / "cosign.pub")).exit_code == 5


def test_an_image_for_several_platforms_is_signed_as_a_whole(registry: Registry, cosign: Cosign) -> None:
    arm = registry.image(REPOSITORY, "arm", b"arm")
    amd = registry.image(REPOSITORY, "amd", b"amd")
    whole = registry.index(REPOSITORY, "multi", {"linux/amd64": amd, "linux/arm64": arm})
    cosign.signs(f"{registry.host}/{REPOSITORY}@{whole}")
    key = str(cosign.folder / "cosign.pub")
    reference = f"{registry.host}/{REPOSITORY}:multi"
    found = verified(reference, "--key", key)
    assert found["digest"] == whole
    assert found["platforms"] == {"linux/amd64": amd, "linux/arm64": arm}
    picked = verified(reference, "--key", key, "--platform", "linux/arm64")
    assert (picked["digest"], picked["index"]) == (arm, whole)
    # The image by itself was never signed: only by way of the index that names it.
    assert kinds(verified(f"{registry.host}/{REPOSITORY}@{arm}", "--key", key)) == []
    missing = cli("image", "verify", reference, "--key", key, "--platform", "linux/s390x")
    assert missing.exit_code == 3
    assert "linux/amd64" in str(missing.exception)


def test_a_certificate_of_an_own_authority_is_believed_by_its_identity(
    registry: Registry, cosign: Cosign, ours: Path
) -> None:
    now = datetime.now(UTC)
    authority_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certificate("Acme CA", authority_key, "Acme CA", authority_key, now, ca=True)
    leaf = certificate("builder", leaf_key, "Acme CA", authority_key, now, san="builder@acme.example")
    folder = cosign.folder
    write_pair(folder, "leaf", leaf_key)
    cosign.must("import-key-pair", "--key", "leaf.pem", "--output-key-prefix", "imported", "-y")
    (folder / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    (folder / "leaf.crt").write_bytes(leaf.public_bytes(Encoding.PEM))
    digest = registry.image(REPOSITORY, "certified", b"certified")
    reference = f"{registry.host}/{REPOSITORY}@{digest}"
    how = ("--certificate", "leaf.crt", "--certificate-chain", "ca.pem")
    cosign.signs(reference, *how, old=True, key="imported.key")
    known = ("--authority", str(folder / "ca.pem"))
    found = verified(reference, *known, "--identity", "builder@acme.example")
    assert kinds(found) == ["signature"]
    assert found["evidence"][0]["signer"] == "builder@acme.example"
    found = verified(reference, *known, "--identity", "mallory@acme.example")
    assert kinds(found) == []
    assert "builder@acme.example" in found["evidence"][0]["problem"]
    other = certificate("Acme CA", leaf_key, "Acme CA", leaf_key, now, ca=True)
    (folder / "other.pem").write_bytes(other.public_bytes(Encoding.PEM))
    found = verified(reference, "--authority", str(folder / "other.pem"), "--identity", "builder@acme.example")
    assert kinds(found) == []
    assert "no trusted authority issued" in found["evidence"][0]["problem"]


def test_a_key_that_cosign_made_signs_here_too(
    registry: Registry, cosign: Cosign, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = registry.image(REPOSITORY, "their-key", b"their key")
    reference = f"{registry.host}/{REPOSITORY}@{digest}"
    key = str(cosign.folder / "cosign.key")
    monkeypatch.setenv("COSIGN_PASSWORD", "another")
    refused = cli("image", "sign", reference, "--key", key)
    assert refused.exit_code == 3
    assert "another password" in str(refused.exception)
    monkeypatch.setenv("COSIGN_PASSWORD", "x")
    assert cli("image", "sign", reference, "--key", key).exit_code == 0
    for form in ("true", "false"):
        assert cosign.verifies(reference, "cosign.pub", f"--new-bundle-format={form}")


def test_a_tag_that_moved_is_caught(registry: Registry) -> None:
    pinned = registry.image(REPOSITORY, "stable", b"first")
    reference = f"{registry.host}/{REPOSITORY}:stable@{pinned}"
    assert cli("image", "resolve", reference).stdout.strip() == f"{registry.host}/{REPOSITORY}@{pinned}"
    moved = registry.image(REPOSITORY, "stable", b"second")
    result = cli("image", "resolve", reference)
    assert result.exit_code == 5
    assert moved in str(result.exception)


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    *,
    ca: bool = False,
    san: str = "",
) -> x509.Certificate:
    called = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer)]
    builder = (
        x509.CertificateBuilder(called[1], called[0], key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), critical=True)
    )
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(san)]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
