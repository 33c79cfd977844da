"""A commit of hundreds of changes is entered in parts; wherever that is interrupted, it comes out whole, and once."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app import following as followed
from customhouse.app import wiring
from customhouse.app.following import Books, Following
from customhouse.app.memory import Memory
from customhouse.app.metering import Metering
from customhouse.app.outbox import Outbox
from customhouse.app.rollouts import Rollouts
from customhouse.app.settings import Settings
from customhouse.app.standing import Standing
from customhouse.core.errors import StateError
from customhouse.core.ledger import Entry
from customhouse.policy.adapters.guarded import GuardedEngine

COUNT = 23
RULES = """\
apiVersion: customhouse.dev/v1
target: {kind: kubernetes, kubeconfig: none, mode: manage}
policy: {requireSignedCommits: false}
optimiser: {autonomy: observe}
"""
OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m%s, namespace: shop}\ndata: {a: '%s'}\n---\n"


class World:
    """What judges and enters commits, over a real repository and a real store, without a cluster."""

    def __init__(self, root: Path) -> None:
        self.remote, self.clone = root / "remote.git", root / "clone"
        self._git(root, "init", "-q", "--bare", "-b", "main", str(self.remote))
        self._git(root, "init", "-q", "-b", "main", str(self.clone))
        self._git(self.clone, "remote", "add", "origin", str(self.remote))
        self.settings = Settings(root / ".customhouse", engine="embedded")
        self.clock, self.engine = FixedClock(datetime(2026, 11, 23, 4, tzinfo=UTC)), GuardedEngine()
        self.push("customhouse.yaml", RULES)
        self.source = wiring.repository(self.settings, str(self.remote), "main")
        self.store = wiring.store(self.settings)
        self.begin()

    def begin(self) -> None:
        """As a process that has just started."""
        self.ledger = wiring.ledger(self.settings, self.store, write=True)
        memory = Memory(self.store.state)
        self.outbox, self.rollouts = Outbox(memory, self.ledger), Rollouts(memory)
        standing = Standing(self.settings, self.source, memory)
        self.following = Following(self.settings, self.source, standing, memory, self.outbox, self.engine, self.clock)
        target: Any = SimpleNamespace(read=lambda _: {})
        metering = Metering(memory, self.store.measurements)
        self.books = Books(
            self.store.decisions, self.store.releases, self.store.measurements, self.rollouts, metering, target
        )
        self.following.found()
        self.memory = memory

    def push(self, name: str, text: str) -> None:
        """Commit a file and push it."""
        (self.clone / name).write_text(text)
        self._git(self.clone, "add", name)
        self._git(self.clone, "commit", "-q", "-m", name)
        self._git(self.clone, "push", "-q", "origin", "HEAD:main")

    def follow(self) -> None:
        """Judge what is new."""
        self.following.head = self.source.fetch()
        for commit in self.following.new_commits():
            assert self.following.consider(commit, self.books)

    def entered(self) -> Counter[str]:
        """The keys of the ledger's entries on Decisions."""
        found: list[tuple[int, Entry]] = list(self.ledger.entries(0, self.ledger.size))
        return Counter(entry.key for _, entry in found if entry.kind == "decision")

    @staticmethod
    def _git(folder: Path, *arguments: str) -> None:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(followed, "_AT_ONCE", 10)
    monkeypatch.setattr(followed, "_ENTERED", 7)
    made = World(tmp_path)
    made.follow()
    yield made
    made.engine.close()
    made.store.close()


@pytest.mark.parametrize("when", [0, 2, 4])
def test_wherever_it_is_interrupted_every_decision_is_entered_once(
    world: World, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    before = len(world.entered())
    world.push("objects.yaml", "".join(OBJECT % (number, "1") for number in range(COUNT)))
    append, calls = world.ledger.append, 0

    def interrupted(entries: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > when:
            raise StateError("the disk is full")
        return append(entries)

    monkeypatch.setattr(world.ledger, "append", interrupted)
    if when < 4:
        with pytest.raises(StateError):
            world.follow()
    else:
        world.follow()
    world.clock.advance(60)
    world.begin()
    world.outbox.deliver()
    world.follow()
    found = world.entered()
    assert set(found.values()) == {1}
    assert len(found) == before + COUNT
    assert len(world.store.decisions.recent(999)) == len(found)
    assert world.memory.judged == world.following.head


def test_few_are_entered_with_what_is_done_about_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.push("objects.yaml", "".join(OBJECT % (number, "1") for number in range(10)))
    monkeypatch.setattr(world.outbox, "enter", None)
    world.follow()
    assert len([key for key in world.entered() if "ConfigMap" in key]) == 10
