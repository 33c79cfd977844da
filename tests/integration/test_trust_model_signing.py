"""Both ways with the reference implementation of OpenSSF Model Signing, in an environment of its own.

It is started once, for a list of tasks: its start costs more than all of them.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from customhouse.app.artifact_verify import Request as Whose
from customhouse.app.model_signing import By, sign
from customhouse.app.model_verify import Request, verify
from sigstore_services import serving, trust_config
from sigstore_world import IDENTITY, ISSUER, World, certificate

pytestmark = pytest.mark.part("model_signing")
WORLD = World()
SCRIPT = """
import json, pathlib, sys
from model_signing import hashing, signing, verifying

done = []
for task in json.load(sys.stdin):
    model, out = pathlib.Path(task["model"]), pathlib.Path(task["signature"])
    config = hashing.Config()
    if task.get("shards"):
        config.use_shard_serialization(hashing_algorithm=task["hash"], shard_size=task["shards"])
    else:
        config.use_file_serialization(hashing_algorithm=task.get("hash", "sha256"))
    try:
        if task["do"] == "sign":
            signer = signing.Config().set_hashing_config(config)
            if "token" in task:
                signer.use_sigstore_signer(
                    identity_token=task["token"], trust_config=pathlib.Path(task["services"])
                )
            elif "certificate" in task:
                signer.use_certificate_signer(
                    private_key=task["key"],
                    signing_certificate=task["certificate"],
                    certificate_chain=[task["authority"]],
                )
            else:
                signer.use_elliptic_key_signer(private_key=task["key"])
            signer.sign(model, out)
        else:
            verifier = verifying.Config()
            if "services" in task:
                verifier.use_sigstore_verifier(
                    identity=task["identity"],
                    oidc_issuer=task["issuer"],
                    trust_config=pathlib.Path(task["services"]),
                )
            elif "authority" in task:
                verifier.use_certificate_verifier(certificate_chain=[task["authority"]])
            else:
                verifier.use_elliptic_key_verifier(public_key=task["key"])
            verifier.verify(model, out)
        done.append("")
    except Exception as error:
        done.append(f"{type(error).__name__}: {error}")
