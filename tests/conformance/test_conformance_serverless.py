"""`cost serverless` on the given traces of requests: exact money, every request counted, the cheapest named."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from customhouse.cli.program import root

SERVICE = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: coder
  namespace: llm
  annotations:
    customhouse.dev/cold-start-seconds: "45"
    customhouse.dev/throughput-tokens-per-second: "400"
spec:
  predictor:
    minReplicas: 0
    maxReplicas: 16
    containerConcurrency: 8
    nodeSelector: {nvidia.com/gpu.product: NVIDIA-L4}
    model:
      modelFormat: {name: onnx}
      storageUri: pvc://models/coder
      resources:
        requests: {cpu: "4", memory: 16Gi, nvidia.com/gpu: "1"}
        limits: {cpu: "4", memory: 16Gi, nvidia.com/gpu: "1"}
"""


def _asked(folder: Path, trace: Path, *more: str) -> Any:
    (folder / "service.yaml").write_text(SERVICE)
    words = ["cost", "serverless", str(folder), "--requests", str(trace), "-o", "json", *more]
    done = CliRunner().invoke(root, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize(("name", "requests"), [("code", 4409), ("conv", 9683)])
def test_a_given_trace_is_priced_exactly_in_every_way(
    tmp_path: Path, shared_data: Path, name: str, requests: int
) -> None:
    found = _asked(tmp_path, shared_data / "load" / f"azure_llm_2023_{name}.csv.gz")
    assert found["requests"] == requests
    assert found["unpriced"] == []
    month = Decimal(found["replica_monthly"])
    ways = {way["way"]: way for way in found["ways"]}
    assert list(ways) == ["always-on", "knative", "keda-http", "keda", "hpa"]
    for way in ways.values():
        exact = month * round(way["replica_seconds"] * 1000) / (730 * 3600 * 1000)
        assert abs(Decimal(way["cost"]) - exact) <= Decimal("1e-12")
        assert way["peak"] <= 16
        assert way["monthly_low"] is None, "half an hour says nothing of the spread over days"
    assert Decimal(ways["always-on"]["monthly"]) == month * ways["always-on"]["replicas"]
    assert ways["always-on"]["delay"]["p99"] <= 1.0
    assert [way["way"] for way in ways.values() if way["declared"]] == ["knative"]
    # By the trace itself: with a start of 45 s and bursts of several seconds, following requests costs more than the
    # few replicas that bear them, and it answers later.
    assert found["cheapest"] == found["cheapest_in_time"] == "always-on"
    assert 0 < found["break_even"]["factor"] < 1
    rare = _asked(tmp_path, shared_data / "load" / f"azure_llm_2023_{name}.csv.gz", "--always-on", "16")
    assert rare["cheapest"] != "always-on"


def test_what_is_missing_is_asked_for(tmp_path: Path, shared_data: Path) -> None:
    (tmp_path / "service.yaml").write_text(SERVICE.replace("customhouse.dev/cold-start-seconds", "a/b"))
    trace = str(shared_data / "load" / "azure_llm_2023_code.csv.gz")
    done = CliRunner().invoke(root, ["cost", "serverless", str(tmp_path), "--requests", trace])
    assert "cold-start-seconds" in str(done.exception)
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j, namespace: jobs}\nspec: {template: {spec: {}}}\n"
    (tmp_path / "service.yaml").write_text(job)
    done = CliRunner().invoke(root, ["cost", "serverless", str(tmp_path), "--requests", trace])
    assert "0 workloads could be meant" in str(done.exception), "a Job answers no requests"
    (tmp_path / "service.yaml").write_text(SERVICE.replace("NVIDIA-L4", "NVIDIA-NOSUCH"))
    words = ["cost", "serverless", str(tmp_path), "--requests", trace, "-o", "json"]
    document = json.loads(CliRunner().invoke(root, words, catch_exceptions=False).stdout)
    assert document["unpriced"]
    assert document["cheapest"] is None, "no winner by prices that are not known"
