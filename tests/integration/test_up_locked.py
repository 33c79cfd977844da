"""A chart out of a real registry in a real cluster: its objects move on with the lock file alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_up_kubernetes import LABELS, ClusterWorld

from customhouse.control.lockfile import Locked, write_lock
from kubernetes_plane import ControlPlane
from oci_registry import Registry

pytestmark = [pytest.mark.part(name) for name in ("kubernetes", "docker-registry", "helm")]


@pytest.fixture
def registry(find_part: Callable[[str], Path], tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "registry").mkdir()
    running = Registry(find_part("docker-registry"), tmp_path / "registry")
    yield running
    running.stop()


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane) -> Iterator[ClusterWorld]:
    (tmp_path / "world").mkdir()
    made = ClusterWorld(tmp_path / "world", kubernetes, "manage")
    yield made
    made.close()


def pushed(helm: Path, root: Path, registry: Registry, version: str) -> Locked:
    """A chart of one version, packed and pushed by Helm; its line in the lock file."""
    folder = root / version / "web"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(f"apiVersion: v2\nname: web\nversion: {version}\n")
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n  labels:\n" + LABELS
    (folder / "templates" / "cm.yaml").write_text(text + "data: {text: {{ .Chart.Version | quote }}}\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(root)}
    place = f"oci://{registry.host}/charts"
    for words in (
        ["package", str(folder), "-d", str(root)],
        ["push", f"{root}/web-{version}.tgz", place, "--plain-http"],
    ):
        done = subprocess.run([helm, *words], env=environment, check=True, capture_output=True, text=True)
    digest = next(word for word in (done.stdout + done.stderr).split() if word.startswith("sha256:"))
    return Locked(f"{place}/web", version, digest, 0, version="1.x")


def test_a_locked_chart_is_kept_in_the_cluster_and_moves_only_by_its_line(
    world: ClusterWorld, registry: Registry, find_part: Callable[[str], Path], tmp_path: Path
) -> None:
    helm = find_part("helm")
    first, second = (pushed(helm, tmp_path, registry, version) for version in ("1.0.0", "1.1.0"))
    release = f"""\
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {{name: charts, namespace: {world.namespace}}}
spec: {{type: oci, url: "oci://{registry.host}/charts"}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: web, namespace: {world.namespace}}}
spec:
  driftDetection: {{mode: enabled}}
  chart: {{spec: {{chart: web, version: 1.x, sourceRef: {{kind: HelmRepository, name: charts}}}}}}
"""
    trusted = f"policy:\n  trustedRegistries: ['{registry.host}/charts']\n"
    world.push({"customhouse.yaml": world.rules.replace("policy:\n", trusted)}, "Trust the registry")
    world.put("other", "stays")
    path = f"{helm.parent}{os.pathsep}{os.environ['PATH']}"
    world.start(PATH=path)
    world.until(lambda: world.overview().get("deployed"))
    world.push({"release.yaml": release, "customhouse.lock.yaml": write_lock([first]).decode()}, "Web 1.0.0")
    world.until(lambda: world.text("web") == "1.0.0", 120)
    commit = world.push({"customhouse.lock.yaml": write_lock([second]).decode()}, "Web 1.1.0")
    world.until(lambda: world.text("web") == "1.1.0", 120)
    world.until(lambda: world.overview().get("deployed") == commit)
    told = [entry.body["text"] for entry in world.entries("fetched")]
    assert told == ["rendered from elsewhere: web 1.0.0", "rendered from elsewhere: web 1.1.0"]

    # The registry goes: what somebody edits is put right without it. Then the line goes: that cannot be decided.
    registry.stop()
    place = f"/api/v1/namespaces/{world.namespace}/configmaps/web?fieldManager=kubectl-edit"
    world.plane.call("PATCH", place, {"data": {"text": "mine"}}, content="application/merge-patch+json")
    world.until(lambda: world.text("web") == "1.1.0")
    world.push({"customhouse.lock.yaml": write_lock([]).decode()}, "No line")
    world.problem("could not decide", "had objects rendered, and now they are not here")
    assert world.text("web") == "1.1.0"
    assert world.overview()["deployed"] == commit
    # The cache goes too, and all is started again: it says so, and touches nothing.
    assert world.end() == 0
    shutil.rmtree(world.root / "nobody" / ".cache")
    world.start(PATH=path)
    world.problem("charts/web: http://127.0.0.1")
    assert world.text("web") == "1.1.0"
