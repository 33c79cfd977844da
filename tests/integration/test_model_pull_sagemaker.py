"""Models of a SageMaker registry (moto answers as Amazon documents it): the version, the approval, the files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amazon_server import Amazon
from customhouse.app.model_pull import Pulled, pull
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.adapters.registries.sagemaker import Package

pytestmark = pytest.mark.part("moto_server")


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
    def run(reference: str, out: str = "out", **more: Any) -> Pulled:
        settings = Settings(tmp_path / "state", environment=amazon.environment)
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
