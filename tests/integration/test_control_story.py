"""The control plane's part of a deployment, with real Git: commit, apply, drift, a bad commit, its revert."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from control_repository import clone, git, remote, write

from customhouse._kit.clock import FixedClock
from customhouse.control.adapters.git import GitRepository
from customhouse.control.diff import changes
from customhouse.control.edit import edit
from customhouse.control.reconcile import DriftKind, reconcile
from customhouse.control.render import render
from customhouse.control.rollback import is_rollback, plan_rollback
from customhouse.control.source import Identity
from customhouse.core.change import Actor, ActorKind, Operation
from customhouse.core.errors import DeclarationError, SourceError
from customhouse.core.proposal import FieldEdit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit" / "control"))

from control_world import MemoryStore, MemoryTarget

__all__ = ["clone", "remote"]

MANIFEST = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: fraud-detection}
spec:
  predictor:
    minReplicas: 1   # one is enough
    model:
      modelFormat: {name: onnx}
      storageUri: pvc://models/v2.0
"""
BOT = Identity("Customhouse", "customhouse@example.com")
ADA = Actor(ActorKind.PERSON, "Ada <ada@example.com>")


@pytest.fixture
def repository(tmp_path: Path, remote: Path) -> GitRepository:
    return GitRepository(str(remote), tmp_path / "mirror.git", clock=FixedClock(datetime(2026, 1, 31, tzinfo=UTC)))


def test_a_bad_commit_is_undone_in_git_and_in_the_target(repository: GitRepository, clone: Path, remote: Path) -> None:
    target, store = MemoryTarget(), MemoryStore()
    first = write(clone, {"m.yaml": MANIFEST, "notes.md": "x"}, "Serve v2.0")
    head = repository.fetch()
    good = render(repository.files(head))
    assert reconcile(target, store, "repo", head, good).ok

    target.objects[good[0].ref] = {**good[0].manifest, "spec": {"predictor": {"minReplicas": 9}}}
    report = reconcile(target, store, "repo", head, good)
    assert [item.kind for item in report.drift] == [DriftKind.ALTERED]
    assert reconcile(target, store, "repo", head, good).settled

    bad_commit = write(clone, {"m.yaml": MANIFEST.replace("v2.0", "v2.2")}, "Serve v2.2")
    write(clone, {"notes.md": "y"}, "Unrelated")
    head = repository.fetch()
    bad = render(repository.files(head))
    (change,) = changes(good, bad, None, ADA)
    assert change.operation is Operation.UPDATE
    assert change.after is not None
    assert str(change.after.locate("/spec/predictor/model/storageUri")) == "m.yaml:9:19"
    reconcile(target, store, "repo", head, bad)

    history = [
        (commit, next(item.digest for item in render(repository.files(commit))))
        for commit in repository.commits(None, head)
    ]
    plan = plan_rollback(history, [], good[0].ref, bad[0].digest, subject="Serve v2.2", reason="log loss 0.31")
    assert plan.commit == bad_commit
    reverted = repository.revert(plan.commit, "main", plan.message, identity=BOT)
    assert git(remote, "rev-parse", "main") == reverted
    assert is_rollback(repository.message(reverted))
    assert repository.read(reverted, "notes.md") == b"y"
    assert reconcile(target, store, "repo", reverted, render(repository.files(reverted))).ok
    assert target.objects[good[0].ref] == good[0].manifest
    assert first == repository.merge_base(first, reverted)


def test_a_proposal_is_a_one_line_commit_on_a_branch(repository: GitRepository, clone: Path, remote: Path) -> None:
    write(clone, {"m.yaml": MANIFEST})
    head = repository.fetch()
    (service,) = render(repository.files(head))
    text = repository.read(head, service.location.file)
    assert text is not None
    edited = edit(text, service.ref, [FieldEdit("/spec/predictor/minReplicas", "2")], file="m.yaml")
    made = repository.commit(head, "optimise/1", {"m.yaml": edited}, "Two replicas", identity=BOT)
    assert repository.fetch() == head
    assert git(remote, "diff", "--numstat", head, made) == "1\t1\tm.yaml"


def test_a_broken_commit_applies_nothing(repository: GitRepository, clone: Path) -> None:
    write(clone, {"m.yaml": MANIFEST})
    repository.fetch()
    write(clone, {"n.yaml": "a: [1\n"})
    with pytest.raises(DeclarationError) as caught:
        render(repository.files(repository.fetch()))
    assert caught.value.where.startswith("n.yaml:")
    (clone / "n.yaml").unlink()
    (clone / "n.yaml").symlink_to("m.yaml")
    write(clone, {})
    with pytest.raises(SourceError, match="symbolic link"):
        render(repository.files(repository.fetch()))
