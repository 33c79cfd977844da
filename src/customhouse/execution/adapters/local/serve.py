"""The worker: serves one verified model over the Open Inference Protocol v2 on a unix socket.

Source: KServe `specification/protocol/inference_rest.md`. It is reached through the gateway only.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from customhouse._kit.digest import Tree
from customhouse._kit.process import ProgramError, ProgramMissingError, run
from customhouse.core.errors import ArtifactError, CustomhouseError
from customhouse.execution.adapters.local import tenancy
from customhouse.execution.adapters.local.meter import Traffic, exposition, samples
from customhouse.execution.adapters.local.model import Check, OnnxModel, load
from customhouse.execution.adapters.local.processes import consumption
from customhouse.execution.adapters.local.tensors import InvalidRequestError, decode, encode, prediction
from customhouse.execution.adapters.local.wire import Request, Response, Server

LIVE_SETTINGS = ("memory_limit", "queue", "timeout_s")
"""What a running worker takes from its configuration file when that changes."""
_CHECK_S = 60.0


class Worker:
    """One model behind a bounded queue. Counters start at 0 with the process."""

    def __init__(self, config: dict[str, Any], model: OnnxModel) -> None:
        self.config = config
        self.model = model
        self.name: str = config["model"]
        self.version = model.digest.removeprefix("sha256:")[:12]
        self.traffic = Traffic()
        self.waiting = 0
        self.threads: int = config["threads"]
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="infer")

    async def handle(self, request: Request) -> Response:
        """Answer one request; never raises."""
        path = request.path
        if request.method == "POST":
            if path in self._paths("/infer"):
                begun = time.monotonic()
                response = await self._infer(request)
                self.traffic.record(response.status, time.monotonic() - begun)
                return response
            return _problem(404, f"no such model or action: {path}")
        if request.method not in ("GET", "HEAD"):
            return _problem(405, f"{request.method} is not served")
        return self._get(path)

    def _paths(self, action: str) -> tuple[str, str]:
        place = f"/v2/models/{self.name}"
        return f"{place}{action}", f"{place}/versions/{self.version}{action}"

    def _get(self, path: str) -> Response:
        if path == "/v2":
            return _json({"name": "customhouse", "version": "2", "extensions": ["binary_tensor_data"]})
        if path == "/v2/health/live":
            return _json({"live": True})
        if path == "/v2/health/ready" or path in self._paths("/ready"):
            return _json({"name": self.name, "ready": True})
        if path in self._paths(""):
            return _json(
                {
                    "name": self.name,
                    "versions": [self.version],
                    "platform": "onnx_onnxv1",
                    "inputs": [spec.to_json() for spec in self.model.inputs],
                    "outputs": [spec.to_json() for spec in self.model.outputs],
                }
            )
        if path == "/metrics":
            return Response(200, self._metrics(), "text/plain; version=0.0.4")
        if path == "/replica":
            return _json(self.status())
        return _problem(404, f"no such path or model: {path}")

    def status(self) -> dict[str, Any]:
        """What this process really runs with, for the supervisor."""
        keys = ("id", "release", "storage_uri", "threads", "cpu_limit", *LIVE_SETTINGS)
        shown = {key: self.config[key] for key in keys}
        return {**shown, "digest": self.model.digest, "pid": os.getpid(), "waiting": self.waiting}

    async def _infer(self, request: Request) -> Response:
        if self.waiting >= self.config["queue"]:
            return Response(503, _error("the queue is full; try again"), headers=(("retry-after", "1"),))
        identity = request.headers.get(tenancy.REQUEST_HEADER, "")
        cancelled = threading.Event()
        self.waiting += 1
        work = asyncio.get_running_loop().run_in_executor(self._pool, self._work, request, identity, cancelled)
        # The place in the queue is given back when the work is done, not when its client has been answered.
        work.add_done_callback(self._leave)
        limit = float(self.config["timeout_s"])
        done, _ = await asyncio.wait({work}, timeout=limit)
        if not done:
            cancelled.set()
            return _problem(504, f"the model did not answer within {limit:g} s")
        return work.result()

    def _leave(self, work: asyncio.Future[Response]) -> None:
        self.waiting -= 1
        if not work.cancelled():
            work.exception()

    def _work(self, request: Request, identity: str, cancelled: threading.Event) -> Response:
        try:
            length = request.headers.get("inference-header-content-length")
            ask = decode(request.body, length, self.model.inputs, self.model.outputs)
        except InvalidRequestError as error:
            return _problem(400, str(error))
        try:
            arrays = self.model.infer(ask.feeds, ask.outputs, cancelled)
        except TimeoutError as error:
            return _problem(504, str(error))
        except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen unrelated classes; a request ends no worker
            tenancy.say("inference failed", error=str(error)[:500])
            return _problem(500, "the model failed on this input; the release's log says how")
        body, head = encode(self.name, self.version, ask, ask.id or identity, arrays)
        headers: list[tuple[str, str]] = []
        content_type = "application/json"
        if head is not None:
            headers.append(("inference-header-content-length", str(head)))
            content_type = "application/octet-stream"
        rows = prediction(arrays)
        if rows is not None and identity:
            headers.append((tenancy.PREDICTION_HEADER, orjson.dumps(rows).decode()))
        return Response(200, body, content_type, tuple(headers))

    def _metrics(self) -> bytes:
        labels = {"model": self.name, "release": self.config["release"], "instance": self.config["id"]}
        rows = [(name, {**labels, **extra}, value) for name, _, extra, value in samples(self.traffic.to_json())]
        rows.append(("customhouse_requests_in_flight", labels, self.waiting))
        used = consumption(os.getpid())
        if used is not None:
            rows.append(("process_cpu_seconds_total", labels, used.cpu_s))
            rows.append(("process_resident_memory_bytes", labels, used.resident))
        return exposition(rows)


async def _watch(worker: Worker, path: str) -> None:
    """Take changed live settings from the configuration file (looked at every second)."""
    seen = os.stat(path).st_mtime_ns
    while True:
        await asyncio.sleep(1.0)
        try:
            now = os.stat(path).st_mtime_ns
            if now == seen:
                continue
            seen = now
            fresh = tenancy.read_config(path)
            changed = {key: fresh[key] for key in LIVE_SETTINGS if fresh[key] != worker.config[key]}
        except (OSError, ValueError, KeyError) as error:
            tenancy.say("configuration not taken", error=str(error))
            continue
        if changed:
            worker.config.update(changed)
            tenancy.say("configuration taken", changed=changed)


async def _run(worker: Worker, config: dict[str, Any], path: str) -> None:
    server = Server(worker.handle, max_body=config["max_body"])
    await server.listen(tenancy.bind_unix(config["socket"]))
    tenancy.say("ready", model=worker.name, digest=worker.model.digest, release=config["release"])
    watch = asyncio.get_running_loop().create_task(_watch(worker, path))
    reason = await tenancy.until_stopped(config)
    tenancy.say("draining", reason=reason, in_flight=worker.waiting)
    watch.cancel()
    await server.drain(tenancy.DRAIN_S)
    tenancy.say("stopped")


def checker(program: Sequence[str], digest: str) -> Check | None:
    """What asks a program whether the files that were read may be loaded; None without one.

    It runs in a process of its own: what it needs (certificates, JSON of strangers) has no place in one that serves.
    """
    if not program:
        return None

    def check(files: Tree) -> None:
        listed = [{"path": entry.path, "digest": entry.digest, "size": entry.size} for entry in files.files]
        said = orjson.dumps({"single": files.single, "files": listed})
        try:
            done = run([*program, digest], stdin=said, timeout_s=_CHECK_S, accept=(0, 5), max_output=1 << 20)
        except (ProgramError, ProgramMissingError) as error:
            raise ArtifactError(f"the model's signature could not be verified: {error}") from error
        if done.status != 0:
            raise ArtifactError(
                f"the model is not loaded: {done.stdout.decode('utf-8', 'replace').strip()[:1000]}",
                hint="declare, sign and let pass the gate what is to be served",
            )

    return check


def main(path: str) -> int:
    """Serve until told to stop; 0, or 1 with the reason in the fault file when the model cannot be served."""
    config = tenancy.read_config(path)
    try:
        check = checker(config.get("checker") or (), str(config["digest"]))
        model = load(Path(config["path"]), str(config["digest"]), int(config["threads"]), check)
    except (CustomhouseError, MemoryError) as error:
        tenancy.write_fault(config["fault"], str(error), hint=getattr(error, "hint", ""))
        tenancy.say("not served", error=str(error))
        return 1
    gc.collect()
    gc.freeze()
    asyncio.run(_run(Worker(config, model), config, path))
    # The pool's threads may still be in a computation that ran past its limit; nobody waits for it.
    os._exit(0)


def _error(message: str) -> bytes:
    return orjson.dumps({"error": message})


def _problem(status: int, message: str) -> Response:
    return Response(status, _error(message))


def _json(document: Any) -> Response:
    return Response(200, orjson.dumps(document))
