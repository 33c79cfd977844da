"""Versions of frameworks against the range that customhouse.yaml declares, through the whole gate."""

from __future__ import annotations

import json

import pytest

from customhouse.cli.program import run

CONFIG = """\
apiVersion: customhouse.dev/v1
policy:
  requireSignedCommits: false
  frameworks: {pytorch: {min: "2.4", below: "2.8"}}
"""
JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: train, annotations: {purpose: training, customhouse.dev/framework: "FRAMEWORK"}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: "IMAGE"}]}}}
"""


@pytest.mark.parametrize(
    ("framework", "image", "refused"),
    [
        ("pytorch 2.5.1", "registry.example.com/train:1", 0),
        ("", "pytorch/pytorch:2.5.1-cuda12", 0),
        ("jax 0.1", "registry.example.com/train:1", 0),
        ("PyTorch==2.3", "registry.example.com/train:1", 1),
        ("", "pytorch/pytorch:2.8", 1),
        ("", "pytorch/pytorch:latest", 1),
        ("pytorch 2.5.1", "pytorch/pytorch:2.10.0", 1),  # the annotation does not speak for the image
        ("pytorch 2.3, pytorch 2.9", "pytorch/pytorch:2.10.0", 3),
    ],
)
def test_a_version_outside_of_the_range_is_refused(tmp_path, monkeypatch, capsys, framework, image, refused):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "customhouse.yaml").write_text(CONFIG)
    (tmp_path / "job.yaml").write_text(JOB.replace("FRAMEWORK", framework).replace("IMAGE", image))
    assert run(["gate", "--config", "customhouse.yaml", "job.yaml", "-o", "json"]) == 1  # not pinned, for one
    found = [item["rule"] for item in json.loads(capsys.readouterr().out)["findings"]]
    assert found.count("framework-version") == refused
