"""Evidence that is attached in a real registry, at the gate and at the webhook: about which digest, and by whom."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from customhouse._kit.clock import SystemClock
from customhouse._kit.digest import bytes_digest
from customhouse.app.admission import Admission
from customhouse.app.admission_context import load_context, state_of
from customhouse.app.admission_review import Review, read_review
from customhouse.app.settings import Settings
from customhouse.cli.program import root
from customhouse.core.errors import CustomhouseError
from customhouse.policy.adapters.regorus import RegorusEngine
from oci_registry import Registry

pytestmark = pytest.mark.part("docker-registry")
REPOSITORY = "team/app"
LABELS = {f"customhouse.dev/{name}": "a" for name in ("owner", "team", "project", "cost-centre")}


@pytest.fixture(scope="module")
def registry(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = Registry(find_part("docker-registry"), tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with customhouse.yaml, two keys (of which one is trusted) and statements to attach."""

    folder: Path
    host: str

    @property
    def settings(self) -> Settings:
        return Settings(self.folder / "state", config=self.folder / "customhouse.yaml", state_named=True)

    def run(self, *arguments: str) -> tuple[int, Any]:
        where = ["--config", str(self.folder / "customhouse.yaml"), "--state", str(self.folder / "state")]
        done = CliRunner().invoke(root, [*arguments, *where, "-o", "json"], env={"DOCKER_CONFIG": "/nowhere"})
        if isinstance(done.exception, CustomhouseError):
            return done.exception.exit_status, str(done.exception)
        return done.exit_code, json.loads(done.stdout)

    def attach(self, digest: str, key: str = "trusted.pem") -> None:
        reference = f"{self.host}/{REPOSITORY}@{digest}"
        where = ("--key", str(self.folder / key))
        assert self.run("image", "sign", reference, *where)[0] == 0
        for kind in ("bom", "scan"):
            predicate = str(self.folder / f"{kind}.json")
            assert self.run("image", "attest", reference, *where, "--kind", kind, "--predicate", predicate)[0] == 0

    def deployment(self, digest: str) -> dict[str, Any]:
        container = {
            "name": "main",
            "image": f"{self.host}/{REPOSITORY}@{digest}",
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        spec = {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 9, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "app", "namespace": "prod", "labels": LABELS},
            "spec": {
                "selector": {"matchLabels": {"app": "app"}},
                "template": {"metadata": {"labels": {"app": "app", **LABELS}}, "spec": spec},
            },
        }

    def gate(self, digest: str) -> tuple[int, Any]:
        (self.folder / "app.json").write_text(json.dumps(self.deployment(digest)))
        return self.run("gate", str(self.folder / "app.json"))

    def about_images(self, digest: str) -> dict[str, str]:
        """Rule and message of what the gate finds about the image's evidence."""
        _, found = self.gate(digest)
        return {
            f"{f['rule']} {f['severity']}": f["message"] for f in found["findings"] if f["rule"].startswith("image-")
        }


