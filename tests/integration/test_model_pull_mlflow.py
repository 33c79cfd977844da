"""Models from a real MLflow server: an alias becomes a version once, a moved alias and a changed file are seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.digest import bytes_digest, tree
from customhouse.app import wiring_stores
from customhouse.app.model_pull import Pulled, pull
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError, CustomhouseError, UsageError
from customhouse.trust.adapters.registries.mlflow import Address
from mlflow_server import MlflowServer
from s3_store import ObjectStore

pytestmark = [pytest.mark.part("mlflow"), pytest.mark.timeout(600)]
FILES = {"MLmodel": b"flavors: {}\n", "data/model.onnx": b"weights", "data/deep/a b.txt": b"odd name"}


@pytest.fixture
def server(mlflow_server: MlflowServer) -> MlflowServer:
    return mlflow_server


@pytest.fixture
def get(server: MlflowServer, tmp_path: Path) -> Callable[..., Pulled]:
    def run(reference: str, out: str = "out", **more: Any) -> Pulled:
        environment = {"MLFLOW_TRACKING_URI": server.url, **more.pop("environment", {})}
        settings = Settings(tmp_path / more.pop("state", "state"), environment=environment)
        return pull(settings, reference, str(tmp_path / out), **{"digest": None, "lock": None, **more})

    return run


def test_an_alias_becomes_a_version_once_and_its_files_come_whole(server, get, tmp_path):
    first = server.version("fraud", FILES)
    server.alias("fraud", "champion", first)
    lock = str(tmp_path / "lock.json")
    done = get("models:/fraud@champion", lock=lock)
    came = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in came} == FILES
    assert done.reference == f"mlflow://{server.host}/fraud/{first}@{tree(tmp_path / 'out').digest}"
    assert {pin.path: pin.digest for pin in done.pins} == {k: bytes_digest(v) for k, v in FILES.items()}
    assert done.claims["version"] == first
    # The alias moves: the lock still gives what was reviewed, a pull without it gives the new one.
    second = server.version("fraud", {"data/model.onnx": b"other weights"})
    server.alias("fraud", "champion", second)
    assert get("models:/fraud@champion", "again", lock=lock).tree == done.tree
    assert get(f"mlflow://{server.host}/fraud@champion", "new").reference.partition("@")[0].endswith(f"/{second}")


def test_a_file_that_was_swapped_behind_a_version_is_found(server, get, tmp_path):
    version = server.version("swapped", {"model.onnx": b"reviewed!"})
    lock = str(tmp_path / "lock.json")
    get(f"models:/swapped/{version}", lock=lock)
    found = wiring_stores.mlflow(Settings(tmp_path / "x", environment={})).locate(
        f"mlflow://{server.host}/swapped/{version}"
    )
    server.call("PUT", f"mlflow-artifacts/artifacts/{found.files[0].pin['artifact']}", b"exchanged")
    with pytest.raises(CustomhouseError, match="was expected"):
        get(f"models:/swapped/{version}", "later", lock=lock, state="another machine")
    assert not (tmp_path / "later").exists()


@pytest.mark.part("versitygw")
def test_files_that_lie_in_an_object_store_come_from_there_by_their_version(server, find_part, tmp_path, get):
    (tmp_path / "s3").mkdir()
    store = ObjectStore(find_part("versitygw"), tmp_path / "s3")
    try:
        store.bucket("artifacts", versioned=True)
        (tmp_path / "model.onnx").write_bytes(b"in a bucket")
        store.client.put("artifacts", "runs/1/model.onnx", tmp_path / "model.onnx")
        version = server.version("stored", {}, source="s3://artifacts/runs/1")
        done = get(f"models:/stored/{version}", environment=store.environment)
        assert (tmp_path / "out" / "model.onnx").read_bytes() == b"in a bucket"
        assert done.pins[0].pin["version"]
        assert done.claims["stored"] == "s3"
    finally:
        store.stop()


def test_what_is_not_there_and_what_is_not_read_here_is_told(server, get):
    with pytest.raises(ArtifactError, match="RESOURCE_DOES_NOT_EXIST"):
        get("models:/absent/1")
    with pytest.raises(ArtifactError, match="INVALID_PARAMETER_VALUE"):
        get("models:/fraud@nobody")
    version = server.version("elsewhere", {}, source="gs://bucket/model")
    with pytest.raises(ArtifactError, match="gs:, which is not read here"):
        get(f"models:/elsewhere/{version}")
    with pytest.raises(UsageError, match="of which server"):
        get("models:/fraud/1", environment={"MLFLOW_TRACKING_URI": ""})


def test_a_registry_that_answers_strangers_is_told(server, tmp_path):
    told = wiring_stores.mlflow(Settings(tmp_path, environment={"MLFLOW_TRACKING_URI": server.url})).exposure(
        server.host
    )
    assert told.public_write is True
    assert "whoever reaches it" in told.notes[0]


@pytest.mark.parametrize(
    "text", ["mlflow://h/x", "mlflow:///x/1", "mlflow://h/a/b/1", "mlflow://h/x@", "mlflow://h/x/1?y"]
)
def test_what_is_no_model_of_mlflow_is_refused(text):
    with pytest.raises(UsageError):
        Address.parse(text)
