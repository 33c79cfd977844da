"""Scale to zero: no request lost on real sockets, and a price for real traces.

    python benchmarks/serverless.py load DATA [--times 10] [--kills 4]   # the local target, from 0 to N and back
    python benchmarks/serverless.py price DATA [--series 12] [--days 7]  # `cost serverless` on every given trace

`load` plays the requests of the given coding service (its pauses are of 14 to 173 s) in a tenth of their time against a
model on the local target with Knative's shortest window (6 s), each request on a connection of its own; in two of the
pauses, at zero, a thousand come at once; workers are killed with requests in them; the control process is ended and
started again in the middle, while the gateway goes on. `price` counts what it says of the given request traces, and of
the given demand of virtual machines (a request of 2.5 s per percent and five minutes), as CSV through the command.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "integration"))

from execution_world import INFER, World, eventually

from customhouse._kit.clock import SystemClock
from customhouse.execution.adapters.local.target import LocalTarget
from customhouse.execution.objects import serving
from customhouse.optimisation.scalers import Knative
from customhouse.optimisation.serverless import Pod, Trace, simulate

BODY = json.dumps(INFER).encode()
HEAD = (
    "POST /prod/fraud/v2/models/fraud/infer HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
    f"connection: close\r\ncontent-length: {len(BODY)}\r\n\r\n"
).encode()
BURST = 1000
START_S, SERVED_S = 0.8, 0.01
"""What a worker of this model takes to start and a request to be answered, for the simulation beside the real thing."""
SERVICE = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: model
  namespace: llm
  annotations: {{customhouse.dev/cold-start-seconds: "{cold}", customhouse.dev/throughput-{rate}}}
spec:
  predictor:
    minReplicas: 0
    maxReplicas: 16
    containerConcurrency: {lanes}
    nodeSelector: {{nvidia.com/gpu.product: NVIDIA-L4}}
    model:
      modelFormat: {{name: onnx}}
      storageUri: pvc://models/m
      resources:
        requests: {{cpu: "4", memory: 16Gi, nvidia.com/gpu: "1"}}
        limits: {{cpu: "4", memory: 16Gi, nvidia.com/gpu: "1"}}
"""


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("load", "price"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--times", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--series", type=int, default=12)
    parser.add_argument("--days", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "load":
            print(json.dumps(asyncio.run(load(Path(folder), given))))
        else:
            for line in price(Path(folder), given):
                print(json.dumps(line), flush=True)


def arrivals(data: Path) -> list[float]:
    """Seconds from the first request of the coding service."""
    with gzip.open(data / "load" / "azure_llm_2023_code.csv.gz", "rt") as lines:
        times = [datetime.fromisoformat(row["TIMESTAMP"]).timestamp() for row in csv.DictReader(lines)]
    return [at - times[0] for at in times]


async def one(port: int, seen: list[tuple[float, int]]) -> None:
    """One request; its status (0: the connection broke) and how long it took."""
    at = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + BODY)
        status = int((await reader.read()).split(b" ", 2)[1])
        writer.close()
    except (OSError, IndexError, ValueError):
        status = 0
    seen.append((time.monotonic() - at, status))


