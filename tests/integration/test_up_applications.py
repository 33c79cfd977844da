"""What people of Argo CD and Flux have in their repositories, kept by `up` on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_up_kubernetes import LABELS, ClusterWorld, settings_of
from test_up_sources import APPLICATION

from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")
SCRIPT = """\
hs = {}
if obj.metadata.name == "gate" and obj.data.text ~= "open" then
  hs.status = "Progressing"
  hs.message = "the gate is " .. obj.data.text
  return hs
end
hs.status = "Healthy"
return hs
"""


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane) -> Iterator[ClusterWorld]:
    made = ClusterWorld(tmp_path, kubernetes, "manage")
    yield made
    made.close()


def test_a_wave_waits_until_the_lua_of_the_repository_says_healthy(world: ClusterWorld) -> None:
    pytest.importorskip("lupa")
    after = settings_of("after", world.namespace, "x")
    after = after.replace("\ndata:", '\n  annotations: {customhouse.dev/wave: "1"}\ndata:')
    world.push(
        {
            "customhouse.yaml": world.rules + "health:\n  argocd: health\n",
            "health/ConfigMap/health.lua": SCRIPT,
            "gate.yaml": settings_of("gate", world.namespace, "shut"),
            "after.yaml": after,
        }
    )
    world.start()
    world.until(lambda: world.text("gate") == "shut", 120)
    world.until(lambda: [item["resource"]["name"] for item in world.status()["cluster"]["waiting"]] == ["after"], 120)
    assert world.text("after") == ""
    world.put("gate", "open")
    world.until(lambda: world.text("after") == "x", 120)
    assert world.end() == 0


DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: applications.argoproj.io}
spec:
  group: argoproj.io
  names: {kind: Application, plural: applications}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


@pytest.fixture
def served(kubernetes: ControlPlane) -> Iterator[None]:
    """The cluster knows Applications in this test alone: in others they are files that nobody applies."""
    place = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/applications.argoproj.io"
    yield
    kubernetes.call("DELETE", place)
    kubernetes.until(lambda: not _is_there(kubernetes, place))


def _is_there(plane: ControlPlane, place: str) -> bool:
    try:
        plane.call("GET", place)
    except KubernetesError:
        return False
    return True


@pytest.mark.usefixtures("served")
def test_what_argo_cd_says_of_its_application_is_in_the_ledger_and_its_objects_are_left_alone(
    world: ClusterWorld,
) -> None:
    place = world.namespace
    text = (
        APPLICATION.replace("LABELS\n", LABELS)
        .replace("NAMESPACE", place)
        .replace("namespace: argocd", f"namespace: {place}")
    )
    world.push({"crd.yaml": DEFINITION}, "Argo CD's definition")
    head = world.push(
        {"apps/fraud.yaml": text, "models/fraud/model.yaml": settings_of("model", place, "v1")}, "the app"
    )
    world.start()
    at = f"/apis/argoproj.io/v1alpha1/namespaces/{place}/applications/fraud"
    world.until(lambda: world.text("model") == "v1", 120)
    world.until(lambda: _is_there(world.plane, at), 120)

    def says(sync: str, health: str, revision: str) -> None:
        spec = world.plane.call("GET", at)["spec"]
        compared = {"source": spec["source"], "destination": spec["destination"]}
        status = {
            "sync": {"status": sync, "revision": revision, "comparedTo": compared},
            "health": {"status": health},
            "reconciledAt": "2026-11-22T12:00:00Z",
        }
        world.plane.call("PATCH", at, {"status": status}, content="application/merge-patch+json")

    says("Synced", "Progressing", head)
    world.until(lambda: len(world.entries("reconciled")) == 1, 120)
    says("Synced", "Healthy", head)
    world.until(lambda: len(world.entries("reconciled")) == 2, 120)
    texts = [item.body["text"] for item in world.entries("reconciled")]
    assert texts == [
        f"argocd says of Application {place}/fraud: Synced, {word} at {head[:12]}"
        for word in ("Progressing", "Healthy")
    ]
    # From then on it is Argo CD's: what Git says next is judged, and not applied from here.
    commit = world.push({"models/fraud/model.yaml": settings_of("model", place, "v2")}, "v2")
    world.until(lambda: world.overview().get("deployed") == commit, 120)
    says("OutOfSync", "Healthy", commit)
    world.until(lambda: len(world.entries("reconciled")) == 3, 120)

    def shown() -> list[tuple[str, str]]:  # the page is drawn after the ledger is written
        rows = world.status()["cluster"]["applications"]
        return [(row["by"], row["status"]["sync"]) for row in rows]

    world.until(lambda: shown() == [("argocd", "OutOfSync")], 120)
    assert world.text("model") == "v1"
    assert world.end() == 0
