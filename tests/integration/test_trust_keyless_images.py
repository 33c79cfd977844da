"""Images signed keyless, against the services of an in-memory Sigstore; the real cosign verifies them too."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from customhouse.app import artifact_sign
from customhouse.app.model_signing import By
from customhouse.app.registry_images import Signers, attach, sign, verify
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError, UsageError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.keys import generate_pair
from oci_registry import Registry
from sigstore_services import serving, trust_config
from sigstore_world import IDENTITY, ISSUER, World

pytestmark = [pytest.mark.part("docker-registry"), pytest.mark.part("cosign")]
WORLD = World()
REPOSITORY = "team/app"
REQUIRED = [EvidenceKind.SIGNATURE, EvidenceKind.BOM]


@pytest.fixture(scope="module")
def registry(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = Registry(find_part("docker-registry"), tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


def by(folder: Path, address: str, version: int) -> By:
    (folder / "trust.json").write_text(json.dumps(trust_config(WORLD, address, version)))
    (folder / "root.json").write_text(json.dumps(WORLD.root()))
    (folder / "token").write_text("header.claims.signature\n")
    (folder / "bom.json").write_text(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6"}))
    return By(token=str(folder / "token"), services=str(folder / "trust.json"))


@pytest.mark.parametrize("version", [1, 2])
def test_an_image_is_signed_and_described_by_an_identity(
    registry: Registry, find_part: Callable[[str], Path], tmp_path: Path, version: int
) -> None:
    digest = registry.image(REPOSITORY, f"v{version}", b"keyless %d" % version)
    reference = f"{registry.host}/{REPOSITORY}@{digest}"
    settings = Settings(tmp_path / "state", environment={})
    with serving(WORLD) as (address, _):
        who = by(tmp_path, address, version)
        with pytest.raises(UsageError, match="by a bundle"):
            sign(settings, reference, who, "tag")
        sign(settings, reference, who)
        attach(settings, reference, EvidenceKind.BOM, str(tmp_path / "bom.json"), who)
    root = str(tmp_path / "root.json")
    signers = Signers(identity=IDENTITY, issuer=ISSUER, trusted_root=root)
    found = verify(settings, reference, signers, REQUIRED)
    assert (found["verified"], found["missing"]) == (True, [])
    other = Signers(identity=IDENTITY + "2", issuer=ISSUER, trusted_root=root)
    assert verify(settings, reference, other, REQUIRED)["missing"] == ["signature", "bom"]
    (tmp_path / "other.json").write_text(json.dumps(World().root()))
    strange = Signers(identity=IDENTITY, issuer=ISSUER, trusted_root=str(tmp_path / "other.json"))
    assert verify(settings, reference, strange, REQUIRED)["missing"] == ["signature", "bom"]
    for identity, status in ((IDENTITY, 0), (IDENTITY + "2", 1)):
        command = [str(find_part("cosign")), "verify", "--trusted-root", root, "--certificate-identity", identity]
        command += ["--certificate-oidc-issuer", ISSUER, reference]
        environment = {**os.environ, "HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode != 0) == status, done.stderr


def test_a_service_that_answers_wrongly_attaches_nothing(registry: Registry, tmp_path: Path) -> None:
    digest = registry.image(REPOSITORY, "spoilt", b"spoilt")
    reference = f"{registry.host}/{REPOSITORY}@{digest}"
    settings = Settings(tmp_path / "state", environment={})
    with serving(WORLD, "entry") as (address, _), pytest.raises(CustomhouseError):
        sign(settings, reference, by(tmp_path, address, 2))
    signers = Signers(identity=IDENTITY, issuer=ISSUER, trusted_root=str(tmp_path / "root.json"))
    assert verify(settings, reference, signers, REQUIRED)["evidence"] == []


@pytest.mark.parametrize(
    "claim", ['{"critical": {}}', ' {"optional": 1, "Critical": {"type": "x"}}', '{"\\u0063ritical": 1}']
)
def test_a_file_that_would_become_the_signature_of_an_image_is_not_signed(tmp_path: Path, claim: str) -> None:
    generate_pair(tmp_path, "release")
    (tmp_path / "file.json").write_text(claim)
    with pytest.raises(UsageError, match="would pass for that of the image"):
        artifact_sign.sign(str(tmp_path / "file.json"), By(str(tmp_path / "release.key")), str(tmp_path / "out.json"))
    assert not (tmp_path / "out.json").exists()