json.dump(done, sys.stdout)
"""
WAYS = {
    "shards-sha256": {"shards": 100_000, "hash": "sha256"},
    "shards-blake3": {"shards": 100_000, "hash": "blake3"},
    "files-blake3": {"hash": "blake3"},
    "files-blake2": {"hash": "blake2"},
}


@dataclass(frozen=True)
class Told:
    """The folder with the model and all signatures, and what the reference said of each task."""

    folder: Path
    said: dict[str, str]

    def ours(self, signature: str, **options: object) -> Request:
        return Request(str(self.folder / "model"), str(self.folder / signature), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def told(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("reference")
    model, changed = folder / "model", folder / "changed"
    for place in (model, changed):
        (place / "sub").mkdir(parents=True)
        (place / "config.json").write_text("{}" if place is model else "{ }")
        (place / "sub" / "weights é.bin").write_bytes(bytes(range(256)) * 1000)
        (place / "empty").touch()
    tasks: dict[str, dict[str, object]] = {}
    for name, curve in (("p256", ec.SECP256R1()), ("p384", ec.SECP384R1())):
        write_key(folder, name, curve)
        sign(str(model), By(str(folder / f"{name}.pem")), None, str(folder / f"{name}-ours.sig"))
        tasks[f"verify {name}"] = {"do": "verify", "signature": f"{name}-ours.sig", "key": f"{name}.pub"}
        tasks[f"sign {name}"] = {"do": "sign", "signature": f"{name}-theirs.sig", "key": f"{name}.pem"}
    certify(folder)
    who = By(str(folder / "p256.pem"), str(folder / "leaf.pem"), (str(folder / "ca.pem"),))
    sign(str(model), who, None, str(folder / "certificate-ours.sig"))
    authority = {"authority": "ca.pem"}
    tasks["verify certificate"] = {"do": "verify", "signature": "certificate-ours.sig", **authority}
    made = {"do": "sign", "signature": "certificate-theirs.sig", "key": "p256.pem", "certificate": "leaf.pem"}
    tasks["sign certificate"] = {**made, **authority}
    for name, way in WAYS.items():
        tasks[f"sign {name}"] = {"do": "sign", "signature": f"{name}.sig", "key": "p256.pem", **way}
    other = {"do": "verify", "model": "changed"}
    tasks["changed model"] = {**other, "signature": "p256-ours.sig", "key": "p256.pub"}
    tasks["another key"] = {"do": "verify", "signature": "p256-ours.sig", "key": "p384.pub"}
    with serving(WORLD) as (address, _):
        (folder / "trust.json").write_text(json.dumps(trust_config(WORLD, address)))
        (folder / "root.json").write_text(json.dumps(WORLD.root()))
        (folder / "token").write_text(token())
        by = By(token=str(folder / "token"), services=str(folder / "trust.json"))
        sign(str(model), by, None, str(folder / "keyless-ours.sig"))
        keyless = {"services": "trust.json", "identity": IDENTITY, "issuer": ISSUER}
        tasks["verify keyless"] = {"do": "verify", "signature": "keyless-ours.sig", **keyless}
        tasks["sign keyless"] = {"do": "sign", "signature": "keyless-theirs.sig", "token": token(), **keyless}
        tasks["another identity"] = {**tasks["verify keyless"], "identity": "https://example.org/other"}
        listed = [{"model": "model", **task} for task in tasks.values()]
        done = subprocess.run(
            [str(find_part("model_signing").resolve().parent / "python"), "-c", SCRIPT],
            input=json.dumps(listed),
            cwd=folder,
            env={"HOME": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
    return Told(folder, dict(zip(tasks, json.loads(done.stdout), strict=True)))


def token() -> str:
    """An OpenID Connect token as the reference wants to read it before it shows it to the authority."""
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": ISSUER, "aud": "sigstore", "sub": IDENTITY, "iat": now, "nbf": now - 1, "exp": now + 600}
    parts = [json.dumps({"alg": "ES256", "typ": "JWT"}).encode(), json.dumps(claims).encode(), b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def write_key(folder: Path, name: str, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    private = folder / f"{name}.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def certify(folder: Path) -> None:
    """A certificate for the key `p256` by an authority of its own."""
    root = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC).replace(microsecond=0)
    life = {"start": now - timedelta(days=1), "end": now + timedelta(days=1)}
    authority = certificate("root", root.public_key(), "root", root, authority=True, **life)
    public = load_pem_public_key((folder / "p256.pub").read_bytes())
    leaf = certificate("signer", public, "root", root, purposes=[ExtendedKeyUsageOID.CODE_SIGNING], **life)
    for name, item in (("ca.pem", authority), ("leaf.pem", leaf)):
        (folder / name).write_bytes(item.public_bytes(Encoding.PEM))


def test_the_reference_takes_what_is_signed_here_and_refuses_what_is_not_it(told: Told) -> None:
    for task in ("verify p256", "verify p384", "verify certificate", "verify keyless"):
        assert told.said[task] == ""
    assert "config.json" in told.said["changed model"]
    assert told.said["another key"]
    assert told.said["another identity"]


def test_what_the_reference_signs_is_taken_here(told: Told) -> None:
    for name in ("p256", "p384"):
        assert told.said[f"sign {name}"] == ""
        assert verify(told.ours(f"{name}-theirs.sig", key=str(told.folder / f"{name}.pub"))).problems() == ()
    for signature in ("certificate-theirs.sig", "certificate-ours.sig"):
        check = verify(told.ours(signature, authorities=(str(told.folder / "ca.pem"),)))
        assert check.problems() == ()
        assert check.signer == "CN=signer,O=example"


def test_keyless_signatures_of_the_reference_are_taken_here(told: Told) -> None:
    assert told.said["sign keyless"] == "", told.said["sign keyless"]
    for signature in ("keyless-theirs.sig", "keyless-ours.sig"):
        root = str(told.folder / "root.json")
        whose = Whose("", "", identity=IDENTITY, issuer=ISSUER, trusted_root=root)
        assert verify(told.ours(signature, whose=whose)).problems() == ()
        other = replace(whose, identity="https://example.org/other")
        assert "was expected" in verify(told.ours(signature, whose=other)).problem


@pytest.mark.parametrize("way", WAYS)
def test_shards_and_other_hashes_of_the_reference_are_verified(way: str, told: Told) -> None:
    asked = told.ours(f"{way}.sig", key=str(told.folder / "p256.pub"))
    weights = told.folder / "model" / "sub" / "weights é.bin"
    good = weights.read_bytes()
    assert verify(asked).problems() == ()
    try:
        weights.write_bytes(good[:-1] + b"x")
        assert len(verify(asked).differing) == 1
        weights.write_bytes(good + b"x")
        assert not verify(asked).verified
        weights.write_bytes(good)
        (weights.parent / "more").write_text("x")
        assert len(verify(asked).extra) == 1
    finally:
        weights.write_bytes(good)
        (weights.parent / "more").unlink(missing_ok=True)
