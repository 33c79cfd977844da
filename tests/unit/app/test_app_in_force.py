"""Which revision rules at admission and in an audit: the last allowed one, whatever the head of the branch says."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse._kit.clock import SystemClock
from customhouse.app import wiring
from customhouse.app.admission import Admission
from customhouse.app.admission_context import load_context, state_of
from customhouse.app.admission_manifest import configurations
from customhouse.app.admission_review import read_review
from customhouse.app.in_force import UNSURE, Allowed, read_note
from customhouse.app.inventory_owner import strange_history
from customhouse.app.memory import DEPLOYED, FOUNDING, JUDGED, Deployed, Memory
from customhouse.app.settings import Settings
from customhouse.app.snapshot import REF
from customhouse.core.errors import ConfigError, CustomhouseError, StateError
from customhouse.core.resource import Manifest
from customhouse.policy.adapters.regorus import RegorusEngine

LABELS = {f"customhouse.dev/{name}": "a" for name in ("owner", "team", "project", "cost-centre")}
STRICT: dict[str, Any] = {
    "apiVersion": "customhouse.dev/v1",
    "policy": {"requireSignedCommits": False, "trustedRegistries": ["apexlogic.com"]},
    "admission": {"requireRevision": True},
    "budgets": [{"name": "shop", "monthly": "100", "namespaces": ["shop"]}],
    "prices": {"maxAgeDays": 3650},
}
LOOSE: dict[str, Any] = {
    **STRICT,
    "policy": {"requireSignedCommits": False, "trustedRegistries": ["apexlogic.com", "evil.example"]},
    "admission": {"exemptNamespaces": ["kube-system", "customhouse-system", "shop"]},
    "budgets": [{"name": "shop", "monthly": "1000000", "namespaces": ["shop"]}],
}


def deployment(name: str = "api", registry: str = "apexlogic.com", replicas: int = 1) -> dict[str, Any]:
    resources = {"cpu": "100m", "memory": "128Mi"}
    container = {
        "name": "main",
        "image": f"{registry}/team/app@sha256:{'ab' * 32}",
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
    }
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    labels = {"app": name, **LABELS}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


class Place:
    """A repository whose second commit weakens everything, and a state beside it."""

    def __init__(self, root: Path, first: dict[str, Any] | None = None) -> None:
        self.repo, self.state, self.note = root / "repo", root / "state", root / "allowed.json"
        self.repo.mkdir()
        self.git("init", "-q", "-b", "main")
        self.settings = Settings(self.state, environment=dict(os.environ))
        self.good = self.commit({"customhouse.yaml": STRICT, "api.yaml": deployment(), **(first or {})})
        self.bad = self.commit({"customhouse.yaml": LOOSE, "bad.yaml": deployment("bad", "evil.example", 50)})

    def git(self, *arguments: str) -> str:
        who = {f"GIT_{role}_{key}": "x@example.com" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, **who}
        done = subprocess.run(["git", *arguments], cwd=self.repo, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, files: dict[str, Any]) -> str:
        for name, value in files.items():
            place = self.repo / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(yaml.safe_dump(value))
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def remember(self, values: dict[str, Any]) -> None:
        with wiring.store(self.settings) as opened:
            Memory(opened.state).put(values)

    def noted(self, revision: str, **more: Any) -> Settings:
        self.note.write_text(Allowed(revision, (), **more).text())
        return replace(self.settings, allowed=self.note)

    def ask(self, settings: Settings, obj: Manifest, operation: str = "CREATE") -> Any:
        kind = {"group": "apps", "version": "v1", "kind": "Deployment"}
        request = {"uid": "u", "kind": kind, "resource": {"group": "apps", "version": "v1", "resource": "deployments"}}
        side = "oldObject" if operation == "DELETE" else "object"
        request |= {"operation": operation, "namespace": "shop", "name": obj["metadata"]["name"], side: obj}
        request |= {"userInfo": {"username": "ada"}}
        document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        context = load_context(settings, str(self.repo))
        admission = Admission(context, RegorusEngine(compile_packaged=True), SystemClock())
        return admission.validate(read_review(json.dumps(document).encode()))

    def exempt(self, settings: Settings) -> list[str]:
        (hook,) = configurations(settings, str(self.repo), b"", None)[0]["webhooks"]
        found: list[str] = hook["namespaceSelector"]["matchExpressions"][0]["values"]
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def shut(place: Place, settings: Settings) -> None:
    """Nothing of what the denied commit says counts, and what is allowed is let in."""
    context = load_context(settings, str(place.repo))
    assert context.revision == place.good
    assert [str(item.limit) for item in context.governing.budgets] == ["100.00"]
    assert [item.ref.name for item in context.declared] == ["api"]
    assert context.alerts == ()
    for obj in (deployment("bad", "evil.example", 50), deployment("other", "evil.example")):
        said = place.ask(settings, obj)
        assert not said.answer.allowed
        # What was spent is known to the state of `up` alone; where it is not, budgets cannot be held.
        assert said.kind == "undecided" or "image-untrusted-registry" in {item.rule for item in said.decision.findings}
    assert "shop" not in place.exempt(settings)
    assert place.ask(settings, deployment()).answer.allowed


def test_a_denied_head_loosens_nothing_where_up_keeps_its_state(place: Place) -> None:
    deployed = Deployed(place.good, (), place.good)
    place.remember({DEPLOYED: deployed.to_json(), JUDGED: place.bad})
    shut(place, place.settings)
    place.remember({DEPLOYED: replace(deployed, revision=place.bad).to_json()})
    assert "shop" in place.exempt(place.settings)


def test_a_denied_head_loosens_nothing_where_a_note_says_what_is_allowed(place: Place) -> None:
    settings = place.noted(place.good)
    shut(place, settings)
    # The note goes before the state of whoever runs the webhook.
    place.remember({DEPLOYED: Deployed(place.bad, (), place.bad).to_json()})
    shut(place, settings)
    before = state_of(settings, str(place.repo), None)
    place.noted(place.bad)
    assert state_of(settings, str(place.repo), None) != before
    assert "shop" in place.exempt(settings)


def test_before_anything_was_allowed_the_founding_rules_hold_and_nothing_counts_as_declared(place: Place) -> None:
    place.remember({FOUNDING: place.good, JUDGED: place.bad})
    context = load_context(place.settings, str(place.repo))
    assert (context.revision, context.declared) == (place.good, ())
    said = place.ask(place.settings, deployment())
    assert {item.rule for item in said.decision.findings} >= {"revision-missing"} or not said.answer.allowed
    assert "shop" not in place.exempt(place.settings)


def test_a_head_that_nobody_vouches_for_rules_and_that_is_told(place: Place) -> None:
    context = load_context(place.settings, str(place.repo))
    assert (context.revision, context.alerts) == (place.bad, (UNSURE,))
    assert context.allowed is None


def test_what_the_allowed_commit_declares_is_not_charged_again_without_a_record(tmp_path: Path) -> None:
    place = Place(tmp_path)
    settings = place.noted(place.good)
    said = place.ask(settings, deployment())
    assert said.kind == "recorded"
    assert said.facts.document["revision"]["id"] == place.good
    assert said.facts.document["budgets"] == []
    assert said.facts.document["change_set"]["monthly_delta_micro"] == 0
    other = place.ask(settings, deployment(replicas=2))
    assert other.kind in ("new", "undecided")
    assert not other.answer.allowed


def test_what_git_does_not_declare_may_go_and_what_it_declares_may_not(place: Place) -> None:
    settings = place.noted(place.good)
    # A commit is required, and what was spent is not known: neither holds up what Git agrees to.
    assert place.ask(settings, deployment("left-behind"), "DELETE").answer.allowed
    declared = place.ask(settings, deployment(), "DELETE")
    assert not declared.answer.allowed
    assert {item.rule for item in declared.decision.findings} == {"revision-required"}
    # Where nobody knows which commit was allowed, nobody knows what Git agrees to.
    unsure = place.commit({"customhouse.yaml": STRICT})
    assert load_context(place.settings, str(place.repo)).revision == unsure
    assert not place.ask(place.settings, deployment("left-behind"), "DELETE").answer.allowed


def test_a_mirror_has_what_up_publishes_of_what_was_spent(place: Place) -> None:
    published = place.git("commit-tree", "-m", "spent", f"{place.good}^{{tree}}")
    place.git("update-ref", REF, published)
    assert wiring.commits(place.settings, f"file://{place.repo}").resolve(REF) == published


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no note"),
        ("[1]", "no note"),
        ("{" * 200_000, "no note"),
        (" " * 300_000, "larger than 256 KiB"),
        ('{"schema": "customhouse.dev/allowed/v2"}', "its schema is not customhouse.dev/allowed/v1"),
        ('{"schema": "customhouse.dev/allowed/v1", "revision": "HEAD", "paths": []}', "no whole commit id"),
        ('{"schema": "customhouse.dev/allowed/v1", "revision": "%s", "paths": "x"}' % ("a" * 40), "list of folders"),
        ('{"schema": "customhouse.dev/allowed/v1", "revision": "%s", "paths": []}' % ("a" * 40), "does not have"),
    ],
)  # fmt: skip
def test_a_note_that_cannot_be_believed_is_refused(place: Place, text: str, said: str) -> None:
    place.note.write_text(text)
    settings = replace(place.settings, allowed=place.note)
    with pytest.raises(ConfigError, match=said) as error:
        load_context(settings, str(place.repo))
    assert error.value.where == str(place.note)
    assert error.value.hint


def test_a_note_that_is_missing_or_of_another_repository_puts_nothing_in_force(place: Place, tmp_path: Path) -> None:
    settings = replace(place.settings, allowed=place.note)
    with pytest.raises(StateError, match="not there") as error:
        load_context(settings, str(place.repo))
    assert "CUSTOMHOUSE_ALLOWED_IN" in (error.value.hint or "")
    with pytest.raises(StateError):
        read_note(tmp_path)
    with pytest.raises(ConfigError, match="another repository"):
        load_context(place.noted(place.good, repository=f"main@{'b' * 40}"), str(place.repo))
    load_context(place.noted(place.good, repository=f"main@{place.good}"), str(place.repo))
    with pytest.raises(ConfigError, match="--target says 'west'"):
        load_context(replace(place.noted(place.good, target="east"), target="west"), str(place.repo))


def test_what_was_applied_from_another_history_is_not_ours_to_replace(place: Place) -> None:
    objects = wiring.commits(place.settings, str(place.repo))
    place.git("checkout", "-q", "-b", "fork", place.good)
    fork = place.commit({"own.yaml": deployment("own")})
    unknown = "f" * 40
    assert [strange_history(objects, found, place.bad) for found in (place.bad, place.good)] == ["", ""]
    assert "which comes after" in strange_history(objects, place.bad, place.good)
    for found in (fork, unknown, "", "--upload-pack=x", "main"):
        said = strange_history(objects, found, place.bad)
        assert "not in the history" in said, found


def test_of_several_targets_the_one_that_is_named_has_its_own_alone(tmp_path: Path) -> None:
    several = {**STRICT, "targets": {name: {"context": name, "paths": [name]} for name in ("east", "west")}}
    both = {"east/api.yaml": deployment("api"), "west/api.yaml": deployment("api", replicas=2)}
    only = {"west/only.yaml": deployment("only")}
    (tmp_path / "several").mkdir()
    place = Place(tmp_path / "several", {"customhouse.yaml": several, **both, **only})
    place.git("rm", "-q", "api.yaml")
    place.git("checkout", "-q", "HEAD~1", "--", "customhouse.yaml")
    place.git("rm", "-q", "-f", "bad.yaml")
    place.git("commit", "-q", "-m", "two clusters")
    settings = place.noted(place.git("rev-parse", "HEAD"), target="east")
    declared = load_context(settings, str(place.repo)).declared
    assert [(item.ref.name, item.manifest["spec"]["replicas"]) for item in declared] == [("api", 1)]
    assert place.ask(settings, deployment("api")).kind == "recorded"
    for elsewhere in (deployment("api", replicas=2), deployment("only")):
        said = place.ask(settings, elsewhere)
        assert not said.answer.allowed
        assert said.kind != "recorded"
    west = replace(place.noted(place.git("rev-parse", "HEAD")), target="west")
    assert sorted(item.ref.name for item in load_context(west, str(place.repo)).declared) == ["api", "only"]
    assert place.ask(west, deployment("only")).kind == "recorded"
    with pytest.raises(CustomhouseError, match="no target is called 'north'"):
        load_context(replace(west, target="north"), str(place.repo))
