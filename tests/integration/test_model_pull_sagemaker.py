"""Models of a SageMaker registry (moto answers as Amazon documents it): the version, the approval, the files."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.app.model_pull import Pulled, pull
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.adapters.registries.s3 import S3Store
from customhouse.trust.adapters.registries.sagemaker import Package, SageMakerStore
from customhouse.trust.adapters.registries.sigv4 import Keys

pytestmark = pytest.mark.part("moto_server")
KEYS = Keys("tester", "a-secret-of-tests")


class Amazon:
    """One running moto server, and what a test needs to put into it."""

    def __init__(self, program: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with (folder / "moto.log").open("wb") as log:
            self._child = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        self.objects = S3Store(SystemClock(), KEYS, endpoint=self.url)
        self.registry = SageMakerStore(SystemClock(), KEYS, self.objects, region="us-east-1", endpoint=self.url)
        end = time.monotonic() + 120
        while time.monotonic() < end and self._child.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=10):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        else:
            raise AssertionError((folder / "moto.log").read_text()[-4000:])
        assert self.objects._ask("PUT", "models", "", {}).status == 200

    def ask(self, action: str, **body: Any) -> dict[str, Any]:
        return self.registry._ask(action, body, "a test")

    def version(self, group: str, key: str, content: bytes, folder: Path, approval: str) -> None:
        (folder / "upload").write_bytes(content)
        self.objects.put("models", key, folder / "upload")
        container = {"Image": "x", "ModelDataUrl": f"s3://models/{key}"}
        self.ask(
            "CreateModelPackage",
            ModelPackageGroupName=group,
            ModelApprovalStatus=approval,
            InferenceSpecification={
                "Containers": [container],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
        )

    def stop(self) -> None:
        self._child.terminate()
        self._child.wait(30)


@pytest.fixture(scope="module")
def amazon(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amazon]:
    running = Amazon(find_part("moto_server"), tmp_path_factory.mktemp("moto"))
    folder = tmp_path_factory.mktemp("uploads")
    running.ask("CreateModelPackageGroup", ModelPackageGroupName="fraud")
    running.version("fraud", "fraud/1/model.tar.gz", b"first", folder, "Approved")
    running.version("fraud", "fraud/2/model.tar.gz", b"second", folder, "PendingManualApproval")
    yield running
    running.stop()


@pytest.fixture
def get(amazon: Amazon, tmp_path: Path) -> Callable[..., Pulled]:
    environment = {
        "AWS_ENDPOINT_URL": amazon.url,
        "AWS_ACCESS_KEY_ID": KEYS.access,
        "AWS_SECRET_ACCESS_KEY": KEYS.secret,
    }

    def run(reference: str, out: str = "out", **more: Any) -> Pulled:
        settings = Settings(tmp_path / "state", environment=environment)
        return pull(settings, reference, str(tmp_path / out), **{"digest": None, "lock": None, **more})

    return run


def test_a_group_means_its_newest_approved_version_which_the_lock_keeps(amazon, get, tmp_path):
    lock = tmp_path / "lock.json"
    done = get("sagemaker://fraud", lock=str(lock))
    assert (tmp_path / "out" / "model.tar.gz").read_bytes() == b"first"
    assert done.reference.startswith("sagemaker://fraud/1@sha256:")
    assert done.claims["approval"] == "Approved"
    amazon.version("fraud", "fraud/3/model.tar.gz", b"third", tmp_path, "Approved")
    assert get("sagemaker://fraud", "again", lock=str(lock)).tree == done.tree
    assert get("sagemaker://fraud", "new").reference.startswith("sagemaker://fraud/3@")
    assert json.loads(lock.read_text())["pins"][0]["pin"]["store"].startswith("s3://models/fraud/1/")


def test_a_version_that_nobody_approved_comes_when_it_is_named_and_says_so(get, tmp_path):
    done = get("sagemaker://fraud/2")
    assert (tmp_path / "out" / "model.tar.gz").read_bytes() == b"second"
    assert done.claims["approval"] == "PendingManualApproval"


def test_what_is_not_there_is_told(get):
    with pytest.raises(ArtifactError, match="no version 99"):
        get("sagemaker://fraud/99")
    with pytest.raises(ArtifactError):
        get("sagemaker://absent")


@pytest.mark.parametrize(
    "text", ["sagemaker://", "sagemaker://a/b", "sagemaker://a/1/2", "sagemaker://-a", "sagemaker://a/1?x"]
)
def test_what_is_no_model_package_is_refused(text):
    with pytest.raises(UsageError):
        Package.parse(text)
