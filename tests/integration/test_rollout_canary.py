"""A canary on real parts: trained models, the local target's weights, live labelled traffic, and the analysis."""

from __future__ import annotations

import http.client
import itertools
import json
import string
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import customhouse
from customhouse._kit.clock import SystemClock
from customhouse._kit.digest import tree
from customhouse.control.rollout import Move, advance, arm_stats, begin, overlay, plan_of
from customhouse.core.plan import Action, ActionKind, HealthStatus
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget

FILES = Path(customhouse.__file__).parent / "app" / "demo" / "files"
DATASET = "sha256:" + "b" * 64


def run(name: str, *arguments: object) -> None:
    command = [sys.executable, "-B", str(FILES / "training" / name), *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


class Shop:
    """The service, its target, and shoppers whose purchases turn out to be fraud or not."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, SystemClock()
        run("generate.py", "--out", root / "data", "--rows", 8000)
        for version in ("v2.0", "v2.1", "v2.2"):
            run(
                "train.py",
                "--dataset",
                root / "data",
                "--out",
                root / "fraud-detection" / version,
                "--variant",
                version,
            )
        lines = (root / "data" / "live.csv").read_text().splitlines()[1:]
        rows = [[float(value) for value in line.split(",")] for line in lines]
        self.purchases = itertools.cycle([(row[:8], int(row[9])) for row in rows])
        self.failed = self.sent = 0
        self.target = LocalTarget(LocalSettings(state=root / "state", volumes={"models": root}), self.clock)
        self.target.start()
        self.connection = http.client.HTTPConnection("127.0.0.1", self.target.port, timeout=10)

    def manifest(self, version: str):
        values = {
            "VERSION": version,
            "VERSION_SLUG": version.replace(".", "-"),
            "MODEL_DIGEST": tree(self.root / "fraud-detection" / version).digest,
            "DATASET_DIGEST": DATASET,
            "CPU": "1",
            "MEMORY": "256Mi",
        }
        text = (FILES / "manifests" / "inference-service.yaml").read_text()
        return yaml.safe_load(string.Template(text).substitute(values))

    def apply(self, manifest):
        ref = ResourceRef.of(manifest)
        (result,) = self.target.apply([Action(ActionKind.PATCH, ref, manifest)])
        assert result.ok, result.message
        end = time.monotonic() + 60
        while (live := self.target.read([ref])[ref]).health.status is not HealthStatus.HEALTHY:
            assert time.monotonic() < end, live.health
            time.sleep(0.02)
        return live.status["local"]

    def post(self, path: str, body) -> tuple[int, str]:
        self.connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = self.connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("customhouse-request-id", "")

    def shop(self, count: int) -> None:
        base = "/fraud/fraud-detection"
        for features, label in itertools.islice(self.purchases, count):
            tensor = {"name": "input", "shape": [1, 8], "datatype": "FP32", "data": features}
            status, request = self.post(f"{base}/v2/models/fraud-detection/infer", {"inputs": [tensor]})
            self.sent += 1
            self.failed += status != 200
            assert self.post(f"{base}/feedback", {"id": request, "label": label})[0] == 200

    def canary(self, version: str, way: str = "canary"):
        """Walk the declared rollout to its end; the last verdict and the live status then."""
        manifest = self.manifest(version)
        manifest["metadata"]["annotations"]["customhouse.dev/rollout"] = way
        if way != "canary":
            manifest["metadata"]["annotations"].pop("customhouse.dev/rollout-steps", None)
        ref = ResourceRef.of(manifest)
        before = self.target.read([ref])[ref].status["local"]["stable"]
        plan = replace(plan_of(manifest), latency_increase_s=5.0)  # two busy cores: time is not what is tested here
        state = begin(plan, ref, stable=before, candidate="sha256:" + "0" * 64, now=self.clock.now())
        status = self.apply(overlay(manifest, state))
        state = replace(state, candidate=status["candidate"])
        for _ in range(200):
            seen = self.target.observe()
            ours, theirs = (arm_stats(seen, release, ref) for release in (state.candidate, state.stable))
            state, verdict = advance(state, ours, theirs, self.clock.now())
            if verdict.move in (Move.STEP, Move.PROMOTE):
                self.apply(overlay(manifest, state))
            if verdict.move in (Move.PROMOTE, Move.ABORT):
                return verdict, state
            self.shop(40)
        raise AssertionError(verdict)


@pytest.fixture
def shop(tmp_path):
    found = Shop(tmp_path)
    yield found
    found.connection.close()
    found.target.stop()


def test_a_better_version_is_promoted_and_a_worse_one_rolled_back_without_a_failed_request(shop):
    first = shop.manifest("v2.0")
    shop.apply(first)
    shop.shop(20)

    verdict, promoted = shop.canary("v2.1")
    assert verdict.move is Move.PROMOTE, verdict
    assert shop.apply(shop.manifest("v2.1"))["stable"] == promoted.candidate
    shop.shop(20)

    verdict, state = shop.canary("v2.2")
    assert verdict.move is Move.ABORT, verdict
    assert verdict.reason.startswith("log-loss")
    status = shop.apply(shop.manifest("v2.1"))
    assert (status["stable"], status["candidate"]) == (promoted.candidate, None)
    before = arm_stats(shop.target.observe(), state.candidate).requests
    shop.shop(40)
    assert arm_stats(shop.target.observe(), state.candidate).requests in (before, 0)

    pids = {item["pid"] for item in status["replicas"]}
    verdict, state = shop.canary("v2.2", "blue-green")
    assert verdict.move is Move.ABORT, verdict
    assert "at 100 %" in verdict.reason
    assert "of stable" in verdict.reason
    status = shop.apply(shop.manifest("v2.1"))
    assert status["stable"] == promoted.candidate
    assert {item["pid"] for item in status["replicas"]} == pids, "the version before was kept running, not started anew"
    assert shop.sent > 500
    assert shop.failed == 0