async def load(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Requests by answer, waits, starts from zero, seconds at zero."""
    world = World(folder)
    await asyncio.to_thread(world.target.start)
    manifest = world.manifest("v1", minReplicas=0, maxReplicas=3, containerConcurrency=16)
    manifest["metadata"]["annotations"]["autoscaling.knative.dev/window"] = "6s"
    await asyncio.to_thread(world.serve, manifest)
    seen: list[tuple[float, int]] = []
    sizes: list[tuple[float, int]] = []
    ended = asyncio.Event()
    begun = time.monotonic()
    watch = asyncio.create_task(_watch(world, manifest, sizes, ended, given.kills))
    times = [at / given.times for at in arrivals(given.data)]
    # In the middle of the two longest pauses, when it is at zero, a thousand at once; and once a restart.
    pauses = sorted(pairwise(times), key=lambda pair: pair[0] - pair[1])[:3]
    bursts = [pair[1] - 0.5 for pair in pauses[:2]]
    restart = pauses[2][1] - 0.2
    plan = sorted([*((at, "one") for at in times), *((at, "burst") for at in bursts), (restart, "restart")])
    running: set[asyncio.Task[None]] = set()
    for at, what in plan:
        await asyncio.sleep(max(0.0, begun + at - time.monotonic()))
        if what == "restart":
            running.add(asyncio.create_task(_restart(world)))
            continue
        for _ in range(BURST if what == "burst" else 1):
            running.add(asyncio.create_task(one(world.target.port, seen)))
    await asyncio.gather(*running)
    await asyncio.to_thread(eventually, lambda: not world.replicas(manifest), 90.0)
    ended.set()
    killed = await watch
    await asyncio.to_thread(world.target.stop)
    took = sorted(wait for wait, _ in seen)
    asked = sorted([*times, *(at for at in bursts for _ in range(BURST))])
    rule = serving(manifest).scale
    assert rule is not None
    span = time.monotonic() - begun
    played = simulate(Trace(asked, [SERVED_S] * len(asked), span), Knative(rule), Pod(START_S, 16))
    zero = sum(after - at for (at, size), (after, _) in pairwise(sizes) if not size)
    return {
        "requests": len(seen),
        "answers": dict(Counter(status for _, status in seen)),
        "failed": sum(status != 200 for _, status in seen),
        "workers_killed": killed,
        "starts_from_zero": sum(not a and b > 0 for (_, a), (_, b) in pairwise(sizes)),
        "most_replicas": max(size for _, size in sizes),
        "seconds": round(span, 1),
        "seconds_at_zero": round(zero, 1),
        "simulated_seconds_at_zero": round(played.zero_s, 1),
        "replica_seconds": round(sum((after - at) * size for (at, size), (after, _) in pairwise(sizes)), 1),
        "simulated_replica_seconds": round(played.replica_ms / 1000, 1),
        "p50_ms": round(took[len(took) // 2] * 1000, 1),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 1),
        "longest_ms": round(took[-1] * 1000, 1),
    }


async def _restart(world: World) -> None:
    """The control process ends while the gateway holds what comes, and begins again."""

    def again() -> None:
        world.target.stop(keep_serving=True)
        world.target = LocalTarget(world.settings, SystemClock())
        world.target.start()

    await asyncio.to_thread(again)


async def _watch(world: World, manifest: Any, sizes: list[tuple[float, int]], ended: asyncio.Event, kills: int) -> int:
    """Count replicas ten times a second; kill a ready one now and then. How many were killed."""
    killed, draw, due = 0, random.Random(1), time.monotonic() + 5
    while not ended.is_set():
        try:
            replicas = await asyncio.to_thread(world.replicas, manifest)
        except Exception:  # noqa: BLE001 - the control process is away for a moment
            replicas = []
        else:
            sizes.append((time.monotonic(), len(replicas)))
        ready = [replica for replica in replicas if replica["ready"] and replica["pid"]]
        if ready and killed < kills and time.monotonic() > due:
            os.kill(draw.choice(ready)["pid"], signal.SIGKILL)
            killed, due = killed + 1, time.monotonic() + 20
        await asyncio.sleep(0.1)
    return killed


def price(folder: Path, given: argparse.Namespace) -> Any:
    """What the command says of each trace."""
    for name in ("code", "conv"):
        trace = given.data / "load" / f"azure_llm_2023_{name}.csv.gz"
        for cold in (5, 45):
            yield _priced(folder, name, trace, cold, 'tokens-per-second: "400"', 8)
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(given.data / "load" / "azure_vm_cpu_avg_5min_28d.parquet")
    for name in table.column_names[: given.series]:
        values = table[name].to_pylist()[: 288 * given.days]
        begun = datetime(2026, 1, 1, tzinfo=UTC)
        rows = [f"{(begun + timedelta(minutes=5 * at)).isoformat()},{value}" for at, value in enumerate(values)]
        trace = folder / f"{name}.csv"
        trace.write_text("timestamp,value\n" + "\n".join(rows) + "\n")
        yield _priced(folder, name, trace, 45, 'predictions-per-second: "0.4"', 1)


def _priced(folder: Path, name: str, trace: Path, cold: int, rate: str, lanes: int) -> dict[str, Any]:
    place = folder / "objects"
    place.mkdir(exist_ok=True)
    (place / "service.yaml").write_text(SERVICE.format(cold=cold, rate=rate, lanes=lanes))
    words = ["cost", "serverless", str(place), "--requests", str(trace), "-o", "json"]
    begun = os.times()
    program = Path(sys.executable).with_name("customhouse")
    said = json.loads(subprocess.run([program, *words], check=True, capture_output=True).stdout)
    cpu = os.times().children_user - begun.children_user
    return {
        "trace": name,
        "cold_start_s": cold,
        "requests": said["requests"],
        "monthly": {
            way["way"] + (f" {way['replicas']}" if way["replicas"] else ""): round(float(way["monthly"]), 2)
            for way in said["ways"]
        },
        "knative_month_90": [
            None if value is None else round(float(value), 2)
            for value in (said["ways"][1]["monthly_low"], said["ways"][1]["monthly_high"])
        ],
        "p99_s": {way["way"]: way["delay"]["p99"] for way in said["ways"]},
        "cheapest": said["cheapest"],
        "cheapest_in_time": said["cheapest_in_time"],
        "even_at_rps": said["break_even"]["requests_per_second"],
        "cpu_s": round(cpu, 2),
    }


if __name__ == "__main__":
    main()
