"""What DVC, MLflow and OpenLineage say becomes part of the graph as their word, and meets what is proved."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from customhouse.cli.program import run


def test_claims_are_traced_as_claims_and_meet_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    state = ["--state", str(tmp_path / "state")]
    data = tmp_path / "data.csv"
    data.write_text("amount,label\n" + "".join(f"{n},{n % 2}\n" for n in range(50)))
    assert run(["data", "register", str(data), "--name", "payments", *state]) == 0
    md5 = hashlib.md5(data.read_bytes(), usedforsecurity=False).hexdigest()
    (tmp_path / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  train:\n    cmd: python train.py\n    deps:\n"
        f"    - path: data.csv\n      md5: {md5}\n      hash: md5\n"
        f"    outs:\n    - path: model.onnx\n      md5: {'0' * 32}\n      hash: md5\n"
    )
    lineage = ["model", "lineage", str(tmp_path / "dvc.lock"), "--enter", "--by", "ada", *state]
    assert run(lineage) == 0
    capsys.readouterr()
    assert run(lineage) == 0
    assert "0 of 1 ledger entries are new" in capsys.readouterr().err
    assert run(["trace", "payments", "-o", "json", *state]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {node["kind"] for node in found["nodes"]} == {"dataset", "training-run"}
    assert "model.onnx" in {node["name"] for node in found["nodes"]}
    assert [edge["state"] for edge in found["edges"]] == ["claimed", "claimed"]
    assert run(["trace", "payments", "--export", "file", *state]) == 0
    capsys.readouterr()
    assert run(["verify", "file", "--key", str(tmp_path / "state" / "keys" / "ledger.pub"), "-o", "json"]) == 0
    links = json.loads(capsys.readouterr().out)["links"]
    assert [link["state"] for link in links if "→" in link["name"]] == ["claimed", "claimed"]
