"""Jobs on the local target: they run once, from what was hashed, within their limits, and leave an outcome."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from execution_world import eventually

from customhouse._kit.clock import SystemClock
from customhouse._kit.digest import tree
from customhouse.core.plan import Action, ActionKind, ActionResult, HealthStatus, LiveObject
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local import processes
from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget

TRAIN = """
import os, pathlib, sys, time
out = pathlib.Path(sys.argv[1])
mode = sys.argv[2]
print("training", os.environ.get("RATE"), flush=True)
with open(out / "runs", "a") as runs:
    runs.write(mode + "\\n")
(out / "environment").write_text("\\n".join(sorted(os.environ)))
if mode == "ok":
    (out / "model.bin").write_text(os.environ["TOKEN_LENGTH"] if "TOKEN_LENGTH" in os.environ else "model")
elif mode == "secret":
    (out / "length").write_text(str(len(os.environ["TOKEN"])))
elif mode == "fail":
    sys.exit(3)
elif mode == "hog":
    block = bytearray(200 << 20)
    time.sleep(30)
elif mode == "sleep":
    time.sleep(30)
elif mode == "second":
    if (out / "runs").read_text().count("second") < 2:
        sys.exit(1)
"""


class Yard:
    """A target with one image and one volume."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.image = root / "image"
        self.image.mkdir()
        (self.image / "train.py").write_text(TRAIN)
        self.out = root / "volume" / "runs"
        self.out.mkdir(parents=True)
        self.settings = LocalSettings(
            state=root / "state",
            volumes={"work": root / "volume"},
            images={"apexlogic.com/trainer": self.image},
            secrets=lambda *reference: {("ml", "hub", "token"): "s3cret-value"}.get(reference),
        )
        self.target = LocalTarget(self.settings, SystemClock())

    def job(self, mode: str, *, name: str = "train", spec: Any = None, **container: Any) -> Any:
        digest = tree(self.image).digest
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": "ml"},
            "spec": {
                "backoffLimit": 0,
                **(spec or {}),
                "template": {
                    "spec": {
                        "restartPolicy": "Never",
                        "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "work"}}],
                        "containers": [
                            {
                                "name": "trainer",
                                "image": f"apexlogic.com/trainer:1.0@{digest}",
                                "command": ["python", "train.py"],
                                "args": ["/mnt/out", mode],
                                "env": [{"name": "RATE", "value": "0.1"}],
                                "volumeMounts": [{"name": "w", "mountPath": "/mnt/out", "subPath": "runs"}],
                                "resources": {"limits": {"cpu": "1", "memory": "100Mi"}},
                                **container,
                            }
                        ],
                    }
                },
            },
        }

    def apply(self, manifest: Any) -> ActionResult:
        return self.target.apply([Action(ActionKind.CREATE, ResourceRef.of(manifest), manifest)])[0]

    def live(self, manifest: Any) -> LiveObject:
        ref = ResourceRef.of(manifest)
        return self.target.read([ref])[ref]

    def run(self, manifest: Any) -> LiveObject:
        result = self.apply(manifest)
        assert result.ok, result.message
        return eventually(
            lambda: (live := self.live(manifest)).health.status is not HealthStatus.PROGRESSING and live,
            15.0,
            lambda: [log.read_text() for log in self.target.logs(ResourceRef.of(manifest))],
        )


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path)
    made.target.start()
    yield made
    made.target.stop()
    # The kernel ends what a killed shim leaves; on a busy machine that takes a moment.
    eventually(lambda: not processes.find(tmp_path), explain=lambda: "a process outlived stop()")


def test_a_job_runs_once_also_after_a_restart(yard: Yard) -> None:
    job = yard.job("ok")
    live = yard.run(job)
    assert live.health.status is HealthStatus.HEALTHY, live
    assert (yard.out / "model.bin").read_text() == "model"
    assert not yard.apply(job).changed
    yard.target.stop()
    again = LocalTarget(yard.settings, SystemClock())
    again.start()
    try:
        ref = ResourceRef.of(job)
        assert not again.apply([Action(ActionKind.CREATE, ref, job)])[0].changed
        again.tick()
        assert again.read([ref])[ref].health.status is HealthStatus.HEALTHY
        seen = {o.metric: o.value for o in again.observe()}
        assert seen["customhouse_job_cpu_seconds_total"] > 0
        assert seen["customhouse_job_peak_memory_bytes"] > 4 << 20
    finally:
        again.stop()
    assert (yard.out / "runs").read_text() == "ok\n"


