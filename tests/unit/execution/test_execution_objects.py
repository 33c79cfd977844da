"""Reading of InferenceServices and Jobs: what makes a new release, and how a Job's paths are translated."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from customhouse.core.errors import DeclarationError, TargetError
from customhouse.execution.adapters.local.jobs import translate
from customhouse.execution.objects import release_of, serving

DIGEST = "sha256:" + "ab" * 32
SERVICE: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "fraud", "namespace": "prod", "annotations": {"customhouse.dev/model-digest": DIGEST}},
    "spec": {"predictor": {"minReplicas": 2, "model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://m/a/b"}}},
}


def _with(change: dict[str, Any]) -> dict[str, Any]:
    manifest = copy.deepcopy(SERVICE)
    manifest["spec"]["predictor"].update(change)
    return manifest


def test_scale_and_traffic_make_no_new_release_but_everything_else_does() -> None:
    for same in ({"minReplicas": 5}, {"maxReplicas": 9}, {"canaryTrafficPercent": 10}):
        assert release_of(_with(same)) == release_of(SERVICE)
    labelled = copy.deepcopy(SERVICE)
    labelled["metadata"]["labels"] = {"a": "b"}
    assert release_of(labelled) == release_of(SERVICE)
    repinned = copy.deepcopy(SERVICE)
    repinned["metadata"]["annotations"]["customhouse.dev/model-digest"] = "sha256:" + "cd" * 32
    assert release_of(repinned) != release_of(SERVICE)
    assert release_of(_with({"timeout": 5})) != release_of(SERVICE)


def test_a_predictor_is_read_with_its_defaults() -> None:
    read = serving(SERVICE)
    assert (read.claim, read.path, read.digest, read.replicas) == ("m", "a/b", DIGEST, 2)
    assert (read.percent, read.timeout_s, read.queue) == (None, 30, 64)


@pytest.mark.parametrize(
    ("model", "pointer"),
    [
        ({"modelFormat": {"name": "sklearn"}}, "/modelFormat/name"),
        ({"storageUri": "s3://bucket/model"}, "/storageUri"),
        ({"storageUri": "pvc://m/../../etc"}, "/storageUri"),
        ({"storageUri": "pvc://m/a//b"}, "/storageUri"),
    ],
)
def test_what_cannot_be_served_is_refused_at_its_place(model: dict[str, Any], pointer: str) -> None:
    manifest = _with({"model": {**SERVICE["spec"]["predictor"]["model"], **model}})
    with pytest.raises(DeclarationError) as error:
        serving(manifest)
    assert error.value.where.endswith(pointer)


MOUNTS = {"/mnt/data": "/vol/a", "/mnt/data/deep": "/vol/b", "/mnt/out": "/vol/c"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("/mnt/data", "/vol/a"),
        ("/mnt/data/x.csv", "/vol/a/x.csv"),
        ("--data=/mnt/data/x", "--data=/vol/a/x"),
        ("/mnt/data/deep/x", "/vol/b/x"),
        ("/mnt/data:/mnt/out", "/vol/a:/vol/c"),
        ("/mnt/database", "/mnt/database"),
        ("/other/mnt/data", "/other/mnt/data"),
        ("plain", "plain"),
        ('{"path": "/mnt/out/m"}', '{"path": "/vol/c/m"}'),
    ],
)
def test_mount_paths_are_translated_only_where_a_path_begins(word: str, expected: str) -> None:
    assert translate(word, MOUNTS) == expected


def test_a_path_that_climbs_out_of_its_mount_is_refused() -> None:
    for word in ("/mnt/data/../../etc/passwd", "--x=/mnt/out/a/../../b"):
        with pytest.raises(TargetError, match="leads out"):
            translate(word, MOUNTS)
