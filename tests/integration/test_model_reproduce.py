"""`model reproduce` on the example: the same bytes again; other code, rows, metrics and strangers are told apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from control_repository import git
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from customhouse._kit import process
from customhouse.cli.program import run

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "reproducible-training"
MODEL = "artifacts/line/v1"
Command = Callable[..., tuple[int, str]]


def train(root: Path, *more: str) -> None:
    process.run(["python3", "train/fit.py", "--rows", "data/rows", "--out", MODEL, *more], cwd=root)


def attest(root: Path, key: str = "release.key") -> None:
    assert run(["model", "attest", MODEL, "--key", key, "--job", "jobs/train-line.yaml", "-q"]) == 0
    assert (root / ".evidence").is_dir()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as a repository of its own, trained and attested."""
    root = tmp_path_factory.mktemp("reproduce") / "repository"
    shutil.copytree(EXAMPLE, root)
    (root / "jobs").mkdir()
    for name in ("train-line.yaml", "clean-rows.yaml"):
        (root / name).rename(root / "jobs" / name)
    for name in ("release", "stranger"):
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (root / f"{name}.key").write_bytes(pem)
        (root / f"{name}.key").chmod(0o600)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (root / f"{name}.pub").write_bytes(public)
    (root / ".gitignore").write_text("*.key\nartifacts/\n.customhouse/\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "The Job")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        train(root)
        attest(root)
    return root


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    shutil.copytree(trained, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def said(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = run(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out if status in (0, 1) else printed.err

    return said


def reproduced(command: Command, *arguments: str) -> tuple[int, Any]:
    status, said = command("model", "reproduce", MODEL, *arguments, "-o", "json")
    return status, json.loads(said) if status in (0, 1) else said


def test_the_same_inputs_give_the_same_bytes_and_provenance_is_as_expected(place: Path, command: Command) -> None:
    status, said = reproduced(command)
    assert (status, said["identical"]) == (0, True), said
    assert said["digest"] == said["expected"]
    (bundle,) = place.glob(".evidence/*/provenance.sigstore.json")
    checked, _ = command("model", "provenance", str(bundle), "--artifact", "pvc://models/line/v1")
    assert checked == 0


def test_a_model_that_another_seed_made_is_not_reproduced_unless_a_metric_may_be_off(
    place: Path, command: Command
) -> None:
    train(place, "--seed", "2")
    attest(place)
    status, said = reproduced(command, "--tolerance", "holdout.mean_error=5")
    assert (status, said["identical"], said["differing"]) == (0, False, ["metrics.json", "model.json"])
    (metric,) = said["metrics"]
    assert metric["within"] is True
    assert metric["before"] != metric["after"]
    status, said = reproduced(command, "--tolerance", "holdout.mean_error=0")
    assert status == 1


def test_rows_that_changed_are_not_the_rows(place: Path, command: Command) -> None:
    with (place / "data" / "rows" / "rows.csv").open("a") as rows:
        rows.write("1,1\n")
    status, said = reproduced(command)
    assert status == 3
    assert "is at no path that the Job's command names" in said


def test_code_that_changed_later_is_taken_from_the_commit_that_declared_the_job(place: Path, command: Command) -> None:
    (place / "train" / "fit.py").write_text("raise SystemExit(1)\n")
    job = place / "jobs" / "train-line.yaml"
    job.write_text(job.read_text().replace("--seed=1", "--seed=9"))
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "Other code, another Job")
    status, said = reproduced(command)
    assert (status, said["identical"]) == (0, True)
    status, said = reproduced(command, "--commit", "HEAD")
    assert status == 3
    assert "declares the Job models/train-line" in said


def test_what_a_stranger_signed_is_not_run(place: Path, command: Command) -> None:
    attest(place, "stranger.key")
    status, said = reproduced(command)
    assert status == 3
    assert "not believed" in said


def test_a_job_that_does_not_end_in_time_decides_nothing(place: Path, command: Command) -> None:
    status, said = reproduced(command, "--limit", "0.001")
    assert status == 3
    assert "did not end within" in said


@pytest.mark.parametrize("text", ["auc", "auc=", "=1", "auc=-1", "auc=nan", "auc=x"])
def test_a_tolerance_is_a_metric_and_a_number(place: Path, command: Command, text: str) -> None:
    assert command("model", "reproduce", MODEL, "--tolerance", text)[0] == 2


def prepared(command: Command, *more: str) -> tuple[int, Any]:
    status, said = command("data", "prepare", "clean-rows", "--key", "release.key", *more, "-o", "json")
    return status, json.loads(said) if status == 0 else said


def test_a_preparation_job_attests_what_it_made_of_what_and_the_ledger_traces_it(place: Path, command: Command) -> None:
    shutil.rmtree(place / "data" / "rows")
    status, said = prepared(command)
    assert status == 0, said
    (bundle,) = said["files"]
    status, out = command("model", "provenance", bundle, "-o", "json")
    found = json.loads(out)
    assert (status, found["subject"], found["level"]) == (0, said["outputs"]["rows"], 1)
    assert found["provenance"]["buildType"] == "https://customhouse.dev/build/data-preparation/v1"
    materials = {item["name"]: item["digest"] for item in found["provenance"]["materials"][:1]}
    assert materials == {"dataset": {"sha256": said["inputs"]["raw"].removeprefix("sha256:")}}
    assert found["provenance"]["source"]["commit"] == said["commit"]
    status, out = command("trace", said["outputs"]["rows"], "-o", "json")
    assert {f"dataset:{said['inputs']['raw']}", f"dataset:{said['outputs']['rows']}"} <= {
        node["id"] for node in json.loads(out)["nodes"]
    }
    # What it made is what the training Job is declared for.
    assert reproduced(command)[0] == 0


def test_a_preparation_of_other_data_or_over_other_data_is_refused(place: Path, command: Command) -> None:
    rows = place / "data" / "rows" / "rows.csv"
    rows.write_text("x,y\n1,1\n")
    status, said = prepared(command)
    assert (status, "holds another rows" in said) == (3, True), said
    assert rows.read_text() == "x,y\n1,1\n"
    assert prepared(command, "--replace")[0] == 0
    assert rows.read_bytes() == (EXAMPLE / "data" / "rows" / "rows.csv").read_bytes()
    with (place / "data" / "raw" / "rows.csv").open("a") as raw:
        raw.write("500,1\n")
    status, said = prepared(command)
    assert (status, "is declared" in said) == (3, True), said


def test_provenance_names_the_commit_that_holds_the_job_and_none_where_the_file_is_another(
    place: Path, command: Command
) -> None:
    (bundle,) = place.glob(".evidence/*/provenance.sigstore.json")
    _, said = command("model", "provenance", str(bundle), "-o", "json")
    assert git(place, "rev-parse", "HEAD") in said
    job = place / "jobs" / "train-line.yaml"
    job.write_text(job.read_text() + "# not committed\n")
    attest(place)
    _, said = command("model", "provenance", str(bundle), "-o", "json")
    assert git(place, "rev-parse", "HEAD") not in said
