"""A training Job on the local target whose machine goes: it saves, and ends as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from execution_world import eventually
from up_world import RULES, UpWorld

from customhouse._kit.clock import SystemClock, to_rfc3339
from customhouse._kit.digest import tree
from customhouse.app.interruptions import local_records
from customhouse.cli.program import run
from customhouse.core.plan import Action, ActionKind, HealthStatus, LiveObject
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local import processes
from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget

STEPS, HALF = 120, 60
IMAGE = "registry.apexlogic.com/train"


class Ground:
    """The example's Job, in a folder of its own."""

    def __init__(self, root: Path, example: Path) -> None:
        self.image, self.kept = example / "image", root / "kept"
        self.kept.mkdir(parents=True)
        self.manifest: dict[str, Any] = yaml.safe_load((example / "job.yaml").read_text())
        container = self.manifest["spec"]["template"]["spec"]["containers"][0]
        container["image"] = f"{IMAGE}@{tree(self.image).digest}"
        container["command"] = ["python", "train.py", "--steps", str(STEPS), "--out", "/checkpoints/model.bin"]
        self.state = root / "state"
        settings = LocalSettings(state=self.state, volumes={"train-state": self.kept}, images={IMAGE: self.image})
        self.settings = settings
        self.target = LocalTarget(settings, SystemClock())
        self.target.start()

    @property
    def ref(self) -> ResourceRef:
        return ResourceRef.of(self.manifest)

    def waits(self, step: int) -> None:
        """A first run that stops at a step until it is asked to end: what follows does not depend on how fast it is."""
        self.manifest["spec"]["template"]["spec"]["containers"][0]["command"] += ["--wait-at", str(step)]

    def apply(self) -> None:
        (done,) = self.target.apply([Action(ActionKind.CREATE, self.ref, self.manifest)])
        assert done.ok, done.message

    def live(self) -> LiveObject:
        return self.target.read([self.ref])[self.ref]

    def interruptions(self) -> list[dict[str, Any]]:
        return list(self.live().status["local"]["interruptions"])

    def step(self) -> int:
        place = self.kept / "state.json"
        return int(json.loads(place.read_text())["step"]) if place.exists() else -1

    def done(self) -> str:
        """Wait until it has succeeded; the digest of what it made."""
        eventually(lambda: self.live().health.status is HealthStatus.HEALTHY, 120, self.live)
        return sha256((self.kept / "model.bin").read_bytes()).hexdigest()

    def said(self) -> str:
        return "".join(path.read_text() for path in self.target.logs(self.ref))

    def notice(self, *options: str) -> None:
        assert run(["schedule", "interrupt", "--state", str(self.state), *options]) == 0


@pytest.fixture
def grounds(tmp_path: Path, repository_root: Path) -> Iterator[tuple[Ground, Ground]]:
    example = repository_root / "examples" / "spot-training"
    made = tuple(Ground(tmp_path / name, example) for name in ("calm", "taken"))
    yield made[0], made[1]
    for one in made:
        one.target.stop()


def test_a_training_job_saves_on_a_notice_and_ends_with_the_bytes_of_an_uninterrupted_run(
    grounds: tuple[Ground, Ground],
) -> None:
    calm, taken = grounds
    calm.apply()
    taken.waits(HALF)
    taken.apply()
    eventually(lambda: taken.step() == HALF, 120, taken.said)

    # 1. The notice: it saves and ends; while the notice stands nothing is started, and a second one asks nobody twice.
    taken.notice("--seconds", "3600", "--reason", "spot-itn")
    eventually(lambda: taken.interruptions() and taken.interruptions()[0]["ended"], 120, taken.said)
    assert f"saved at step {HALF}" in taken.said()
    assert taken.live().health.status is HealthStatus.PROGRESSING
    for _ in range(3):
        taken.target.tick()
    (first,) = taken.interruptions()
    assert (first["reason"], first["again"]) == ("spot-itn", None)

    # 2. Another control process takes over in between: it knows, and asks nobody again.
    taken.target.stop()
    taken.target = LocalTarget(taken.settings, SystemClock())
    taken.target.start()
    taken.target.tick()
    assert [item["again"] for item in taken.interruptions()] == [None]

    # 3. The notice is gone, as the next machine has none: it goes on where it was.
    taken.notice("--withdraw")
    assert taken.done() == calm.done()
    assert f"resumed at step {HALF}" in taken.said()
    assert taken.interruptions()[0]["again"]
    assert calm.interruptions() == []
    texts = [item.text for item in local_records({taken.ref: taken.live()})]
    assert texts[0] == "Job training/train ended before it was done: spot-itn"
    assert texts[1].startswith("Job training/train runs again")
    losses = [float(line.rpartition(" ")[2]) for line in taken.said().splitlines() if "loss" in line]
    assert losses == sorted(losses, reverse=True)


