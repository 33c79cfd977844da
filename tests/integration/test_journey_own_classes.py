"""A team's own class in a pickle: suspicious, vouched for in Git, then clean, and believed after the merge."""

from __future__ import annotations

import json
import pickle

import pytest
from control_repository import git
from gate_world import KEY, Said, Shell, released, shell

__all__ = ["released", "shell"]
MODEL = "artifacts/ranker/v1"
PICKLE = b"\x80\x02cacme.models\nRanker\n)\x81}X\x07\x00\x00\x00weightsq\x00]K\x01asb."
NAMES = """
scan:
  names:
    - {name: acme.models.Ranker, use: state, reason: a plain class; its __setstate__ is Python's own, owner: risk%s}
"""


def vouch(shell: Shell, more: str = "") -> None:
    shell.path("customhouse.yaml").write_text(shell.path("customhouse.yaml").read_text() + NAMES % more)


def attest(shell: Shell) -> dict[str, str]:
    done = shell.run(
        *("model", "attest", MODEL, "--key", KEY, "--name", "ranker", "--version", "v1", "-o", "json", "-q")
    )
    assert done.status == 0, done.err
    found: dict[str, str] = done.json
    return found


def declare(shell: Shell, digest: str) -> None:
    text = shell.path("models/first-model.yaml").read_text()
    old = next(line for line in text.splitlines() if "model-digest" in line).split(": ")[1].split()[0]
    shell.write("models/ranker.yaml", text.replace("first-model", "ranker").replace(old, digest))


def rules(said: Said) -> set[str]:
    return {item["rule"] for item in said.json["findings"] if item["severity"] == "error"}


def test_a_class_of_ones_own_counts_once_it_is_merged_and_until_it_expires(shell: Shell) -> None:
    shell.write(f"{MODEL}/model.pkl", PICKLE)
    scan = ("model", "scan", f"{MODEL}/model.pkl", "-o", "json", "-q")
    assert shell.run(*scan).json["files"][0]["verdict"] == "suspicious"
    declare(shell, attest(shell)["digest"])

    # 1. A branch vouches for the class that it brings: what was looked at says on what it rests.
    git(shell.root, "checkout", "-q", "-b", "ranker")
    vouch(shell)
    assert shell.run(*scan).status == 1  # a folder never vouches for itself: --config says whose names count
    clean = shell.run(*scan, "--config", "customhouse.yaml")
    assert clean.status == 0
    (note,) = clean.json["files"][0]["findings"]
    assert (note["rule"], note["severity"]) == ("declared-name", "note")
    assert "acme.models.Ranker (state)" in note["message"]
    done = attest(shell)
    assert done["verdict"] == "clean"
    shell.commit("Our ranker, and a word for it")

    # 2. Judged by what is merged, its evidence is not believed; and the word for it is a change of the rules.
    denied = shell.run("gate", "--base", "main", "-o", "json")
    assert denied.status == 1
    assert rules(denied) == {"evidence-unverified"}
    (why,) = [item["message"] for item in denied.json["findings"] if item["rule"] == "evidence-unverified"]
    assert "acme.models.Ranker (not declared)" in why
    assert "governance-changed" in {item["rule"] for item in denied.json["findings"]}

    # 3. Once the word for it is merged, the same evidence is believed.
    kept = {name: shell.path(name).read_bytes() for name in ("models/ranker.yaml", *bills(shell, done["digest"]))}
    git(shell.root, "checkout", "-q", "main")
    vouch(shell)
    shell.commit("The class was read: it may be in our models")
    git(shell.root, "checkout", "-q", "-b", "again")
    for name, data in kept.items():
        shell.write(name, data)
    shell.commit("Our ranker")
    allowed = shell.run("gate", "--base", "main", "-o", "json")
    assert allowed.status == 0, allowed.out + allowed.err

    # 4. For another use, or after its day, it does not count.
    for old, new, said in (
        ("use: state", "use: value", "declared for value, not for state"),
        ("owner: risk", "owner: risk, expires: 2026-01-01", "declared until 2026-01-01T00:00:00Z"),
    ):
        git(shell.root, "checkout", "-q", "-B", "base", "main")
        shell.edit("customhouse.yaml", old, new)
        shell.commit("Another word")
        git(shell.root, "checkout", "-q", "-B", "again", "base")
        for name, data in kept.items():
            shell.write(name, data)
        shell.commit("Our ranker")
        late = shell.run("gate", "--base", "base", "-o", "json")
        assert late.status == 1
        assert said in json.dumps(late.json)


def bills(shell: Shell, digest: str) -> list[str]:
    folder = shell.path(f".evidence/{digest.removeprefix('sha256:')}")
    return [str(item.relative_to(shell.root)) for item in sorted(folder.iterdir())]


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "subprocess.Popen", "acme.os.system", "acme.*"])
def test_what_can_run_code_cannot_be_vouched_for(shell: Shell, name: str) -> None:
    vouch(shell)
    shell.edit("customhouse.yaml", "name: acme.models.Ranker", f'name: "{name}"')
    shell.write("own/evil.pkl", pickle.dumps({"a": 1}))
    refused = shell.run("model", "scan", "own/evil.pkl", "--config", "customhouse.yaml")
    assert refused.status == 3
    assert f"'{name}' cannot be added" in refused.err
    assert "customhouse.yaml:" in refused.err
    shell.commit("A bad word")
    gate = shell.run("gate", "--base", "HEAD^")
    assert gate.status == 3
    assert "cannot be added" in gate.err
