"""The demo's data science, run as the Job runs it: as programs of their own."""

from __future__ import annotations

import json
import shutil
import string
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml

import customhouse
from customhouse._kit.clock import SystemClock
from customhouse._kit.digest import tree
from customhouse.control.rollout import plan_of
from customhouse.core.plan import Action, ActionKind, HealthStatus
from customhouse.core.resource import ResourceRef
from customhouse.core.workload import workload
from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget

FILES = Path(customhouse.__file__).parent / "app" / "demo" / "files"
TRAINING = FILES / "training"
VERSIONS = ("v2.0", "v2.1", "v2.2")


def program(name: str, *arguments: object, status: int = 0) -> list[dict]:
    """Run one of the programs with as little around it as a container gives; its JSON lines."""
    command = [sys.executable, "-B", str(TRAINING / name), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == status, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "card-transactions"
    program("generate.py", "--out", out)
    return out


@pytest.fixture(scope="module")
def models(dataset, tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    seconds = []
    for version in VERSIONS:
        began = time.perf_counter()
        program("train.py", "--dataset", dataset, "--out", root / version, "--variant", version)
        seconds.append(time.perf_counter() - began)
    assert max(seconds) < 10, f"a training took {max(seconds):.1f} s"
    return root


def evaluation(dataset, models, out, version, *more):
    program("evaluate.py", "--dataset", dataset, "--model", models / version, "--out", out, *more)
    return json.loads(out.read_text())


def test_the_same_seed_gives_the_same_dataset_byte_for_byte(dataset, tmp_path):
    program("generate.py", "--out", tmp_path / "again")
    program("generate.py", "--out", tmp_path / "other", "--seed", 8)
    assert tree(tmp_path / "again").digest == tree(dataset).digest
    assert tree(tmp_path / "other").digest != tree(dataset).digest


def test_the_dataset_card_states_schema_and_licence(dataset):
    card = (dataset / "README.md").read_text()
    header = (dataset / "train.csv").read_text().splitlines()[0].split(",")
    assert all(f"| {column} |" in card for column in header)
    assert "CC0-1.0" in card


def test_about_three_percent_are_fraud_and_the_splits_do_not_overlap(dataset):
    rows = {name: (dataset / f"{name}.csv").read_text().splitlines()[1:] for name in ("train", "holdout", "live")}
    assert [len(part) for part in rows.values()] == [14400, 4800, 4800]
    share = np.mean([line.endswith(",1") for part in rows.values() for line in part])
    assert 0.02 < share < 0.045
    assert not set(rows["train"]) & set(rows["holdout"])


def test_the_same_seed_gives_the_same_model_byte_for_byte(dataset, models, tmp_path):
    program("train.py", "--dataset", dataset, "--out", tmp_path / "m", "--variant", "v2.1")
    assert tree(tmp_path / "m").digest == tree(models / "v2.1").digest


def test_training_says_its_steps_and_falling_loss(dataset, tmp_path):
    lines = program("train.py", "--dataset", dataset, "--out", tmp_path / "m", "--variant", "v2.0")
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [lines[0]["event"], lines[-1]["event"]] == ["start", "done"]
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert [line["step"] for line in epochs] == sorted({line["step"] for line in epochs})


def test_a_dataset_with_another_digest_is_refused(dataset, tmp_path):
    declared = "sha256:" + "0" * 64
    lines = program(
        "train.py",
        "--dataset",
        dataset,
        "--dataset-digest",
        declared,
        "--out",
        tmp_path / "m",
        "--variant",
        "v2.0",
        status=3,
    )
    assert lines[-1] == {
        "event": "refused",
        "reason": "dataset digest",
        "declared": declared,
        "found": tree(dataset).digest,
    }
    assert not (tmp_path / "m").exists()


def test_the_declared_digest_is_that_of_the_product(dataset, tmp_path):
    program(
        "train.py",
        "--dataset",
        dataset,
        "--dataset-digest",
        tree(dataset).digest,
        "--out",
        tmp_path / "m",
        "--variant",
        "v2.0",
    )


def test_a_missing_dataset_is_named(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-B",
            str(TRAINING / "train.py"),
            "--dataset",
            str(tmp_path),
            "--out",
            str(tmp_path),
            "--variant",
            "v2.0",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "holds no train.csv; make it with generate.py" in done.stderr


def test_the_exported_model_speaks_the_declared_tensors(models):
    session = onnxruntime.InferenceSession(str(models / "v2.0" / "model.onnx"), providers=["CPUExecutionProvider"])
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1]) == ("input", "tensor(float)", 8)
    assert (answer.name, answer.type, answer.shape[1]) == ("probability", "tensor(float)", 1)
    hostile = np.array([[-1e30] * 8, [0.0] * 8, [1e30] * 8], dtype=np.float32)
    p = session.run(None, {"input": hostile})[0]
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_export_agrees_with_numpy_and_with_the_training_metrics(dataset, models, tmp_path, version):
    found = evaluation(dataset, models, tmp_path / "e.json", version)
    said = json.loads((models / version / "metrics.json").read_text())
    assert found["max_difference_from_numpy"] <= 1e-5
    assert found["model_digest"] == tree(models / version).digest
    assert found["metrics"]["auc"]["value"] == pytest.approx(said["holdout"]["auc"]["value"], abs=1e-4)
    assert set(said["groups"]) == {"in-store", "online"}
    for measure in ("auc", "log_loss", "brier"):
        assert said["holdout"][measure]["low"] < said["holdout"][measure]["value"] < said["holdout"][measure]["high"]


def test_v21_is_better_and_v22_looks_as_good_offline_but_is_worse_on_live_traffic(dataset, models, tmp_path):
    offline = {v: evaluation(dataset, models, tmp_path / "o.json", v)["metrics"]["log_loss"] for v in VERSIONS}
    live = {
        v: evaluation(dataset, models, tmp_path / "l.json", v, "--as-served", "--split", "live")["metrics"]["log_loss"]
        for v in VERSIONS
    }
    assert live["v2.1"]["value"] < live["v2.0"]["value"]
    assert offline["v2.2"]["value"] == pytest.approx(offline["v2.1"]["value"], abs=0.01)
    assert live["v2.2"]["low"] > live["v2.1"]["high"] + 0.1


def filled(name: str) -> dict:
    values = {
        "VERSION": "v2.1",
        "VERSION_SLUG": "v2-1",
        "SEED": "1",
        "TRAINER_DIGEST": "sha256:" + "a" * 64,
        "DATASET_DIGEST": "sha256:" + "b" * 64,
        "MODEL_DIGEST": "sha256:" + "c" * 64,
        "CPU": "1",
        "MEMORY": "2Gi",
    }
    return yaml.safe_load(string.Template((FILES / "manifests" / name).read_text()).substitute(values))


def test_the_service_template_is_a_pinned_canaried_workload():
    manifest = filled("inference-service.yaml")
    work = workload(manifest)
    pinned = [("model", "sha256:" + "c" * 64), ("dataset", "sha256:" + "b" * 64)]
    assert [(item.role, item.digest) for item in work.artifacts] == pinned
    assert (work.memory, work.replicas_min, work.replicas_max) == (2 << 30, 1, 3)
    assert plan_of(manifest).steps == (20, 50)


def test_the_job_template_pins_code_and_data_and_asks_for_spot():
    manifest = filled("training-job.yaml")
    work = workload(manifest)
    (container,) = work.containers
    assert (work.batch, work.spot) == (True, True)
    assert [(item.role, item.pinned) for item in work.artifacts] == [("image", True), ("dataset", True)]
    assert "--dataset-digest=sha256:" + "b" * 64 in container.arguments
    assert container.environment["OPENBLAS_NUM_THREADS"] == "1"
    security = manifest["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_the_declared_job_trains_on_the_local_target_and_gives_the_pinned_bytes(dataset, models, tmp_path):
    """The manifest as the workspace has it: code and data pinned, paths of the container, run as a process."""
    code = tmp_path / "trainer"
    shutil.copytree(TRAINING, code, ignore=shutil.ignore_patterns("__pycache__"))
    volumes = {"data": dataset.parent, "models": tmp_path / "models"}
    volumes["models"].mkdir()
    text = (FILES / "manifests" / "training-job.yaml").read_text()
    values = {"VERSION": "v2.1", "VERSION_SLUG": "v2-1", "SEED": "1", "TRAINER_DIGEST": tree(code).digest}
    manifest = yaml.safe_load(string.Template(text).substitute(values, DATASET_DIGEST=tree(dataset).digest))
    ref = ResourceRef.of(manifest)
    settings = LocalSettings(tmp_path / "state", volumes, {"apexlogic.com/fraud/trainer": code})
    target = LocalTarget(settings, SystemClock())
    target.start()
    try:
        (applied,) = target.apply([Action(ActionKind.CREATE, ref, manifest)])
        assert applied.ok, applied.message
        end = time.monotonic() + 20
        while (live := target.read([ref])[ref]).health.status is not HealthStatus.HEALTHY:
            assert time.monotonic() < end, live
            assert live.health.status is not HealthStatus.DEGRADED, live
            time.sleep(0.05)
    finally:
        target.stop()
    assert tree(volumes["models"] / "fraud-detection" / "v2.1").digest == tree(models / "v2.1").digest
    assert tree(code).digest == values["TRAINER_DIGEST"]
