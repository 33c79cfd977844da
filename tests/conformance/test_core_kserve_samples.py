"""KServe's own samples are read: every InferenceService, with its model and what it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse._kit.canonical import canonical_json
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.core.workload import workload


@pytest.fixture(scope="module")
def objects(shared_data: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    return list(_read(shared_data / "manifests" / "kserve__kserve"))


def _read(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for path in sorted(folder.rglob("*.yaml")):
        try:
            documents = list(yaml.load_all(path.read_bytes(), yaml.CSafeLoader))
        except yaml.YAMLError:  # a Helm template or a sample with placeholders: control.render judges those
            continue
        for document in documents:
            if isinstance(document, dict) and {"apiVersion", "kind", "metadata"} <= set(document):
                yield path, document


def test_every_inference_service_names_a_model_or_an_image(objects: list[tuple[Path, Mapping[str, Any]]]) -> None:
    services = [(path, item) for path, item in objects if item["kind"] == "InferenceService"]
    assert len(services) >= 30
    without = []
    for path, manifest in services:
        found = workload(manifest)
        assert found is not None, path
        assert found.ref.kind == "InferenceService"
        assert found.replicas_min <= found.replicas_max
        if not found.artifacts:
            without.append(path.name)
    # A runtime that brings its own model (a Hugging Face argument, a custom predictor) names neither.
    assert len(without) <= len(services) // 4, without


def test_samples_that_ask_for_gpus_are_seen_to_ask_for_them(objects: list[tuple[Path, Mapping[str, Any]]]) -> None:
    asking = [
        (path, manifest)
        for path, manifest in objects
        if manifest["kind"] == "InferenceService" and "nvidia.com/gpu" in canonical_json(manifest).decode()
    ]
    assert asking
    for path, manifest in asking:
        found = workload(manifest)
        assert found is not None
        assert found.accelerators >= 1, path
        assert found.accelerator is not None, path


def test_no_sample_is_a_crash_and_each_has_a_digest(objects: list[tuple[Path, Mapping[str, Any]]]) -> None:
    read = refused = 0
    for path, manifest in objects:
        metadata = manifest["metadata"]
        if not isinstance(metadata, Mapping) or "name" not in metadata:
            continue  # generateName: it has no name before it is created
        declared = Declaration(ResourceRef.of(manifest), manifest, Location(str(path)))
        assert declared.digest.startswith("sha256:")
        try:
            workload(manifest)
            read += 1
        except DeclarationError:
            refused += 1
    assert read >= 100
    assert refused == 0
