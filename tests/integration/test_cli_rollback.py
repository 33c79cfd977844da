"""`customhouse rollback`: which commit it undoes, as often as it is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from control_repository import clone, git, remote, write

from customhouse._kit.digest import bytes_digest
from customhouse.app.rollingback import rollback
from customhouse.app.settings import read_settings
from customhouse.app.wiring import STORE_FILE
from customhouse.core.errors import SourceError, UsageError
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef
from customhouse.store import open_store

__all__ = ["clone", "remote"]


class World:
    """A remote with versions of one workload, and the record of what was promoted."""

    def __init__(self, remote: Path, clone: Path) -> None:
        self.remote, self.clone = remote, clone
        self.state = clone.parent / "state"
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def commit(self, version: str, name: str = "web") -> str:
        return write(self.clone, {f"{name}.yaml": f"version: {version}\n"}, f"Serve {version}")

    def promoted(
        self, version: str, commit: str, kind: str = "InferenceService", phase: RolloutPhase = RolloutPhase.PROMOTED
    ) -> None:
        self.at += timedelta(minutes=1)
        ref = ResourceRef("v1", kind, "prod", "web")
        release = Release(ref, bytes_digest(version.encode()), commit, "Ada", "", "allow", "", phase, self.at)
        with open_store(self.state / STORE_FILE) as store:
            store.releases.record(release)

    def rollback(self, name: str = "web") -> str:
        return rollback(read_settings(state=str(self.state)), str(self.remote), "main", name, "slow").commit

    def content(self) -> str:
        return git(self.remote, "show", "main:web.yaml")


@pytest.fixture
def world(remote: Path, clone: Path) -> World:
    world = World(remote, clone)
    for version in ("v1", "v2", "v3"):
        world.promoted(version, world.commit(version))
    return world


def test_asked_again_it_goes_one_release_further_back(world: World) -> None:
    world.promoted("v2", world.rollback())
    assert world.content() == "version: v2"
    world.promoted("v1", world.rollback())
    assert world.content() == "version: v1"


def test_what_a_person_reverted_is_not_brought_back(world: World) -> None:
    git(world.clone, "revert", "--no-edit", "HEAD")
    git(world.clone, "push", "-q", "origin", "HEAD")
    world.promoted("v2", git(world.clone, "rev-parse", "HEAD"))
    world.rollback()
    assert world.content() == "version: v1"


def test_the_commit_says_what_it_undoes_and_why(world: World) -> None:
    last = git(world.remote, "rev-parse", "main")
    commit = world.rollback()
    message = git(world.remote, "log", "-1", "--format=%B", commit)
    assert message.startswith('Revert "Serve v3"')
    assert f"This reverts commit {last}." in message
    assert "Customhouse-Rollback: " in message
    assert message.endswith("slow")
    assert git(world.remote, "log", "-1", "--format=%an", commit) == "Customhouse"


def test_a_name_that_several_workloads_have_must_be_told_apart(world: World) -> None:
    world.promoted("job", world.commit("job", "job"), "Job")
    with pytest.raises(UsageError) as caught:
        world.rollback()
    assert "Job/prod/web" in caught.value.hint
    with pytest.raises(UsageError):
        world.rollback("prod/web")
    world.rollback("InferenceService/prod/web")
    assert world.content() == "version: v2"


@pytest.mark.parametrize("name", ["other", "test/web", "Job/prod/web", "a/b/prod/web", "", "/"])
def test_what_was_never_released_cannot_be_rolled_back(world: World, name: str) -> None:
    with pytest.raises(UsageError, match="was released"):
        world.rollback(name)


def test_what_was_rolled_back_already_does_not_count(world: World) -> None:
    world.promoted("v4", world.commit("v4"), phase=RolloutPhase.ROLLED_BACK)
    with pytest.raises(SourceError):  # v3 cannot be undone below v4, which a person has to sort out
        world.rollback()
    assert world.content() == "version: v4"
