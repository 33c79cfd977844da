"""The worker's bounds: a full queue, a model that takes too long, one that fails; and the logs' size."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "integration"))
from execution_onnx import logistic

from customhouse._kit.digest import tree
from customhouse.core.errors import StateError
from customhouse.execution.adapters.local import places
from customhouse.execution.adapters.local.model import OnnxModel, load
from customhouse.execution.adapters.local.places import Places
from customhouse.execution.adapters.local.serve import Worker
from customhouse.execution.adapters.local.wire import Request, Response

BODY = orjson.dumps({"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}]})


class Hindered(OnnxModel):
    """A real model whose every inference first waits for `gate`, or fails."""

    def __init__(self, model: OnnxModel, *, fails: bool = False) -> None:
        super().__init__(model._session, model.digest)
        self.gate = threading.Event()
        self.fails = fails

    def infer(self, feeds: Mapping[str, Any], outputs: Sequence[str], cancelled: threading.Event) -> list[Any]:
        if self.fails:
            raise RuntimeError("Non-zero status code returned while running Gemm node")
        assert self.gate.wait(5)
        return super().infer(feeds, outputs, cancelled)


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    (tmp_path / "model.onnx").write_bytes(logistic([1.0, 1.0], 0.0))
    return load(tmp_path, tree(tmp_path).digest, 1)


def _worker(model: OnnxModel, **settings: Any) -> Worker:
    config = {"model": "m", "threads": 1, "queue": 4, "timeout_s": 5, "release": "r", "id": "i", **settings}
    return Worker(config, model)


def _infer() -> Request:
    return Request("POST", "/v2/models/m/infer", {"customhouse-request-id": "q"}, BODY)


def test_a_full_queue_is_a_503_with_retry_after_and_the_others_are_answered(model: OnnxModel) -> None:
    hindered = Hindered(model)
    worker = _worker(hindered, queue=2)

    async def run() -> list[Response]:
        asked = [asyncio.ensure_future(worker.handle(_infer())) for _ in range(4)]
        await asyncio.sleep(0.05)
        hindered.gate.set()
        return list(await asyncio.gather(*asked))

    answers = asyncio.run(run())
    assert [answer.status for answer in answers] == [200, 200, 503, 503]
    assert ("retry-after", "1") in answers[2].headers
    assert worker.waiting == 0
    assert worker.traffic.errors == 2


def test_a_model_that_takes_too_long_is_a_504_and_keeps_its_place_until_it_is_done(model: OnnxModel) -> None:
    hindered = Hindered(model)
    worker = _worker(hindered, timeout_s=0.05)

    async def run() -> Response:
        answer = await worker.handle(_infer())
        assert worker.waiting == 1
        hindered.gate.set()
        while worker.waiting:
            await asyncio.sleep(0.01)
        return answer

    assert asyncio.run(run()).status == 504


def test_a_model_that_fails_is_a_500_that_tells_the_client_nothing_inner(
    model: OnnxModel, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = asyncio.run(_worker(Hindered(model, fails=True)).handle(_infer()))
    assert answer.status == 500
    assert b"Gemm" not in answer.body
    assert "Gemm" in capfd.readouterr().err


def test_metadata_readiness_and_metrics_are_served(model: OnnxModel) -> None:
    worker = _worker(model)

    async def get(path: str) -> Response:
        return await worker.handle(Request("GET", path, {}, b""))

    version = worker.version
    for path in (
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/m/ready",
        f"/v2/models/m/versions/{version}",
    ):
        assert asyncio.run(get(path)).status == 200, path
    described = orjson.loads(asyncio.run(get("/v2/models/m")).body)
    assert described["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 2]}]
    assert described["platform"] == "onnx_onnxv1"
    assert b"process_resident_memory_bytes" in asyncio.run(get("/metrics")).body
    for path in ("/v2/models/other", "/v2/models/m/versions/9", "/etc/passwd"):
        assert asyncio.run(get(path)).status == 404, path


def test_logs_stay_bounded_while_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_LOG", 1000)
    kept = Places.under(tmp_path)
    log = kept.log("prod", "fraud", "sha256:" + "ab" * 32)
    with open(log, "ab", buffering=0) as writer:
        writer.write(b"a" * 999 + b"\n" + b"b" * 999 + b"\n")
        kept.rotate()
        writer.write(b"after\n")
    assert log.read_bytes() == b"after\n"
    assert log.with_suffix(".log.1").read_bytes() == b"b" * 999 + b"\n"


def test_a_socket_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "local" / "s").mkdir(parents=True)
    (tmp_path / "local" / "s").chmod(0o777)
    with pytest.raises(StateError, match="this user alone"):
        Places.under(tmp_path)
