"""Whose objects are they: a fork of a repository, and the note of what is allowed, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from admission_world import as_user, register, start_webhook
from control_repository import git
from test_up_kubernetes import ClusterWorld, settings_of
from test_up_several_clusters import image_of, server_of

from kubernetes_plane import ControlPlane, KubernetesError

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


def test_a_webhook_holds_to_the_commit_that_up_notes_and_lets_in_and_go_what_it_says(
    tmp_path: Path, kubernetes: ControlPlane, source: str
) -> None:
    world = ClusterWorld(tmp_path, kubernetes, "observe", source)
    name, hook = f"allowed-{world.namespace}", tmp_path / "hook"
    hook.mkdir()
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "customhouse-system"}}
    kubernetes.apply("/api/v1/namespaces/customhouse-system", home)
    strict = "admission: {requireRevision: true}\nbudgets: [{name: all, monthly: '100000'}]\n"
    rules = f"{world.rules}{strict}".replace("policy:", "policy:\n  trustedRegistries: [registry.example]")
    note = hook / "allowed.json"

    def noted() -> dict[str, Any]:
        """What is noted; brought to the webhook, as a kubelet does."""
        found = kubernetes.call("GET", _MAPS)["items"]
        texts = [item["data"]["allowed.json"] for item in found if item["metadata"]["name"] == name]
        if texts and (not note.exists() or note.read_text() != texts[0]):
            (hook / "new").write_text(texts[0])
            (hook / "new").rename(note)
        return json.loads(texts[0]) if texts else {}

    def by_hand(method: str, body: Any = None, what: str = "/one") -> str:
        try:
            path = f"/api/v1/namespaces/{world.namespace}/configmaps{what}?dryRun=All"
            content = "application/merge-patch+json" if method == "PATCH" else "application/json"
            as_user(kubernetes, "ada", method, path, body, content)
        except KubernetesError as error:
            return str(error)
        return ""

    webhook = None
    paths: list[str] = []
    try:
        world.push({"customhouse.yaml": rules}, "the rules, which hold from the next commit on")
        good = world.push(
            {
                **{f"{key}.yaml": settings_of(key, world.namespace, "first") for key in ("one", "two", "three")},
                "fraud.yaml": server_of(world.namespace, "a"),
            },
            "first",
        )
        world.start(CUSTOMHOUSE_ALLOWED_IN=name)
        world.until(lambda: noted().get("revision") == good)
        assert noted() == {
            "schema": "customhouse.dev/allowed/v1",
            "repository": f"main@{git(world.clone, 'rev-list', '--max-parents=0', 'HEAD')}",
            "revision": good,
            "paths": [],
            "target": "",
        }
        assert world.text("one") == ""  # nothing else is written by who observes
        (hook / "customhouse.yaml").write_text(rules)
        webhook = start_webhook(hook, "--repo", f"file://{world.remote}", "--allowed", str(note))
        paths = register(kubernetes, webhook, f"noted-{world.namespace}", [world.namespace])
        own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own", "namespace": world.namespace}}
        kubernetes.until(lambda: "validate.customhouse.dev" in by_hand("POST", own, ""))

        managed = rules.replace("mode: observe", "mode: manage")
        world.push({"customhouse.yaml": managed}, "adopt")
        image = f"/apis/apps/v1/namespaces/{world.namespace}/deployments/fraud"

        def running() -> str:
            noted()
            try:
                return image_of(kubernetes.call("GET", image))
            except KubernetesError:
                return ""

        world.until(lambda: (running(), world.text("one"), world.text("two")) == ("a", "first", "first"), 120)
        assert "refused" in by_hand("PATCH", {"data": {"text": "mine"}})
        assert "revision-required" in by_hand("DELETE")

        # A commit that would let anything in, and is denied for what else it brings, changes nothing.
        secret = settings_of("three", world.namespace, "hunter2").replace("ConfigMap", "Secret")
        loose = managed.replace(strict, f"admission: {{exemptNamespaces: [{world.namespace}]}}\n")
        before = noted()
        denied = world.push({"customhouse.yaml": loose, "secret.yaml": secret.replace("\ndata", "\nstringData")})
        world.problem(denied[:12], "denied")
        assert noted() == before
        assert "refused" in by_hand("PATCH", {"data": {"text": "mine"}})

        last = {"customhouse.yaml": managed, "secret.yaml": None, "two.yaml": None}
        world.push({**last, "fraud.yaml": server_of(world.namespace, "b")}, "two goes, fraud changes")
        world.until(lambda: (running(), world.text("one"), world.text("two")) == ("b", "first", ""), 120)
    finally:
        for path in paths:
            as_user(kubernetes, "ada", "DELETE", path)
        if webhook is not None:
            webhook.stop()
        world.close()
        kubernetes.call("DELETE", f"{_MAPS}/{name}")
