"""Alerts of drift, sent to a server that keeps them: once while it lasts, with its end, and nothing lost meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from customhouse._kit.clock import from_rfc3339
from customhouse.app.driftalerts import DRIFTED, recorded
from customhouse.app.driftnotices import FIRING, DriftNotices
from customhouse.app.memory import Memory
from customhouse.app.wiring import alert_post
from customhouse.testing.memory import MemoryStateStore

AT = datetime(2026, 1, 1, tzinfo=UTC)


def drift(name: str, *, corrected: bool = False, manager: str = "kubectl-edit") -> dict[str, Any]:
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "prod", "name": name}
    field = {"pointer": "/data/a", "declared": "1", "live": "2", "manager": manager, "at": ""}
    return {"resource": ref, "found": "altered", "corrected": corrected, "fields": [field]}


class World:
    """A control plane as far as alerts see it, its clock, and an Alertmanager's address."""

    def __init__(self) -> None:
        self.bodies: list[list[dict[str, Any]]] = []
        self.status, self.seconds = 200, 0.0
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/am/api/v2/alerts"
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if world.status == 200:
                    world.bodies.append(body)
                self.send_response(world.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.memory = Memory(MemoryStateStore())
        self.configuration = SimpleNamespace(alertmanager=f"http://127.0.0.1:{self.server.server_port}/am/")
        self.clock = SimpleNamespace(
            now=lambda: AT + timedelta(seconds=self.seconds), monotonic=lambda: 1000 + self.seconds
        )
        self.notices = self.restarted()

    def restarted(self) -> DriftNotices:
        plane: Any = SimpleNamespace(
            clock=self.clock,
            memory=self.memory,
            wake=lambda: None,
            governing=lambda: SimpleNamespace(configuration=self.configuration),
        )
        self.notices = DriftNotices(plane, alert_post)
        return self.notices

    def step(self, *standing: dict[str, Any]) -> None:
        """One step, and what it sends is sent."""
        self.notices.step({"drift": list(standing)})
        thread = self.notices._thread
        if thread is not None:
            thread.join(60)
            assert not thread.is_alive()
        self.notices.step({"drift": list(standing)})


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_drift_is_told_once_while_it_lasts_and_again_with_its_end(world: World) -> None:
    world.step(drift("one"))
    ((first,),) = world.bodies
    assert first["labels"] == {
        "alertname": "CustomhouseDrift",
        "severity": "warning",
        "found": "altered",
        "api_version": "v1",
        "kind": "ConfigMap",
        "namespace": "prod",
        "name": "one",
    }
    assert first["annotations"]["description"] == "/data/a; by kubectl-edit; it is left so"
    world.seconds = 30
    world.step(drift("one"))
    assert len(world.bodies) == 1
    world.seconds = 90  # an Alertmanager takes an alert that falls silent for resolved
    world.step(drift("one"))
    assert world.bodies[1] == [first]
    world.seconds = 100
    world.step()
    assert world.bodies[2] == [{**first, "endsAt": "2026-01-01T00:01:40Z"}]
    world.seconds = 400
    world.step()
    assert len(world.bodies) == 3
    assert world.memory.get(FIRING) is None


def test_what_was_put_right_at_once_is_told_and_ends_by_itself(world: World) -> None:
    world.memory.put({DRIFTED: recorded(None, [drift("one", corrected=True)], AT)})
    world.step()
    ((told,),) = world.bodies
    assert told["annotations"]["description"].endswith("by kubectl-edit; it was put right")
    assert from_rfc3339(told["endsAt"]) - from_rfc3339(told["startsAt"]) == timedelta(minutes=5)
    world.seconds = 100
    world.step()
    assert len(world.bodies) == 1
    assert world.memory.get(DRIFTED) is None


def test_what_was_not_taken_is_said_and_sent_later_after_a_restart_too(world: World) -> None:
    world.status = 503
    world.memory.put({DRIFTED: recorded(None, [drift("flash", corrected=True)], AT)})
    world.step(drift("lasting"))
    assert world.notices.problem == "alerts are not delivered: it answered 503"
    world.restarted()
    world.status, world.seconds = 200, 60
    world.step(drift("lasting"))
    assert sorted(item["labels"]["name"] for item in world.bodies[0]) == ["flash", "lasting"]
    assert world.notices.problem == ""
    world.restarted()
    world.seconds = 200
    world.step()  # it was put right while nothing ran: the end is told all the same
    assert [item["labels"]["name"] for item in world.bodies[-1] if "endsAt" in item] == ["lasting"]


def test_without_an_address_nothing_is_kept_and_the_metrics_count_all_the_same(world: World) -> None:
    world.configuration.alertmanager = ""
    world.step(drift("one"), {**drift("two"), "found": "missing"})
    assert world.bodies == []
    assert world.memory.get(FIRING) is None
    assert 'customhouse_drift_objects{found="altered"} 1' in world.notices.metrics()
    assert 'customhouse_drift_objects{found="missing"} 1' in world.notices.metrics()
    assert 'customhouse_drift_objects{found="added"} 0' in world.notices.metrics()
