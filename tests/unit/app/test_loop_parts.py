"""Parts of the control loop: what is stored before it is done, and what a kill in between must not lose or double."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock, to_rfc3339
from customhouse.app.declared import declarations_of
from customhouse.app.exclusive import Exclusive
from customhouse.app.governance import governance
from customhouse.app.journal import charged
from customhouse.app.memory import CHARGED, OUTBOX, Memory
from customhouse.app.metering import Metering
from customhouse.app.outbox import Outbox
from customhouse.app.rollouts import Rollouts
from customhouse.app.spend import month_charges
from customhouse.control.adapters.git_objects import GitObjects
from customhouse.control.adapters.git_program import Git
from customhouse.control.adapters.git_refs import picture
from customhouse.control.diff import changes
from customhouse.control.rendering import Sight
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.errors import StateError, TamperError
from customhouse.core.ledger import Entry
from customhouse.core.observation import Observation
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.execution.objects import release_of
from customhouse.store import open_store
from customhouse.store.database import Store
from customhouse.trust.keys import generate
from customhouse.trust.ledger import Ledger

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
ADA = Actor(ActorKind.PERSON, "Ada")


@pytest.fixture
def store(tmp_path: Path):
    with open_store(tmp_path / "state.db") as opened:
        yield opened


def ledger_of(store: Store) -> Ledger:
    return Ledger(store.ledger, generate(), "customhouse.dev/test", FixedClock(NOW))


def manifest(name: str, model: str = "v1", team: str = "a") -> dict[str, Any]:
    annotations = {
        "customhouse.dev/model-digest": "sha256:" + model[-1] * 64,
        "customhouse.dev/rollout": "canary",
        "customhouse.dev/rollout-analysis": "min-requests=0, min-labelled=0",
    }
    serving = {
        "modelFormat": {"name": "onnx"},
        "storageUri": f"pvc://models/{model}",
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "shop", "labels": {"team": team}, "annotations": annotations},
        "spec": {"predictor": {"minReplicas": 1, "model": serving}},
    }


def declared(document: dict[str, Any]) -> Declaration:
    return Declaration(ResourceRef.of(document), document, Location("a.yaml"))


def note(key: str) -> Entry:
    return Entry(key, "note", NOW, "Ada", ("commit:1",), {"text": key})


# the outbox
def test_entries_are_stored_with_the_state_and_delivered_by_the_next_life(store: Store) -> None:
    ledger, memory = ledger_of(store), Memory(store.state)
    Outbox(memory, ledger).put({"control/judged": "c1"}, [note("a"), note("b")])
    assert store.ledger.size() == 0  # killed here
    again = Memory(store.state)
    assert again.judged == "c1"
    Outbox(again, ledger).deliver()
    assert [entry.key for _, entry in ledger.entries()] == ["a", "b"]
    assert store.state.get(OUTBOX) is None


def test_entries_delivered_right_before_a_kill_are_not_written_twice(store: Store) -> None:
    ledger, memory = ledger_of(store), Memory(store.state)
    Outbox(memory, ledger).put({}, [note("a")])
    ledger.append([note("a")])  # killed before the outbox was emptied
    Outbox(Memory(store.state), ledger).deliver()
    assert store.ledger.size() == 1


def test_a_disk_that_is_full_leaves_neither_state_nor_entries(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, memory = ledger_of(store), Memory(store.state)
    outbox = Outbox(memory, ledger)
    outbox.commit({"control/judged": "c1"})
    put = type(store.state).put

    def full(*_: object) -> None:
        raise StateError("database or disk is full")

    monkeypatch.setattr(type(store.state), "put", full)
    with pytest.raises(StateError):
        outbox.commit({"control/judged": "c2"}, [note("a")])
    monkeypatch.setattr(type(store.state), "put", put)
    outbox.deliver()
    assert memory.judged == "c1"
    assert store.ledger.size() == 0


def test_what_waits_and_is_damaged_is_told_when_it_is_delivered_and_not_at_the_start(store: Store) -> None:
    store.state.put({OUTBOX: ["{}"]})
    outbox = Outbox(Memory(store.state), ledger_of(store))
    with pytest.raises(TamperError):
        outbox.deliver()
    assert store.state.get(OUTBOX) == ["{}"]


def test_what_was_never_there_is_not_deleted_and_what_is_there_is(store: Store) -> None:
    memory = Memory(store.state)
    memory.put({"pending/a": 1, "pending/b": 2, "removing/c": 3, "release/d": 4})
    assert memory.all("pending/") == {"pending/a": 1, "pending/b": 2}
    memory.put({"pending/a": None, "pending/none": None, "removing/c": None, "release/d": None, "release/none": None})
    assert memory.all("pending/") == Memory(store.state).all("pending/") == {"pending/b": 2}
    assert store.state.keys("") == ("pending/b",)
    memory.put({"pending/none": None})


# what a commit declares
def test_a_commit_is_rendered_once_for_all_that_ask_the_same_and_again_for_who_asks_otherwise(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {folder}}}\n"
        (tmp_path / folder / "one.yaml").write_text(text)
    commits = []
    for text in ("x", "y"):
        (tmp_path / "README.md").write_text(text)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", text], check=True)
        commits.append(
            subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout[:40]
        )
    tree = GitObjects(Git(tmp_path / ".git", dict(os.environ)))
    first = declarations_of(tree, commits[0], (), sight=Sight())
    assert [item.ref.name for item in first] == ["a", "b"]
    assert declarations_of(tree, commits[0], ()) is first
    assert [item.ref.name for item in declarations_of(tree, commits[0], ("b",))] == ["b"]
    sight = Sight()
    assert declarations_of(tree, commits[0], (), sight=sight) == first
    assert sight.files == {"a/one.yaml", "b/one.yaml"}
    # Of the next commit the files that are as they were declare the very same objects.
    again = declarations_of(tree, commits[1], ())
    assert again is not first
    assert all(one is other for one, other in zip(first, again, strict=True))
    assert changes(first, again, None, ADA) == ()


# money
def running(ref: ResourceRef, release: str, at: datetime, cpu: float) -> list[Observation]:
    def seen(metric: str, unit: str, value: float) -> Observation:
        return Observation(at, "local", ref, release, metric, unit, value, f"{ref.name}-0", {})

    return [seen("process_cpu_seconds_total", "seconds", cpu), seen("process_resident_memory_bytes", "bytes", 1e8)]


def sampled(store: Store, memory: Memory, metering: Metering, *documents: dict[str, Any]) -> None:
    memory.put({CHARGED: to_rfc3339(NOW)})
    for document in documents:
        ref, release = ResourceRef.of(document), release_of(document)
        memory.put(metering.remember(ref, release, document, ""))
        for second in range(0, 60, 10):
            metering.sample(running(ref, release, NOW + timedelta(seconds=second), second / 10))


def test_two_services_that_run_the_same_release_are_both_charged_to_their_owners(store: Store) -> None:
    one, two = manifest("one", team="a"), manifest("two", team="b")
    assert release_of(one) == release_of(two)
    memory = Memory(store.state)
    metering = Metering(memory, store.measurements)
    sampled(store, memory, metering, one, two)
    metering.charge(governance(None, None), NOW + timedelta(minutes=1))
    found = month_charges(store.measurements, NOW)
    teams = {(charge.resource.name, charge.labels.get("team")) for charge in found if charge.amount.pico}
    assert teams == {("one", "a"), ("two", "b")}


def test_a_charge_interrupted_by_a_kill_is_made_once_and_the_next_begins_where_it_ended(store: Store) -> None:
    memory = Memory(store.state)
    metering = Metering(memory, store.measurements)
    sampled(store, memory, metering, manifest("one"))
    rules = governance(None, None)
    first = metering.charge(rules, NOW + timedelta(minutes=1))
    once = month_charges(store.measurements, NOW)
    # Killed before the end of the interval was stored: the next life charges the same interval, then the rest.
    memory = Memory(store.state)
    metering = Metering(memory, store.measurements)
    assert metering.interrupted
    again = metering.charge(rules, NOW + timedelta(minutes=3))
    assert month_charges(store.measurements, NOW) == once
    assert [entry.key for entry in again.entries] == [entry.key for entry in first.entries]
    memory.put(again.documents)
    assert not metering.interrupted
    assert memory.charged_until == to_rfc3339(NOW + timedelta(minutes=1))


def test_a_clock_that_was_put_back_charges_nothing(store: Store) -> None:
    memory = Memory(store.state)
    metering = Metering(memory, store.measurements)
    sampled(store, memory, metering, manifest("one"))
    back = metering.charge(governance(None, None), NOW - timedelta(hours=1))
    assert (back.documents, back.entries) == ({}, ())
    assert memory.charged_until == to_rfc3339(NOW)


def test_two_jobs_of_the_same_second_are_two_charges() -> None:
    end = NOW + timedelta(seconds=1)
    keys = {item.key for job in ("Job a/one", "Job a/two") for item in charged([], NOW, end, job)}
    assert len(keys) == 2


# canaries
def update(before: dict[str, Any], after: dict[str, Any]) -> Change:
    ref = ResourceRef.of(after)
    return Change(Operation.UPDATE, ref, declared(before), declared(after), None, ADA)


def live(document: dict[str, Any], status: HealthStatus) -> dict[ResourceRef, LiveObject]:
    ref = ResourceRef.of(document)
    return {ref: LiveObject(ref, document, Health(status, ""), {"local": {}})}


def test_a_canary_goes_no_further_while_its_release_is_not_ready_however_little_it_asks_for(store: Store) -> None:
    old, new = manifest("one", "v1"), manifest("one", "v2")
    memory = Memory(store.state)
    rollouts = Rollouts(memory)
    documents, walks = rollouts.begun_by([update(old, new)], live(old, HealthStatus.HEALTHY), "c2", (), NOW)
    memory.put(documents)
    start = walks[0].state.weight
    for step in range(1, 5):
        for moved in rollouts.advance([], live(new, HealthStatus.PROGRESSING), NOW + timedelta(seconds=step)):
            memory.put(moved.documents)
    (walk,) = rollouts.walks().values()
    assert walk.state.weight == start
    for moved in rollouts.advance([], live(new, HealthStatus.HEALTHY), NOW + timedelta(seconds=9)):
        memory.put(moved.documents)
    (walk,) = rollouts.walks().values()
    assert walk.state.weight > start


def test_a_label_edited_during_a_canary_does_not_begin_it_anew(store: Store) -> None:
    old, new, touched = manifest("one", "v1"), manifest("one", "v2"), manifest("one", "v2", team="b")
    memory = Memory(store.state)
    rollouts = Rollouts(memory)
    documents, _ = rollouts.begun_by([update(old, new)], live(old, HealthStatus.HEALTHY), "c2", (), NOW)
    memory.put(documents)
    more, walks = rollouts.begun_by([update(new, touched)], live(new, HealthStatus.HEALTHY), "c3", (), NOW)
    memory.put(more)
    assert walks == ()
    (walk,) = rollouts.walks().values()
    assert walk.commit == "c2"
    assert walk.stable["spec"]["predictor"]["model"]["storageUri"] == "pvc://models/v1"


# one at a time
def test_a_state_belongs_to_one_control_plane_until_its_process_ends(tmp_path: Path) -> None:
    program = "import sys, time; from pathlib import Path; from customhouse.app.exclusive import Exclusive; "
    program += "held = Exclusive(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StateError, match="another control plane"):
            Exclusive(tmp_path)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    mine = Exclusive(tmp_path)
    mine.release()
    mine.release()


# a repository nearby
def test_the_files_of_a_repository_tell_when_a_branch_moved(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(tmp_path)}
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]

    def git(*arguments: str) -> None:
        subprocess.run(["git", *who, *arguments], cwd=tmp_path / "r", env=env, check=True, capture_output=True)

    (tmp_path / "r").mkdir()
    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "one")
    first = picture(str(tmp_path / "r"))
    assert first is not None
    assert picture(str(tmp_path / "r")) == first
    git("commit", "-q", "--allow-empty", "-m", "two")
    second = picture(str(tmp_path / "r"))
    assert second != first
    git("branch", "other")
    third = picture(str(tmp_path / "r"))
    assert third != second
    git("pack-refs", "--all")
    assert picture(str(tmp_path / "r")) != third
    git("worktree", "add", "-q", "../linked", "other")
    assert picture(str(tmp_path / "linked")) is None
    assert picture("https://example.com/r.git") is None
    assert picture(str(tmp_path)) is None
