"""examples/verify-before-load: the manifest passes the gate, and its init container's own command does what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from customhouse._kit.digest import tree
from customhouse.cli.program import run
from customhouse.trust.keys import PrivateKey
from customhouse.trust.signing import sign_model

EXAMPLE = Path(__file__).parents[2] / "examples" / "verify-before-load"


@pytest.fixture
def manifest() -> Any:
    return yaml.safe_load((EXAMPLE / "deployment.yaml").read_text(encoding="utf-8"))


def test_the_manifest_passes_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "customhouse.yaml").write_text(
        "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false, trustedRegistries: [apexlogic.com]}\n"
    )
    status = run(["gate", "--config", "customhouse.yaml", str(EXAMPLE / "deployment.yaml"), "-o", "json", "-q"])
    said = json.loads(capsys.readouterr().out)
    assert [item["rule"] for item in said["findings"] if item["severity"] == "error"] == []
    assert status == 0


def test_the_command_of_the_init_container_lets_a_server_start_only_on_what_was_signed(
    manifest: Any, tmp_path: Path
) -> None:
    model, trust = tmp_path / "model", tmp_path / "trust"
    model.mkdir()
    trust.mkdir()
    (model / "weights.bin").write_bytes(b"weights")
    key = PrivateKey(ec.generate_private_key(ec.SECP256R1()))
    (trust / "release.pub").write_bytes(key.public.pem())
    (trust / "signature.sigstore.json").write_bytes(sign_model(tree(model), "sentiment", key))
    (init,) = manifest["spec"]["template"]["spec"]["initContainers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in init["volumeMounts"]}
    assert all(mount["readOnly"] for mount in init["volumeMounts"])
    places = {mounts["model"]: str(model), mounts["trust"]: str(trust)}

    def start() -> int:
        program, *command = [
            next((word.replace(old, new, 1) for old, new in places.items() if word.startswith(old)), word)
            for word in init["command"]
        ]
        assert program == "customhouse"
        return run(command)

    assert start() == 0
    (model / "weights.bin").write_bytes(b"weighty")
    assert start() == 5
    (model / "weights.bin").write_bytes(b"weights")
    (model / "extra.py").write_text("import os")
    assert start() == 5
