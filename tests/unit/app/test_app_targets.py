"""`targets` of customhouse.yaml, and what an object is judged as whose namespace is in several clusters."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from customhouse.app.configuration import Configuration, parse
from customhouse.app.configuring import as_document
from customhouse.app.governance import read_configuration
from customhouse.app.memory import key_of, ref_of
from customhouse.app.tiering import judged_environment
from customhouse.core.errors import ConfigError
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef
from customhouse.store import open_store

HEAD = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n"
TWO = """\
targets:
  east: {context: east, paths: [clusters/east]}
  west: {context: west, mode: manage, source: old-name}
environments:
  staging: {namespaces: [models], target: east}
  production: {namespaces: [models, prod-*], target: west, production: true, checks: {network-default-deny: error}}
"""


def read(text: str) -> Configuration:
    return read_configuration((HEAD + text).encode())


def test_several_targets_are_written_as_they_were_read() -> None:
    found = read(TWO)
    assert parse(as_document(found), {}) == found
    assert (list(found.clusters), found.cluster, found.scenes) == (["east", "west"], None, {"clusters/east": "east"})
    assert [spec.mode for spec in found.targets.values()] == ["observe", "manage"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("target: {kind: local}\ntargets: {a: {context: x}}", "there is one target or there are several"),
        ("targets: {a: {context: x}, b: {context: x}}", "the same kubeconfig and context as that of 'a'"),
        ("targets: {A_: {context: x}}", "a target is called 'A_'"),
        ("targets: {a: {context: x, source: s}, b: {context: z, source: s}}", "'a' has the same source"),
        ("targets: {a: {context: x, paths: [p]}, b: {context: z, paths: [p/]}}", "'p/' is a folder of 'a' too"),
        ("targets: {a: {kind: local}}", "kind is 'local'"),
        ("targets: {a: {context: x}}\nenvironments: {d: {namespaces: [d], target: b}}", "no target is called 'b'"),
        ("environments: {d: {namespaces: [d], target: b}}", "customhouse.yaml has no `targets`"),
    ],
)
def test_targets_that_could_be_confused_are_refused_with_their_place(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert says in str(caught.value)
    assert caught.value.where.startswith("customhouse.yaml:")


@pytest.mark.parametrize(
    ("namespace", "scene", "name", "production"),
    [
        ("models", "east", "staging", False),
        ("models", "west", "production", True),
        ("models", "", None, True),  # as a live object is seen: it may be in either
        ("prod-1", "", "production", True),
    ],
)
def test_a_namespace_of_two_clusters_is_judged_as_strictly_as_the_strictest_where_it_is_not_known_which(
    namespace: str, scene: str, name: str | None, production: bool
) -> None:
    found = judged_environment(read(TWO), ResourceRef("v1", "ConfigMap", namespace, "x", scene))
    assert found is not None
    assert (found.name, found.production, bool(found.checks)) == (name, production, production)


def test_what_is_remembered_of_one_cluster_is_not_taken_for_another(tmp_path: Path) -> None:
    refs = [ResourceRef("apps/v1", "Deployment", "models", "fraud", scene) for scene in ("", "east", "west")]
    assert len({key_of("pending/", ref) for ref in refs}) == 3
    assert [ref_of(ref.stored()) for ref in refs] == refs
    at = datetime(2026, 11, 22, tzinfo=UTC)
    with open_store(tmp_path / "state.db") as store:
        for ref in refs:
            store.releases.record(Release(ref, "sha256:a", "c", "Ada", "", "allow", "", RolloutPhase.PROMOTED, at))
        assert [item.resource for item in store.releases.history("fraud")] == refs[::-1]
