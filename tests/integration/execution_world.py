"""A folder with models, a local target on it, and clients: what the integration tests of execution share."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from execution_onnx import logistic

from customhouse._kit.clock import SystemClock
from customhouse._kit.digest import tree
from customhouse.core.plan import Action, ActionKind, ActionResult, HealthStatus, LiveObject
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget

ROW = [0.1, 0.2, 0.3]
INFER = {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "data": ROW}]}


def service(
    digest: str, path: str, *, name: str = "fraud", limits: dict[str, str] | None = None, **predictor: Any
) -> Any:
    """An InferenceService in namespace prod."""
    model = {
        "modelFormat": {"name": "onnx"},
        "storageUri": f"pvc://models/{path}",
        "resources": {"limits": limits or {"cpu": "1", "memory": "512Mi"}},
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "prod", "annotations": {"customhouse.dev/model-digest": digest}},
        "spec": {"predictor": {"minReplicas": 1, "model": model, **predictor}},
    }


class World:
    """Models v1 and v2 (which answer differently), and a target that can be started more than once."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.models = root / "models"
        for version, bias in (("v1", 0.5), ("v2", -0.5)):
            (self.models / version).mkdir(parents=True)
            (self.models / version / "model.onnx").write_bytes(logistic([1.0, 2.0, 3.0], bias))
        self.settings = LocalSettings(state=root / "state", volumes={"models": self.models}, **settings)
        self.target = LocalTarget(self.settings, SystemClock())

    def manifest(self, version: str, **more: Any) -> Any:
        return service(tree(self.models / version).digest, version, **more)

    def apply(self, manifest: Any) -> ActionResult:
        action = Action(ActionKind.PATCH, ResourceRef.of(manifest), manifest)
        return self.target.apply([action])[0]

    def live(self, manifest: Any) -> LiveObject:
        ref = ResourceRef.of(manifest)
        return self.target.read([ref])[ref]

    def until(self, manifest: Any, status: HealthStatus = HealthStatus.HEALTHY, seconds: float = 60.0) -> LiveObject:
        return eventually(
            lambda: (live := self.live(manifest)).health.status is status and live,
            seconds,
            lambda: live_of(self, manifest),
        )

    def serve(self, manifest: Any) -> LiveObject:
        result = self.apply(manifest)
        assert result.ok, result.message
        return self.until(manifest)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.target.port, timeout=10)
        try:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", path, data, {"content-type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
            found = {key.lower(): value for key, value in answer.getheaders()}
            return answer.status, found, json.loads(content) if found["content-type"] == "application/json" else content
        finally:
            connection.close()

    def infer(self, name: str = "fraud") -> tuple[int, dict[str, str], Any]:
        return self.post(f"/prod/{name}/v2/models/{name}/infer", INFER)

    def answer(self) -> float:
        """The probability that the service gives for ROW: 0.87 is v1, 0.71 is v2."""
        status, _, body = self.infer()
        assert status == 200, body
        return round(body["outputs"][0]["data"][0], 2)

    def replicas(self, manifest: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = list(self.live(manifest).status["local"]["replicas"])
        return found


def live_of(world: World, manifest: Any) -> Any:
    live = world.live(manifest)
    return live.health, live.status["local"], world.target.problem


def eventually(probe: Callable[[], Any], seconds: float = 60.0, explain: Callable[[], Any] = lambda: "") -> Any:
    """The first true answer of `probe`; fails with `explain()` when none comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {explain()}")


class Load:
    """Keep-alive clients that infer without a pause and count every answer and every failure."""

    def __init__(self, world: World, clients: int = 2) -> None:
        self.statuses: dict[Any, int] = {}
        self.releases: dict[str, int] = {}
        self._world = world
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.total() > 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def total(self) -> int:
        return sum(self.statuses.values())

    @property
    def failed(self) -> dict[Any, int]:
        return {key: count for key, count in self.statuses.items() if key != 200}

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._world.target.port, timeout=20)
        body = json.dumps(INFER).encode()
        while not self._stop.is_set():
            try:
                connection.request(
                    "POST", "/prod/fraud/v2/models/fraud/infer", body, {"content-type": "application/json"}
                )
                answer = connection.getresponse()
                answer.read()
                key: Any = answer.status
                release = answer.getheader("customhouse-release", "")
            except (OSError, http.client.HTTPException) as error:
                key, release = repr(error), ""
                connection.close()
            with self._lock:
                self.statuses[key] = self.statuses.get(key, 0) + 1
                self.releases[release] = self.releases.get(release, 0) + 1
            time.sleep(0.002)
        connection.close()