def test_a_machine_that_goes_without_a_word_loses_what_was_done_since_the_last_save(
    grounds: tuple[Ground, Ground],
) -> None:
    _, taken = grounds
    taken.waits(HALF)
    taken.apply()
    eventually(lambda: taken.step() == HALF, 120, taken.said)
    for reading in taken.target.processes():
        identity = processes.identify(reading.pid)
        if reading.role == "job" and identity is not None:
            processes.send(identity, 9)
    taken.done()
    assert f"resumed at step {HALF}" in taken.said()
    assert [item["reason"] for item in taken.interruptions()] == ["lost without a notice"]


@pytest.mark.parametrize("written", ['{"time": "soon"}', "not json", "{}", '{"seconds": -4}', '{"seconds": 1e400}'])
def test_a_notice_that_cannot_be_read_is_one_all_the_same(grounds: tuple[Ground, Ground], written: str) -> None:
    _, taken = grounds
    (taken.state / "local" / "notice.json").write_text(written)
    taken.target.tick()
    taken.apply()
    taken.target.tick()
    assert taken.target.processes()[1:] == ()  # the gateway alone


def test_a_notice_that_the_machine_has_outlived_holds_nothing_up(grounds: tuple[Ground, Ground]) -> None:
    _, taken = grounds
    past = to_rfc3339(SystemClock().now() - timedelta(minutes=5))
    (taken.state / "local" / "notice.json").write_text(json.dumps({"action": "terminate", "time": past}))
    taken.apply()
    taken.done()


def test_state_that_would_go_with_the_machine_is_refused(grounds: tuple[Ground, Ground]) -> None:
    _, taken = grounds
    taken.manifest["spec"]["template"]["spec"]["volumes"] = [{"name": "state", "emptyDir": {}}]
    (done,) = taken.target.apply([Action(ActionKind.CREATE, taken.ref, taken.manifest)])
    assert not done.ok
    assert "nothing that is saved at /checkpoints outlives the run" in done.message
    assert "mount a persistentVolumeClaim" in done.message


def test_up_enters_the_interruption_in_the_ledger_and_status_tells_of_no_failure(
    tmp_path: Path, repository_root: Path
) -> None:
    more = f"    models: artifacts\n    train-state: kept\n  images:\n    {IMAGE}: image\n"
    rules = RULES.replace("    models: artifacts\n", more)
    rules = rules.replace("policy:\n", f"policy:\n  trustedRegistries: [{IMAGE.partition('/')[0]}]\n")
    example = repository_root / "examples" / "spot-training"
    world = UpWorld(tmp_path, rules, {"image/train.py": (example / "image" / "train.py").read_text()})
    kept = tmp_path / "kept"
    manifest = yaml.safe_load((example / "job.yaml").read_text())
    for labels in (manifest["metadata"]["labels"], manifest["spec"]["template"]["metadata"]["labels"]):
        del labels["customhouse.dev/tier"]  # its evidence is of no matter here
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["image"] = f"{IMAGE}@{tree(world.clone / 'image').digest}"
    container["command"] = ["python", "train.py", "--steps", str(STEPS), "--out", "/checkpoints/model.bin"]
    container["command"] += ["--wait-at", str(HALF)]
    try:
        world.push({"job.yaml": yaml.safe_dump(manifest)}, "train")
        world.start()
        world.until((kept / "state.json").exists, 120)
        assert world.cli("schedule", "interrupt", "--seconds", "3600", "--reason", "spot-itn").returncode == 0
        world.until(lambda: world.entries("interruption"), 120)
        assert not (kept / "model.bin").exists()
        assert world.cli("schedule", "interrupt", "--withdraw").returncode == 0
        world.until(lambda: len(world.entries("interruption")) == 2, 120)
        world.until((kept / "model.bin").exists, 120)
        texts = [entry.body["text"] for entry in world.entries("interruption")]
        assert texts[0] == "Job training/train ended before it was done: spot-itn"
        assert texts[1].startswith("Job training/train runs again")
        world.until(lambda: world.entries("training-run"), 120)
        world.until(lambda: world.overview()["problem"] == "", 120)
        assert world.end() == 0
    finally:
        world.close()
