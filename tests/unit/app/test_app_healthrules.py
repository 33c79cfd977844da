"""`health.argocd` of customhouse.yaml: Argo CD's customisations lie in the repository, and are rules like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from customhouse.app.governance import declared_governance, governance
from customhouse.app.wiring_health import Judging
from customhouse.core.errors import ConfigError
from customhouse.core.plan import Health, HealthStatus
from customhouse.core.resource import Manifest

SETTINGS = b"apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\nhealth: {argocd: PATH}\n"
LUA = 'return {status = "Degraded", message = "as I say"}'
MAP = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm}\ndata:\n"
    f"  resource.customizations.health.example.io_Thing: |\n    {LUA}\n"
).encode()


class Tree:
    """Files of one revision."""

    def __init__(self, path: str, files: Mapping[str, bytes]) -> None:
        self._files = {"customhouse.yaml": SETTINGS.replace(b"PATH", path.encode()), **files}

    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        return {name: data for name, data in self._files.items() if name.startswith(prefix)}

    def read(self, rev: str, path: str) -> bytes | None:
        return self._files.get(path)


FOLDER = Tree("health", {"health/example.io/Thing/health.lua": LUA.encode(), "health/README.md": b"#"})


@pytest.mark.parametrize("tree", [FOLDER, Tree("argo/cm.yaml", {"argo/cm.yaml": MAP})])
def test_scripts_are_read_from_a_folder_or_a_config_map_of_the_revision(tree: Tree) -> None:
    given = governance(tree, "r").health
    assert given is not None
    script = given.script_of("example.io", "Thing")
    assert script is not None
    assert script.text.strip() == LUA


def test_who_edits_a_script_edits_the_rules() -> None:
    assert "health/example.io/Thing/health.lua" in declared_governance(FOLDER, "r")
    assert "health/README.md" not in declared_governance(FOLDER, "r")


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (Tree("health", {}), "names health, which does not exist"),
        (Tree("cm.yaml", {"cm.yaml": b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"}), "no ConfigMap with"),
        (Tree("health", {"health/health.lua": b"x"}), "no kind is named"),
    ],
)
def test_what_holds_no_script_is_refused(tree: Tree, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        governance(tree, "r")


def test_a_cluster_is_judged_by_them_while_they_are_in_force() -> None:
    pytest.importorskip("lupa")
    rules: list[Callable[[Manifest], Health]] = []
    ends: list[Callable[[], None]] = []

    def judge_by(rule: Callable[[Manifest], Health], end: Callable[[], None]) -> None:
        rules.append(rule)
        ends.append(end)

    judging = Judging(judge_by)
    judging.by(governance(FOLDER, "r").health)
    judging.by(governance(FOLDER, "r").health)
    assert len(rules) == 1
    thing: Manifest = {"apiVersion": "example.io/v1", "kind": "Thing", "metadata": {"name": "x"}}
    assert rules[0](thing) == Health(HealthStatus.DEGRADED, "as I say")
    judging.by(None)
    ends[0]()
    assert rules[1](thing).status is HealthStatus.PROGRESSING
