"""Claims of MLflow, OpenLineage and DVC, as these programs write them (2.22, 1.54, 3): read, and held against bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.digest import tree
from customhouse.app.lineage import lineage
from customhouse.core.errors import CustomhouseError, EvidenceError, UsageError
from customhouse.trust.lineage import Claim

RUN, COMMIT = "da8a594329ed4f9e99cfad00d3076a51", "5d1ce0f1f2a3b4c5d6e7f8091a2b3c4d5e6f7081"
DATASET = "b7f41c544563dfcc588abf354912ce37"
LOCK = """schema: '2.0'
stages:
  fit:
    cmd: python3 fit.py
    deps:
    - path: data
      hash: md5
      md5: 1f65762191c6f8760f73efd98480b5ae.dir
      size: 4
      nfiles: 2
    - path: raw.csv
      hash: md5
      md5: 2306b4377429730ee03a806cff76e92b
      size: 4
    outs:
    - path: gone.txt
      hash: md5
      md5: 2306b4377429730ee03a806cff76e92b
      size: 4
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What DVC 3 hashed: its md5 of the folder is the one in LOCK."""
    for name, text in {"data/one.txt": "a\n", "data/sub/two.txt": "b\n", "raw.csv": "raw\n", "dvc.lock": LOCK}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def named(claims: tuple[Claim, ...]) -> dict[str, Claim]:
    return {claim.name: claim for claim in claims}


def test_dvc_is_compared_by_its_own_md5_and_told_by_sha256(place: Path) -> None:
    found = named(lineage([str(place / "dvc.lock")]))
    assert [found[name].state for name in ("fit", "data", "raw.csv", "gone.txt")] == [
        "claimed",
        "bytes match",
        "bytes match",
        "claimed",
    ]
    assert found["data"].measured == tree(place / "data").digest
    assert "md5" in found["data"].note
    (place / "data" / "one.txt").write_text("c\n")
    assert named(lineage([str(place / "dvc.lock")]))["data"].state == "bytes differ"


def test_dvc_before_version_3_and_paths_that_lead_out_are_not_compared(place: Path) -> None:
    (place / "old.dvc").write_text("outs:\n- md5: 2306b4377429730ee03a806cff76e92b\n  path: raw.csv\n")
    (place / "below").mkdir()
    (place / "below" / "out.dvc").write_text(
        "outs:\n- md5: 2306b4377429730ee03a806cff76e92b\n  hash: md5\n  path: ../raw.csv\n"
    )
    states = [claim.state for claim in lineage([str(place / "old.dvc"), str(place / "below" / "out.dvc")])]
    assert states == ["claimed", "claimed"]


def test_dvc_yaml_only_says_what_is_meant(place: Path) -> None:
    (place / "dvc.yaml").write_text(
        "stages:\n  fit:\n    cmd: x\n    deps: [raw.csv]\n    outs: [{out.txt: {cache: false}}]\n"
    )
    assert [(c.direction, c.name, c.state) for c in lineage([str(place / "dvc.yaml")])] == [
        ("input", "raw.csv", "claimed"),
        ("output", "out.txt", "claimed"),
    ]


def mlruns(root: Path) -> Path:
    """A run of MLflow's file store, with an input, and a version of its registry."""
    files = {
        f"0/{RUN}/meta.yaml": f"artifact_uri: file:///x/artifacts\nrun_id: {RUN}\nrun_name: fit\nstatus: 3\ntags: []\n",
        f"0/{RUN}/tags/mlflow.source.git.commit": COMMIT,
        f"0/{RUN}/tags/mlflow.source.name": "go.py",
        f"0/{RUN}/inputs/40e1/meta.yaml": f"source_id: {DATASET}\nsource_type: DATASET\n",
        f"0/datasets/{DATASET}/meta.yaml": 'digest: abcd1234\nname: rows\nsource: \'{"url": "https://x/rows.csv"}\'\n',
        "models/fraud/version-1/meta.yaml": f"name: fraud\nversion: 1\nrun_id: {RUN}\nstatus: READY\nsource: file:///x\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_run_of_mlflow_by_folder_and_by_rest_says_the_same(tmp_path: Path) -> None:
    folder = lineage([str(mlruns(tmp_path) / "0" / RUN)])
    answer = {
        "run": {
            "info": {"run_id": RUN, "run_name": "fit", "status": "FINISHED", "artifact_uri": "file:///x/artifacts"},
            "data": {
                "tags": [
                    {"key": "mlflow.source.git.commit", "value": COMMIT},
                    {"key": "mlflow.source.name", "value": "go.py"},
                ]
            },
            "inputs": {
                "dataset_inputs": [
                    {"dataset": {"name": "rows", "digest": "abcd1234", "source": '{"url": "https://x/rows.csv"}'}}
                ]
            },
        }
    }
    (tmp_path / "run.json").write_text(json.dumps(answer))
    assert lineage([str(tmp_path / "run.json")]) == folder
    found = named(folder)
    assert found["go.py"].commit == COMMIT
    assert "no sha256" in found["rows"].note
    assert {claim.state for claim in folder} == {"claimed"}


def test_a_version_of_the_registry_names_its_run(tmp_path: Path) -> None:
    claims = lineage([str(mlruns(tmp_path) / "models" / "fraud" / "version-1")])
    assert [(claim.role, claim.name) for claim in claims] == [("model", "fraud/1"), ("run", RUN)]


def event(kind: str, digest: str) -> dict[str, Any]:
    location = {"type": "git", "url": "https://github.com/acme/fraud", "version": COMMIT}
    return {
        "eventType": kind,
        "run": {"runId": "3b452093"},
        "job": {"namespace": "sched", "name": "fit", "facets": {"sourceCodeLocation": location}},
        "inputs": [{"namespace": "file", "name": "raw.csv", "facets": {"version": {"datasetVersion": digest}}}],
        "outputs": [{"namespace": "s3://bucket", "name": "out"}],
    }


def test_openlineage_events_of_one_run_are_told_once_and_a_sha256_is_compared(place: Path) -> None:
    digest = f"sha256:{hashlib.sha256(b'raw' + bytes([10])).hexdigest()}"
    lines = "\n".join(json.dumps(event(kind, digest)) for kind in ("START", "COMPLETE"))
    (place / "events.jsonl").write_text(lines)
    claims = lineage([str(place / "events.jsonl")])
    assert [(claim.role, claim.direction, claim.state) for claim in claims] == [
        ("run", "of", "claimed"),
        ("code", "input", "claimed"),
        ("dataset", "input", "bytes match"),
        ("dataset", "output", "claimed"),
    ]
    assert claims[0].note == "last event COMPLETE"
    (place / "events.jsonl").write_text(json.dumps(event("COMPLETE", f"sha256:{'0' * 64}")))
    assert named(lineage([str(place / "events.jsonl")]))["raw.csv"].state == "bytes differ"


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("a.json", "{}", UsageError),
        ("a.json", "{", EvidenceError),
        ("a.json", '{"run": {"info": {}}}', EvidenceError),
        ("a.json", '{"run": {}, "job": {}}', EvidenceError),
        ("a.json", '{"run": {"runId": "1"}, "job": {"name": "j"}, "inputs": {}}', EvidenceError),
        ("dvc.lock", "schema: '1.0'\n", EvidenceError),
        ("dvc.lock", "- a\n", EvidenceError),
        ("dvc.lock", "schema: '2.0'\nstages: {a: {deps: [{md5: x}]}}\n", EvidenceError),
        ("a.dvc", "outs: []\n", EvidenceError),
        ("a.dvc", "a: *b\n", EvidenceError),
        ("missing.json", None, UsageError),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_the_file(
    tmp_path: Path, name: str, text: str | None, error: type[CustomhouseError]
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(error) as caught:
        lineage([str(tmp_path / name)])
    assert name in f"{caught.value.where} {caught.value}"
