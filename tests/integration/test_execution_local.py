"""InferenceServices on the local target: rolls, canaries, crashes, alterations, a killed control process."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from execution_onnx import logistic
from execution_world import Load, World, eventually

from customhouse._kit.clock import SystemClock
from customhouse._kit.digest import tree
from customhouse.core.errors import StateError, TargetError
from customhouse.core.plan import Action, ActionKind, HealthStatus
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local import processes
from customhouse.execution.adapters.local.dial import call
from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget
from customhouse.execution.objects import release_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.target.start()
    yield made
    made.target.stop()
    # The kernel ends what a killed shim leaves; on a busy machine that takes a moment.
    eventually(lambda: not processes.find(tmp_path), explain=lambda: "a process outlived stop()")


def test_no_request_fails_in_rolls_and_rollbacks(world: World) -> None:
    v1, v2 = world.manifest("v1", minReplicas=2), world.manifest("v2", minReplicas=2)
    world.serve(v1)
    with Load(world) as load:
        for manifest in (v2, v1, v2, v1):
            world.serve(manifest)
            eventually(lambda: not world.target._records.retiring)
    assert load.failed == {}
    assert load.total() > 100
    assert set(load.releases) == {release_of(v1), release_of(v2)}


def test_a_canary_gets_its_share_and_goes_back_at_once(world: World) -> None:
    v1 = world.manifest("v1")
    world.serve(v1)
    canary = world.manifest("v2", canaryTrafficPercent=20)
    with Load(world, clients=1) as load:
        world.serve(canary)
        assert world.live(canary).manifest == canary
        before = dict(load.releases)
        eventually(lambda: load.total() - sum(before.values()) > 100)
        gained = {release: load.releases[release] - before.get(release, 0) for release in load.releases}
        share = gained[release_of(canary)] / sum(gained.values())
        assert 0.15 < share < 0.25
        world.apply(v1)  # no waiting: the traffic is back when apply returns
        assert {world.answer() for _ in range(20)} == {0.87}
    assert load.failed == {}
    promoted = world.manifest("v2")
    world.serve(canary)
    pids = {replica["pid"] for replica in world.replicas(canary)}
    world.serve(promoted)
    assert {replica["pid"] for replica in world.replicas(promoted)} <= pids, "promotion starts nothing anew"
    assert world.answer() == 0.71


def test_a_model_with_another_digest_never_gets_traffic(world: World) -> None:
    v1, v2 = world.manifest("v1"), world.manifest("v2")
    world.serve(v1)
    (world.models / "v2" / "model.onnx").write_bytes(logistic([9.0, 9.0, 9.0], 0.0))
    assert world.apply(v2).ok
    live = world.until(v2, HealthStatus.DEGRADED)
    assert v2["metadata"]["annotations"]["customhouse.dev/model-digest"] in live.health.message
    assert tree(world.models / "v2").digest in live.health.message
    assert world.answer() == 0.87
    assert world.serve(v1).manifest == v1


def test_a_crashed_replica_is_restarted_and_requests_wait_for_it(world: World) -> None:
    v1 = world.manifest("v1")
    (replica,) = world.serve(v1).status["local"]["replicas"]
    with Load(world) as load:
        os.kill(replica["pid"], signal.SIGKILL)
        eventually(lambda: [r["pid"] for r in world.replicas(v1) if r["ready"]] not in ([], [replica["pid"]]))
    assert load.failed == {}
    assert world.until(v1).manifest == v1


def test_a_replica_that_hangs_is_replaced(world: World) -> None:
    v1 = world.manifest("v1", minReplicas=2)
    hung = world.serve(v1).status["local"]["replicas"][0]["pid"]
    os.kill(hung, signal.SIGSTOP)
    eventually(lambda: hung not in [r["pid"] for r in world.replicas(v1)] and world.until(v1))
    assert world.answer() == 0.87


def test_alterations_are_seen_field_by_field_and_healed_by_applying_again(world: World) -> None:
    v1 = world.manifest("v1")
    world.serve(v1)
    canary = world.manifest("v2", canaryTrafficPercent=10)
    world.serve(canary)
    admin = str(world.target._places.socket("gateway"))
    weights = f'{{"service":"prod/fraud","weights":{{"{release_of(v1)}":40,"{release_of(canary)}":60}}}}'
    assert call(admin, "PUT", "/weights", weights.encode())[0] == 200
    assert world.live(canary).manifest["spec"]["predictor"]["canaryTrafficPercent"] == 60
    assert world.apply(canary).changed
    assert world.live(canary).manifest == canary
    assert not world.apply(canary).changed, "a second sync does nothing"

    routing = world.target._fleet.routing()
    routing["services"]["prod/fraud"]["revisions"][release_of(v1)]["replicas"]["foreign"] = "/nowhere"
    assert call(admin, "PUT", "/config", json.dumps(routing).encode())[0] == 200
    assert world.live(canary).manifest["spec"]["predictor"]["minReplicas"] == 2, "a foreign replica is drift"
    assert world.apply(canary).changed
    assert world.live(canary).manifest == canary

    identity = next(r["id"] for r in world.replicas(canary) if r["release"] == release_of(canary))
    config = world.target._places.config(identity)
    config.write_bytes(config.read_bytes().replace(b'"memory_limit":536870912', b'"memory_limit":1073741824'))
    limits = lambda: world.live(canary).manifest["spec"]["predictor"]["model"]["resources"]["limits"]  # noqa: E731
    eventually(lambda: limits()["memory"] == "1Gi")
    assert world.apply(canary).changed
    eventually(lambda: world.live(canary).manifest == canary)


def test_a_replica_over_its_memory_limit_is_killed_and_says_so(world: World) -> None:
    greedy = world.manifest("v1", limits={"cpu": "1", "memory": "8Mi"})
    assert world.apply(greedy).ok
    live = world.until(greedy, HealthStatus.DEGRADED)
    assert "OOMKilled" in live.health.message
    assert "8 MiB" in live.health.message


CONTROL = """
import json, sys, time
from pathlib import Path
from customhouse._kit.clock import SystemClock
from customhouse.core.plan import Action, ActionKind
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget
root = Path(sys.argv[1])
target = LocalTarget(LocalSettings(state=root / "state", volumes={"models": root / "models"}), SystemClock())
target.start()
print(target.port, flush=True)
for manifest in json.loads(sys.argv[2]):
    ref = ResourceRef.of(manifest)
    target.apply([Action(ActionKind.CREATE, ref, manifest)])
    while target.read([ref])[ref].health.status != "Healthy":
        time.sleep(0.01)