@pytest.fixture
def place(registry: Registry, tmp_path: Path) -> Place:
    for name in ("trusted", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        pem = tmp_path / f"{name}.pem"
        pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        pem.chmod(0o600)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub").write_bytes(public)
    (tmp_path / "bom.json").write_text(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6"}))
    (tmp_path / "scan.json").write_text(json.dumps({"scanner": {"name": "x", "version": "1"}, "verdict": "clean"}))
    (tmp_path / "customhouse.yaml").write_text(
        f"""apiVersion: customhouse.dev/v1
policy: {{trustedRegistries: ["{registry.host}/"], requireSignedCommits: false}}
tiers:
  default: strict
  definitions:
    strict:
      requiredImageEvidence: [signature, bom, scan]
      evidenceMaxAgeDays: 30
      checks: {{image-evidence-missing: error}}
trust:
  keys: [{{name: release, publicKey: trusted.pub, kinds: [signature, bom, scan]}}]
  registries: ["{registry.host}/team"]
"""
    )
    return Place(tmp_path, registry.host)


def test_the_gate_asks_the_registry_and_says_what_is_missing_and_how_to_make_it(
    registry: Registry, place: Place
) -> None:
    digest = registry.image(REPOSITORY, "a", b"a")
    status, found = place.gate(digest)
    missing = [f for f in found["findings"] if f["rule"] == "image-evidence-missing"]
    assert (status, found["verdict"], len(missing)) == (1, "deny", 3)
    reference = f"{registry.host}/{REPOSITORY}@{digest}"
    assert any(f"customhouse image sign {reference} --key" in f["fix"] for f in missing)
    # By somebody who is not trusted: each is there, and none is believed.
    place.attach(digest, "other.pem")
    refused = place.about_images(digest)
    assert list(refused) == ["image-evidence-unverified error"]
    assert "signed by an unknown key" in refused["image-evidence-unverified error"]
    # By the one who is, about this digest: nothing is left to say, and that of strangers takes nothing away.
    place.attach(digest)
    assert place.about_images(digest) == {}


def test_a_scan_that_says_malicious_is_heard_whoever_signed_it(registry: Registry, place: Place) -> None:
    digest = registry.image(REPOSITORY, "b", b"b")
    place.attach(digest)
    (place.folder / "scan.json").write_text(json.dumps({"verdict": "malicious"}))
    place.attach(digest, "other.pem")
    assert list(place.about_images(digest)) == ["image-scan error"]


def test_a_registry_that_is_silent_shuts_the_gate_unless_it_spoke_today(registry: Registry, place: Place) -> None:
    digest = registry.image(REPOSITORY, "c", b"c")
    place.attach(digest)
    assert place.about_images(digest) == {}
    config = place.folder / "customhouse.yaml"
    config.write_text(config.read_text().replace(f'"{registry.host}/team"', '"127.0.0.1:9/team"'))
    moved = Place(place.folder, "127.0.0.1:9")
    status, said = moved.gate(digest)
    assert status == 3
    assert "127.0.0.1:9" in said
    # What the registry said today stands in (another that has the same image does not): it is verified as always.
    filed = place.folder / "state" / "evidence" / digest[7:]
    (entry,) = filed.iterdir()
    record = json.loads((entry / "index.json").read_text())
    (entry / "index.json").write_text(json.dumps({**record, "name": f"{moved.host}/{REPOSITORY}"}))
    entry.rename(filed / bytes_digest(f"{moved.host}/{REPOSITORY}".encode())[7:23])
    status, found = moved.gate(digest)
    assert {f["rule"] for f in found["findings"] if f["rule"].startswith("image-evidence")} == set()
    (filed / bytes_digest(f"{moved.host}/{REPOSITORY}".encode())[7:23] / "index.json").write_text("{")
    assert moved.gate(digest)[0] == 3


def test_statements_about_every_platform_count_for_the_image_that_has_them_all(
    registry: Registry, place: Place
) -> None:
    amd, arm = (registry.image(REPOSITORY, name, name.encode()) for name in ("amd", "arm"))
    both = registry.index(REPOSITORY, "both", {"linux/amd64": amd, "linux/arm64": arm})
    place.attach(amd)
    assert "there is none for linux/arm64" in place.about_images(both)["image-evidence-unverified error"]
    place.attach(arm, "other.pem")
    assert "of linux/arm64: signed by an unknown key" in place.about_images(both)["image-evidence-unverified error"]
    place.attach(arm)
    assert place.about_images(both) == {}
    # An image for a platform that is not said: a node may take it, so it needs what the others have.
    more = registry.image(REPOSITORY, "more", b"more")
    body = json.loads(registry.get(f"/v2/{REPOSITORY}/manifests/{both}"))
    entry = {key: value for key, value in body["manifests"][0].items() if key != "platform"}
    body["manifests"].append({**entry, "digest": more})
    hidden = registry.document(REPOSITORY, "hidden", body, body["mediaType"])
    assert f"there is none for {more}" in place.about_images(hidden)["image-evidence-unverified error"]
    # What a builder's own unsigned statements are filed under runs nowhere.
    body["manifests"][-1]["platform"] = {"os": "unknown", "architecture": "unknown"}
    beside = registry.document(REPOSITORY, "beside", body, body["mediaType"])
    assert place.about_images(beside) == {}
    # A scan of one platform that warns is heard for all.
    (place.folder / "scan.json").write_text(json.dumps({"verdict": "malicious"}))
    place.attach(arm, "other.pem")
    assert list(place.about_images(both)) == ["image-scan error"]


def test_a_registry_that_is_not_named_is_not_asked(registry: Registry, place: Place) -> None:
    digest = registry.image("elsewhere/app", "d", b"d")
    (place.folder / "app.json").write_text(
        json.dumps(place.deployment(digest)).replace(f"{REPOSITORY}@", "elsewhere/app@")
    )
    asked = len((registry.data.parent / "registry.log").read_bytes())
    assert asked > 0  # what was pushed is in it
    _, found = place.run("gate", str(place.folder / "app.json"))
    assert sum(f["rule"] == "image-evidence-missing" for f in found["findings"]) == 3
    assert not (place.folder / "state" / "evidence").exists()
    assert len((registry.data.parent / "registry.log").read_bytes()) == asked


def test_the_webhook_reads_the_local_index_and_a_miss_is_no_yes(registry: Registry, place: Place) -> None:
    digest = registry.image(REPOSITORY, "e", b"e")
    place.attach(digest)
    engine = RegorusEngine(compile_packaged=True)
    before = state_of(place.settings, None, None)
    miss = Admission(load_context(place.settings, None), engine, SystemClock()).validate(review(place, digest))
    assert not miss.answer.allowed
    assert "nothing is filed here" in miss.answer.message
    assert "customhouse image evidence --index" in miss.answer.message
    status, filled = place.run("image", "evidence", f"{registry.host}/{REPOSITORY}@{digest}", "--index")
    assert status == 0
    assert filled["filed"][0]["digest"] == digest
    assert state_of(place.settings, None, None) != before  # a new generation is due
    found = Admission(load_context(place.settings, None), engine, SystemClock()).validate(review(place, digest))
    assert found.decision is not None
    assert [f.rule for f in found.decision.findings if f.rule.startswith("image-")] == []
    # And what is filed is verified: one changed byte of a signature, and it is a signature no more.
    for item in (place.folder / "state" / "evidence" / digest[7:]).glob("*/oci-*"):
        document = json.loads(item.read_text())
        part = document.get("dsseEnvelope") or document["bundle"]
        text = json.dumps(document)
        signature = part["signatures"][0]["sig"] if "signatures" in part else part["messageSignature"]["signature"]
        item.write_text(
            text.replace(signature, signature[:20] + ("A" if signature[20] != "A" else "B") + signature[21:])
        )
    found = Admission(load_context(place.settings, None), engine, SystemClock()).validate(review(place, digest))
    assert found.decision is not None
    rules = [f.rule for f in found.decision.findings if f.rule.startswith("image-")]
    assert rules == ["image-evidence-unverified"] * 3


def review(place: Place, digest: str) -> Review:
    obj = place.deployment(digest)
    request = {
        "uid": "u",
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "operation": "CREATE",
        "namespace": "prod",
        "name": "app",
        "userInfo": {"username": "ada"},
        "object": obj,
    }
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return read_review(json.dumps(document).encode())
