"""Objects that real projects publish: each has a projection, and it is that of the live object too."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml

from customhouse._kit.canonical import canonical_json
from customhouse.policy.projection import project
from policy_cases import served

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_FILE = 40_000


@pytest.fixture(scope="module")
def objects(shared_data):
    found = []
    for path in sorted((shared_data / "manifests").rglob("*.yaml")):
        if path.stat().st_size > MAX_FILE:
            continue
        try:
            documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=_LOADER))
        except yaml.YAMLError:
            continue  # templates
        found.extend((path.name, item) for item in documents if _is_object(item))
    return found


def _is_object(item):
    return isinstance(item, dict) and {"apiVersion", "kind"} <= item.keys() and (item.get("metadata") or {}).get("name")


def test_every_published_object_has_a_projection_equal_to_that_of_its_live_form(objects):
    kinds = Counter()
    for name, item in objects:
        file = project(item)
        live = project(served(item))
        assert canonical_json(live) == canonical_json(file), f"{name}: {item['kind']} {item['metadata']['name']}"
        kinds[item["kind"]] += 1
    assert kinds["InferenceService"] > 50
    assert sum(kinds.values()) > 400


def test_no_kind_that_runs_containers_is_overlooked(objects):
    running = Counter(item["kind"] for _, item in objects if project(item)["workload"] is not None)
    assert {
        "InferenceService",
        "Deployment",
        "Job",
        "Pod",
        "ClusterServingRuntime",
        "LLMInferenceService",
    } <= running.keys()