print("settled", flush=True)
time.sleep(60)
"""


def _control(root: Path, *manifests: Any) -> subprocess.Popen[str]:
    """A control process of its own, which can be killed."""
    words = [sys.executable, "-c", CONTROL, str(root), json.dumps(manifests)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_workers_survive_a_killed_control_process_and_are_adopted(tmp_path: Path) -> None:
    world = World(tmp_path)
    v1 = world.manifest("v1", minReplicas=2)
    with _control(tmp_path, v1) as control:
        assert control.stdout is not None
        port = int(control.stdout.readline())
        assert control.stdout.readline() == "settled\n"
        control.kill()
    running = processes.find(tmp_path)
    assert len(running) == 3
    world.target._records.port = port
    assert world.answer() == 0.87, "served without a control process"
    world.target.start()
    try:
        assert world.target.port == port
        live = world.until(v1)
        assert live.manifest == v1
        time.sleep(0.3)
        assert processes.find(tmp_path) == running, "nothing was started twice, nothing ended"
        assert world.answer() == 0.87
        os.kill(world.replicas(v1)[0]["pid"], signal.SIGKILL)
        eventually(lambda: processes.find(tmp_path) != running)
        world.until(v1)
    finally:
        world.target.stop()
    assert not processes.find(tmp_path)


@pytest.mark.parametrize("moment", [0.02, 0.2, 0.45, 0.8])
def test_a_control_process_killed_in_the_middle_of_a_roll_leaves_nothing_double(tmp_path: Path, moment: float) -> None:
    world = World(tmp_path)
    v1, v2 = world.manifest("v1", minReplicas=2), world.manifest("v2", minReplicas=2)
    with _control(tmp_path, v1, v2) as control:
        assert control.stdout is not None
        control.stdout.readline()
        time.sleep(moment)
        control.kill()
    world.target.start()
    try:
        world.serve(v2)
        eventually(lambda: not world.target._records.retiring)
        assert len(processes.find(tmp_path)) == 3, "two replicas and the gateway"
        assert {world.answer() for _ in range(10)} == {0.71}
        assert world.live(v2).manifest == v2
    finally:
        world.target.stop()
    assert not processes.find(tmp_path)


def test_a_full_disk_is_a_clear_error_and_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    v1 = world.manifest("v1")
    world.serve(v1)
    running = processes.find(world.root)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("customhouse.execution.adapters.local.records.os.fsync", full)
        with pytest.raises(StateError, match=r"state\.json: cannot be written: No space left on device"):
            world.apply(world.manifest("v2"))
    assert processes.find(world.root) == running
    assert world.until(v1).manifest == v1
    assert world.answer() == 0.87
    world.serve(world.manifest("v2"))
    assert world.answer() == 0.71


def test_orphans_end_by_themselves_when_no_control_process_comes(tmp_path: Path) -> None:
    world = World(tmp_path, lease_s=1.0)
    world.target.start()
    world.serve(world.manifest("v1"))
    world.target.stop(keep_serving=True)
    assert world.answer() == 0.87
    eventually(lambda: not processes.find(tmp_path) or processes.reap(), 8.0)
    eventually(lambda: not processes.find(tmp_path), 8.0)


def test_a_target_that_was_stopped_starts_again_with_what_was_declared(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.target.start()
    v1 = world.manifest("v1")
    world.serve(v1)
    port = world.target.port
    world.target.stop()
    assert not processes.find(tmp_path)
    world.target.start()
    try:
        assert world.until(v1).manifest == v1
        assert world.answer() == 0.87
        assert world.target.port == port
    finally:
        world.target.stop()


def test_a_dead_gateway_comes_back_on_its_port_without_refusing_anyone(world: World) -> None:
    v1 = world.manifest("v1")
    world.serve(v1)
    port = world.target.port
    gateway = next(p for p in world.target.processes() if p.role == "gateway")
    os.kill(gateway.pid, signal.SIGKILL)
    assert world.answer() == 0.87
    assert world.target.port == port
    assert world.until(v1).manifest == v1


def test_a_port_in_use_and_a_second_control_process_are_clear_errors(world: World, tmp_path: Path) -> None:
    settings = LocalSettings(state=tmp_path / "other", port=world.target.port)
    with pytest.raises(TargetError, match=rf"port {world.target.port} .*another port"):
        LocalTarget(settings, SystemClock()).start()
    with pytest.raises(StateError, match="another control process"):
        LocalTarget(world.settings, SystemClock()).start()


def test_feedback_becomes_quality_per_release(world: World) -> None:
    v1 = world.manifest("v1")
    world.serve(v1)
    for label in (1, 1, 0):
        _, headers, _ = world.infer()
        given = {"id": headers["customhouse-request-id"], "label": label}
        assert world.post("/prod/fraud/feedback", given)[0] == 200
        assert world.post("/prod/fraud/feedback", given)[0] == 404, "a prediction is labelled once"
    seen = {(o.metric, *o.labels.values()): o for o in world.target.observe()}
    assert seen["customhouse_predictions_labelled_total",].value == 3
    assert seen["customhouse_prediction_outcomes_total", "tp"].value == 2
    assert seen["customhouse_prediction_outcomes_total", "fp"].value == 1
    assert seen["customhouse_prediction_log_loss_sum",].value == pytest.approx(2 * 0.1394 + 2.0394, abs=1e-3)
    assert seen["customhouse_requests_total", "200"].value == 3
    assert seen["customhouse_requests_total", "200"].release == release_of(v1)
    assert seen["process_cpu_seconds_total",].value > 0
    assert 20 << 20 < seen["process_resident_memory_bytes",].value < 200 << 20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [1, 2]}, "shape"),
        ({"shape": [3, 1]}, "shape"),
        ({"datatype": "INT64"}, "datatype"),
        ({"data": [1.0, 2.0]}, "2 elements"),
        ({"data": ["a", "b", "c"]}, "str in the data"),
        ({"data": [True, False, True]}, "bool in the data"),
        ({"name": "other"}, "unknown"),
    ],
)
def test_wrong_input_is_answered_400_with_the_reason(shared: World, change: dict[str, Any], words: str) -> None:
    tensor = {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0], **change}
    status, _, body = shared.post("/prod/fraud/v2/models/fraud/infer", {"inputs": [tensor]})
    assert status == 400
    assert words in body["error"]


def test_requests_that_are_too_large_or_misdirected_are_refused(shared: World) -> None:
    assert shared.post("/prod/fraud/v2/models/fraud/infer", b"x" * (9 << 20))[0] == 413
    assert shared.post("/prod/fraud/v2/models/fraud/infer", b"{")[0] == 400
    assert shared.post("/prod/fraud/v2/models/other/infer", {})[0] == 404
    assert shared.post("/prod/none/v2/models/none/infer", {})[0] == 404
    assert shared.post("/prod/fraud/feedback", {"id": "x", "label": 1}, {"content-type": "text/plain"})[0] == 415


def test_the_host_header_names_a_service_too(shared: World) -> None:
    status, _, body = shared.post(
        "/v2/models/fraud/infer",
        {"inputs": [{"name": "input", "shape": [2, 3], "datatype": "FP32", "data": [[0, 0, 0], [0.1, 0.2, 0.3]]}]},
        {"host": "fraud.prod.example.com"},
    )
    assert status == 200
    assert body["outputs"][0]["shape"] == [2, 1]


def test_what_cannot_be_served_is_refused_and_leaves_nothing(shared: World) -> None:
    for change, words in (
        ({"minReplicas": 0}, "without an upper end"),
        ({"canaryTrafficPercent": 120}, "canaryTrafficPercent"),
    ):
        manifest = shared.manifest("v1", name="other", **change)
        result = shared.apply(manifest)
        assert not result.ok
        assert words in result.message
    unpinned = shared.manifest("v1", name="other")
    del unpinned["metadata"]["annotations"]
    escape = shared.manifest("v1", name="other")
    escape["spec"]["predictor"]["model"]["storageUri"] = "pvc://models/../../etc"
    unknown = shared.manifest("v1", name="other")
    unknown["spec"]["predictor"]["model"]["storageUri"] = "pvc://elsewhere/v1"
    for manifest, words in ((unpinned, "not pinned"), (escape, "out of its volume"), (unknown, "no folder")):
        result = shared.apply(manifest)
        assert not result.ok
        assert words in result.message
    assert [ref.name for ref in shared.target.managed()] == ["fraud"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One service for the tests that only ask."""
    made = World(tmp_path_factory.mktemp("shared"))
    made.target.start()
    made.serve(made.manifest("v1"))
    yield made
    made.target.stop()


def test_companions_are_kept_as_declared_and_deleted(world: World) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "prod"},
        "data": {"a": "b"},
    }
    ref = ResourceRef.of(config)
    assert world.apply(config).changed
    assert not world.apply(config).changed
    assert world.live(config).manifest == config
    assert world.target.apply([Action(ActionKind.DELETE, ref)])[0].changed
    assert world.target.read([ref]) == {}