def test_a_job_sees_a_small_environment_and_its_output_is_logged(yard: Yard) -> None:
    job = yard.job("ok")
    yard.run(job)
    names = set((yard.out / "environment").read_text().split())
    assert names - {"LC_CTYPE"} == {
        "HOME", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PATH",
        "PYTHONDONTWRITEBYTECODE", "RATE", "TMPDIR", "TZ",
    }  # fmt: skip
    (log,) = yard.target.logs(ResourceRef.of(job))
    assert "training 0.1" in log.read_text()


def test_an_image_with_another_digest_is_refused_with_both(yard: Yard) -> None:
    job = yard.job("ok")
    pinned = tree(yard.image).digest
    (yard.image / "train.py").write_text(TRAIN + "# changed\n")
    result = yard.apply(job)
    assert not result.ok
    assert pinned in result.message
    assert tree(yard.image).digest in result.message
    assert not (yard.out / "runs").exists()
    assert yard.target.managed() == []


def test_a_secret_reaches_the_job_and_no_disk(yard: Yard) -> None:
    reference = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    assert yard.run(yard.job("secret", env=[reference])).health.status is HealthStatus.HEALTHY
    assert (yard.out / "length").read_text() == "12"
    found = [path for path in yard.root.rglob("*") if path.is_file() and b"s3cret-value" in path.read_bytes()]
    assert found == []
    missing = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "other"}}}
    result = yard.apply(yard.job("secret", name="other", env=[missing]))
    assert not result.ok
    assert "hub/other" in result.message


@pytest.mark.parametrize(
    ("mode", "spec", "reason"),
    [
        ("fail", {}, "BackoffLimitExceeded"),
        ("hog", {}, "OOMKilled"),
        ("sleep", {"activeDeadlineSeconds": 1}, "DeadlineExceeded"),
    ],
)
def test_a_job_that_breaks_its_limits_fails_with_the_reason(yard: Yard, mode: str, spec: Any, reason: str) -> None:
    live = yard.run(yard.job(mode, spec=spec))
    assert live.health.status is HealthStatus.DEGRADED
    assert reason in live.health.message


def test_a_job_is_tried_again_as_often_as_it_says(yard: Yard) -> None:
    live = yard.run(yard.job("second", spec={"backoffLimit": 2}))
    assert live.health.status is HealthStatus.HEALTHY
    assert live.status["local"]["outcome"]["attempts"] == 2


def test_a_job_outlives_its_control_process_and_is_seen_to_the_end(yard: Yard) -> None:
    job = yard.job("sleep", spec={"activeDeadlineSeconds": 2})
    assert yard.apply(job).ok
    eventually((yard.out / "runs").exists)
    yard.target.stop(keep_serving=True)
    again = LocalTarget(yard.settings, SystemClock())
    again.start()
    try:
        ref = ResourceRef.of(job)
        eventually(lambda: again.read([ref])[ref].health.status is HealthStatus.DEGRADED)
        assert "DeadlineExceeded" in again.read([ref])[ref].health.message
    finally:
        again.stop()
    assert (yard.out / "runs").read_text() == "sleep\n"


def test_a_job_that_was_stopped_with_the_target_is_run_again_by_the_next_start(yard: Yard) -> None:
    job = yard.job("sleep", spec={"activeDeadlineSeconds": 1})
    assert yard.apply(job).ok
    eventually((yard.out / "runs").exists)
    yard.target.stop()
    assert not processes.find(yard.root)
    yard.target.start()
    eventually(lambda: "DeadlineExceeded" in yard.live(job).health.message)
    assert (yard.out / "runs").read_text() == "sleep\nsleep\n"


def test_a_job_whose_shim_is_killed_is_lost_and_leaves_no_process(yard: Yard) -> None:
    job = yard.job("sleep")
    assert yard.apply(job).ok
    eventually((yard.out / "runs").exists)
    shim = next(p for p in yard.target.processes() if p.role == "job")
    below = processes.children(shim.pid)
    assert below
    os.kill(shim.pid, signal.SIGKILL)
    eventually(lambda: "Lost" in yard.live(job).health.message)
    eventually(lambda: not any(processes.identify(pid) for pid in below))


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"args": ["/mnt/out/../../x", "ok"]}, "leads out"),
        ({"image": "apexlogic.com/trainer:1.0"}, "not pinned"),
        ({"command": []}, "no command"),
        ({"volumeMounts": [{"name": "w", "mountPath": "/mnt/out", "subPath": "../up"}]}, "out of its volume"),
        ({"volumeMounts": [{"name": "none", "mountPath": "/mnt/out"}]}, "no volume"),
    ],
)
def test_a_job_that_cannot_run_as_declared_is_refused(yard: Yard, container: Any, words: str) -> None:
    result = yard.apply(yard.job("ok", **container))
    assert not result.ok
    assert words in result.message
    assert list((yard.root / "state" / "local" / "jobs").iterdir()) == []
