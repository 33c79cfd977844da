"""The local target from zero to many replicas and back: held requests, bursts, kills, restarts; none is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from execution_world import INFER, World, eventually

from customhouse._kit.clock import SystemClock
from customhouse.core.plan import HealthStatus
from customhouse.execution.adapters.local import processes
from customhouse.execution.adapters.local.target import LocalTarget
from customhouse.execution.objects import release_of

QUICK = {
    "autoscaling.knative.dev/window": "6s",
    "autoscaling.knative.dev/target": "10",
}
BODY = json.dumps(INFER).encode()
HEAD = (
    f"POST /prod/fraud/v2/models/fraud/infer HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
    f"connection: close\r\ncontent-length: {len(BODY)}\r\n\r\n"
).encode()


def elastic(world: World, version: str = "v1", **predictor: Any) -> Any:
    """A service that scales from 0 to 3, by windows as short as Knative allows."""
    notes = predictor.pop("notes", {})
    made = world.manifest(version, minReplicas=0, maxReplicas=3, **{"containerConcurrency": 8, **predictor})
    made["metadata"]["annotations"].update({**QUICK, **notes})
    return made


async def one(port: int) -> int:
    """The status of one request on a connection of its own; 0 when the connection broke."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + BODY)
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1])
    except (OSError, IndexError, ValueError):
        return 0


async def many(port: int, count: int) -> list[int]:
    return list(await asyncio.gather(*(one(port) for _ in range(count))))


def asleep(world: World, manifest: Any) -> Any:
    return not world.replicas(manifest) and world.live(manifest)


class Quicker(SystemClock):
    """Four seconds a second, for the scaling alone: its shortest window is 6 s, and nothing else should hurry."""

    def monotonic(self) -> float:
        return super().monotonic() * 4


def started(world: World) -> LocalTarget:
    """A target whose scaling has the quicker clock, started."""
    target = LocalTarget(world.settings, SystemClock())
    target._scaling._clock = Quicker()
    target.start()
    return target


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.target = started(made)
    yield made
    made.target.stop()
    eventually(lambda: not processes.find(tmp_path), explain=lambda: "a process outlived stop()")


def test_bursts_at_zero_are_all_answered_and_it_goes_to_zero_again(world: World) -> None:
    manifest = elastic(world)
    assert "1 of 1" in world.serve(manifest).health.message, "a release is seen to answer before it may sleep"
    sleeping = eventually(lambda: asleep(world, manifest))
    assert sleeping.health.status is HealthStatus.HEALTHY
    assert "scaled to zero" in sleeping.health.message
    assert sleeping.manifest == manifest, "zero is as declared: no drift"
    assert not world.apply(manifest).changed, "a second sync writes nothing and wakes nobody"
    assert not world.replicas(manifest)
    costs = [seen for seen in world.target.observe() if seen.metric.startswith("process_")]
    assert costs == [], "no process, no usage, no charge"

    async def burst() -> list[int]:
        answers = asyncio.create_task(many(world.target.port, 1000))
        await asyncio.to_thread(eventually, lambda: len(world.replicas(manifest)) == 3)
        assert world.live(manifest).manifest == manifest, "three replicas are within what is declared"
        return await answers

    assert asyncio.run(burst()) == [200] * 1000
    eventually(lambda: asleep(world, manifest))
    assert asyncio.run(many(world.target.port, 3)) == [200] * 3


def test_kills_and_a_restart_of_the_control_process_lose_no_request(world: World) -> None:
    manifest = elastic(world)
    world.serve(manifest)
    eventually(lambda: asleep(world, manifest))

    async def storm() -> list[int]:
        """A burst at zero with no control process; it comes back, and two workers are killed in their work."""

        def gone(pid: int) -> bool:
            return pid not in [replica["pid"] for replica in world.replicas(manifest)]

        world.target.stop(keep_serving=True)
        burst = [asyncio.create_task(one(world.target.port)) for _ in range(300)]
        await asyncio.sleep(0)
        world.target = await asyncio.to_thread(started, world)
        for _ in range(2):
            busy = await asyncio.to_thread(
                eventually, lambda: [r for r in world.replicas(manifest) if r["ready"]], 60.0
            )
            os.kill(busy[0]["pid"], signal.SIGKILL)
            burst += [asyncio.create_task(one(world.target.port)) for _ in range(100)]
            await asyncio.to_thread(eventually, partial(gone, busy[0]["pid"]))
        return list(await asyncio.gather(*burst))

    answers = asyncio.run(storm())
    assert answers == [200] * 500
    assert world.until(manifest).manifest == manifest


def test_a_new_release_wakes_is_proved_and_takes_what_waits(world: World) -> None:
    v1, v2 = elastic(world), elastic(world, "v2")
    world.serve(v1)
    eventually(lambda: asleep(world, v1))
    assert world.apply(v2).ok
    eventually(lambda: world.answer() == 0.71)
    live = world.until(v2)
    assert live.status["local"]["stable"] == release_of(v2)


def test_what_cannot_start_from_zero_is_told_and_refused_in_time(tmp_path: Path) -> None:
    world = World(tmp_path, hold_s=3.0)
    world.target = started(world)
    try:
        manifest = elastic(world)
        world.serve(manifest)
        eventually(lambda: asleep(world, manifest))
        (world.models / "v1" / "model.onnx").write_bytes(b"no model")
        begun = time.monotonic()
        status, headers, body = world.infer()
        assert (status, headers["retry-after"]) == (503, "1")
        assert "no replica had a place within 3 s" in body["error"]
        assert time.monotonic() - begun >= 3.0
        live = world.until(manifest, HealthStatus.DEGRADED)
        assert "is pinned" in live.health.message
        told = eventually(lambda: asleep(world, manifest))
        assert told.health.status is HealthStatus.DEGRADED, "asleep is not well when the last start failed"
        assert "its last start failed" in told.health.message
    finally:
        world.target.stop()
