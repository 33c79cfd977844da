"""Whose objects are they: a fork of a repository, and the note of what is allowed, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_repository import git
from test_up_kubernetes import ClusterWorld, settings_of

from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")
_MAPS = "/api/v1/namespaces/customhouse-system/configmaps"


@pytest.fixture
def source(kubernetes: ControlPlane) -> str:
    """A name for an inventory that no other test has."""
    return f"forked-{kubernetes.namespace('id')}"[:52]


@pytest.fixture
def worlds(tmp_path: Path, kubernetes: ControlPlane, source: str) -> Iterator[tuple[ClusterWorld, ClusterWorld]]:
    """A repository with five objects, and a fork of it: each has an object that the other has not."""
    made = []
    for name in ("first", "fork"):
        (tmp_path / name).mkdir()
        made.append(ClusterWorld(tmp_path / name, kubernetes, "manage", source))
    first, fork = made
    fork.namespace = first.namespace
    first.push({f"{key}.yaml": settings_of(key, first.namespace, "both") for key in "abcde"}, "five")
    git(first.clone, "push", "-q", "-f", str(fork.remote), "HEAD:main")
    first.put("mine", "first")
    fork.put("theirs", "fork")
    yield first, fork
    for world in made:
        world.close()


def test_a_fork_and_its_origin_under_one_name_delete_nothing_of_one_another(
    worlds: tuple[ClusterWorld, ClusterWorld], kubernetes: ControlPlane, source: str
) -> None:
    first, fork = worlds

    def texts() -> list[str]:
        return [first.text(key) for key in (*"abcde", "mine", "theirs")]

    applied = ["both"] * 5 + ["first", ""]
    first.start()
    first.until(lambda: texts() == applied)
    # Both at once: the other has the Lease, and what it applied is not this one's to replace.
    fork.start()
    said = fork.problem("applied last from the commit", "not in the history", f"delete configmap followed-{source}")
    assert first.head[:12] in said
    assert first.end() == 0
    # Alone, and a commit later, it has had every occasion.
    later = fork.put("b", "fork")
    fork.until(lambda: fork.overview().get("deployed") == later)
    fork.problem("not in the history")
    assert texts() == applied
    # A person says that the fork takes over: what it does not declare goes, within the budget.
    kubernetes.call("DELETE", f"{_MAPS}/followed-{source}")
    fork.until(lambda: texts() == ["both", "fork", "both", "both", "both", "", "fork"])
    assert fork.end() == 0
    first.start()
    first.problem("not in the history")
    assert texts() == ["both", "fork", "both", "both", "both", "", "fork"]


def test_the_last_allowed_commit_is_noted_for_the_webhook_and_a_denied_one_is_not(
    tmp_path: Path, kubernetes: ControlPlane
) -> None:
    world = ClusterWorld(tmp_path, kubernetes, "observe")
    name = f"allowed-{world.namespace}"
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "customhouse-system"}}
    kubernetes.apply("/api/v1/namespaces/customhouse-system", home)

    def noted() -> dict[str, Any]:
        found = kubernetes.call("GET", _MAPS)["items"]
        texts = [item["data"]["allowed.json"] for item in found if item["metadata"]["name"] == name]
        return json.loads(texts[0]) if texts else {}

    try:
        good = world.put("one", "first")
        world.start(CUSTOMHOUSE_ALLOWED_IN=name)
        world.until(lambda: noted().get("revision") == good)
        note = noted()
        assert note["schema"] == "customhouse.dev/allowed/v1"
        assert note["repository"] == f"main@{git(world.clone, 'rev-list', '--max-parents=0', 'HEAD')}"
        assert note["paths"] == []
        assert world.text("one") == ""  # nothing else is written
        secret = settings_of("two", world.namespace, "hunter2").replace("ConfigMap", "Secret")
        secret = secret.replace("\ndata", "\nstringData")
        denied = world.push({"two.yaml": secret})
        world.problem(denied[:12], "denied")
        assert noted() == note
        better = world.push({"two.yaml": None})
        world.until(lambda: noted().get("revision") == better)
    finally:
        world.close()
        kubernetes.call("DELETE", f"{_MAPS}/{name}")
