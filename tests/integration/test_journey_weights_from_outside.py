"""A team gets a pickle from outside: scanned, converted, signed, described, allowed; a swapped file is found."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from control_repository import git
from gate_world import KEY, Shell, released, shell

__all__ = ["released", "shell"]
MODEL = "artifacts/sentiment/v1"


class _Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch was-loaded",)


def attest(shell: Shell) -> str:
    done = shell.run(
        *("model", "attest", MODEL, "--key", KEY, "--name", "sentiment", "--version", "v1", "-o", "json", "-q")
    )
    assert done.status == 0, done.err
    return str(done.json["digest"])


def declare(shell: Shell, digest: str) -> None:
    """The example's declaration, for this model."""
    text = shell.path("models/first-model.yaml").read_text()
    old = next(line for line in text.splitlines() if "model-digest" in line).split(": ")[1].split()[0]
    text = text.replace("first-model", "sentiment").replace(old, digest)
    shell.write("models/sentiment.yaml", text)


def test_weights_from_outside_are_scanned_converted_signed_described_and_allowed(shell: Shell) -> None:
    weights = {"embedding": np.arange(12, dtype=np.float32).reshape(3, 4), "bias": np.zeros(4, dtype=np.float32)}
    shell.write("outside/stranger.pkl", pickle.dumps({**weights, "extra": _Command()}))
    shell.write("outside/colleague.pkl", pickle.dumps(weights))

    scan = shell.run("model", "scan", "outside/stranger.pkl", "-o", "json")
    assert scan.status == 1
    (row,) = scan.json["files"]
    assert row["verdict"] == "malicious"
    assert "system" in row["findings"][0]["message"]
    refused = shell.run("model", "convert", "outside/stranger.pkl")
    assert refused.status == 3
    assert "stranger.pkl" in refused.err
    assert not shell.path("outside/stranger.safetensors").exists()
    assert not Path("was-loaded").exists()

    shell.path(MODEL).mkdir(parents=True)
    done = shell.run("model", "convert", "outside/colleague.pkl", "--out", f"{MODEL}/model.safetensors", "-o", "json")
    assert done.status == 0, done.err
    assert {name: item["shape"] for name, item in done.json["tensors"].items()} == {"embedding": [3, 4], "bias": [4]}

    digest = attest(shell)
    declare(shell, digest)
    git(shell.root, "checkout", "-q", "-b", "sentiment")
    git(shell.root, "add", "models", ".evidence")
    git(shell.root, "commit", "-q", "-m", "Sentiment, converted from a colleague's pickle")
    allowed = shell.run("gate", "--base", "main", "-o", "json")
    assert allowed.status == 0, allowed.out + allowed.err

    folder = f".evidence/{digest.removeprefix('sha256:')}"
    score = shell.run("bom", "score", f"{folder}/bom.sigstore.json", "-o", "json")
    assert score.json["of"] == 50
    assert score.json["met"] >= 15
    signature = ("--signature", f"{folder}/signature.sigstore.json", "--key", "trust/evidence.pub")
    assert shell.run("model", "verify", MODEL, *signature).status == 0

    # Somebody puts the stranger's file where the converted one was: it is not what was declared,
    shell.write(f"{MODEL}/model.safetensors", shell.path("outside/stranger.pkl").read_bytes())
    swapped = shell.run("gate", "--base", "main")
    assert swapped.status == 3
    assert "sentiment/v1 has the digest" in swapped.err
    found = shell.run("model", "verify", MODEL, *signature)
    assert found.status == 5
    assert "model.safetensors: differs" in found.out
    # and where it is declared, with evidence of its own, its scan denies it.
    declare(shell, attest(shell))
    shell.commit("Sentiment, now with more")
    denied = shell.run("gate", "--base", "main", "-o", "json")
    assert denied.status == 1
    assert ["malicious" in item["message"] for item in denied.json["findings"] if item["rule"] == "model-scan"] == [
        True
    ]
    assert not Path("was-loaded").exists()
