"""Argo CD's own controller reconciles the example's Application, and `customhouse up` beside it gates and records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from argocd_shapes import FILES, applications
from beside_world import ACCOUNT, BesideWorld, document

from argocd_controllers import ARGO, argocd_on
from customhouse.control.adapters.renderers import ProgramRenderer
from customhouse.control.rendering_tree import render_tree
from kubernetes_plane import ControlPlane

pytestmark = [pytest.mark.part("kubernetes"), pytest.mark.part("argocd", "redis-server")]
SERVING = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices/fraud-detection-model"
APPLICATION, SERVICE = "apps/fraud-detection-model.yaml", "models/fraud-detection/inferenceservice.yaml"


class ArgoWorld(BesideWorld):
    """The files of examples/argocd, with the addresses of this test."""

    def begin(self, example: Path) -> str:
        self.place = f"{self.namespace}-fraud"
        self.at = f"{ARGO}/namespaces/{self.namespace}/applications/fraud-detection-model"
        names = {
            "https://git.example.com/ml/models.git": self.url,
            "namespace: argocd": f"namespace: {self.namespace}",
            "namespace: fraud-detection": f"namespace: {self.place}",
        }
        self.files: dict[str, str] = {}
        for file in sorted(example.rglob("*.yaml")):
            text = file.read_text()
            for old, new in names.items():
                text = text.replace(old, new)
            self.files[str(file.relative_to(example))] = text
        return self.push(dict(self.files), "v2.0")

    def serve_model(self, version: str, *, root: bool = False) -> str:
        """A release as the example's README has it; `root` is against the rules."""
        text = self.files[SERVICE].replace("fraud-detection/v2.0", f"fraud-detection/{version}")
        text = text.replace("runAsNonRoot: true", "runAsNonRoot: false") if root else text
        return self.push({SERVICE: text}, f"Serve {version}")

    def live_model(self) -> str:
        found = self.object(SERVING.format(self.place))
        return found["spec"]["predictor"]["model"]["storageUri"].rpartition("/")[2] if found else ""

    def is_up(self) -> None:
        """What KServe's controller would say of the service by now: none runs here."""
        at = SERVING.format(self.place)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T04:00:00Z"}
        status = {"observedGeneration": self.object(at)["metadata"]["generation"], "conditions": [ready]}
        self.plane.call("PATCH", f"{at}/status", {"status": status}, content="application/merge-patch+json")

    def is_at(self, commit: str, health: str = "Healthy") -> bool:
        """Whether Customhouse has heard of Argo CD that it is there."""
        row = self.application("fraud-detection-model")
        status = row.get("status", {})
        told = (row.get("by"), status.get("sync"), status.get("health"), status.get("revision"))
        return told == ("argocd", "Synced", health, commit)


@pytest.fixture(scope="module")
def argocd(
    kubernetes: ControlPlane, find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The namespace whose Applications it reconciles."""
    kubernetes.install_crds("kserve", "prometheus-operator/monitoring.coreos.com_servicemonitors")
    programs = {name: find_part(name) for name in ("argocd", "redis-server")}
    namespace = kubernetes.namespace("argo")
    with argocd_on(kubernetes, programs, tmp_path_factory.mktemp("argocd"), namespace):
        yield namespace


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane, argocd: str) -> Iterator[ArgoWorld]:
    made = ArgoWorld(tmp_path, kubernetes, argocd)
    yield made
    made.close()


def test_the_example_is_reconciled_by_argo_cd_and_gated_watched_and_recorded_here(
    world: ArgoWorld, repository_root: Path
) -> None:
    first = world.begin(repository_root / "examples" / "argocd")
    world.plane.apply(world.at, yaml.safe_load(world.files[APPLICATION]), manager="kubectl")
    world.until(lambda: world.live_model() == "v2.0", 240)
    before = len(world.plane.asked(ACCOUNT))
    world.start()
    world.until(lambda: world.is_at(first, "Progressing"), 240)
    assert [item["phase"] for item in world.releases_of("fraud-detection-model")] == ["pending"]
    world.is_up()
    world.until(lambda: world.is_at(first), 240)

    # The release is one commit; it is promoted when Argo CD says that it is up.
    second = world.serve_model("v2.1")
    world.until(lambda: world.live_model() == "v2.1", 240)
    world.is_up()
    world.until(lambda: world.is_at(second), 240)
    world.until(lambda: [i["revision"] for i in world.releases_of("fraud-detection-model")] == [second, first], 240)
    assert {item["phase"] for item in world.releases_of("fraud-detection-model")} == {"promoted"}
    shown = world.cli("status")
    named = f"argocd: Application {world.namespace}/fraud-detection-model: Synced, Healthy at {second[:12]}"
    assert named in shown.stdout, shown
    assert shown.returncode == 0, shown

    # Argo CD applies what was merged against the rules, and that is told.
    bad = world.serve_model("v2.2", root=True)
    world.until(lambda: world.live_model() == "v2.2", 240)
    world.problem(f"argocd has applied {bad[:12]}, which was denied (Application", f"{bad[:12]} is denied", seconds=240)
    third = world.serve_model("v2.3")
    world.until(lambda: world.live_model() == "v2.3" and world.overview()["problem"] == "", 240)

    # Git says something else of the Application than the cluster has: nobody here applies it, and that is told.
    text = world.files[APPLICATION].replace("selfHeal: true", "selfHeal: false")
    fourth = world.push({APPLICATION: text}, "Heal no more")
    world.problem("is declared otherwise than argocd has it in the cluster (/spec/syncPolicy", seconds=240)
    world.plane.apply(world.at, yaml.safe_load(text), manager="kubectl")
    world.until(lambda: world.overview()["problem"] == "", 240)
    world.is_up()
    world.until(lambda: world.is_at(fourth), 240)
    assert world.head == fourth != third
    assert world.end() == 0
    assert world.writes(before) == []


def applied(world: ArgoWorld, namespace: str) -> dict[tuple[str, str, str], Any]:
    """What Argo CD has applied, as it keeps it on each object, by Application, kind and name."""
    found = {}
    for place in ("/api/v1/namespaces/{}/configmaps", "/apis/apps/v1/namespaces/{}/deployments"):
        for item in world.plane.call("GET", place.format(namespace))["items"]:
            notes = item["metadata"].get("annotations", {})
            application = notes.get("argocd.argoproj.io/tracking-id", "").partition(":")[0]
            if application:
                manifest = json.loads(notes["kubectl.kubernetes.io/last-applied-configuration"])
                del manifest["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"]
                found[application, manifest["kind"], manifest["metadata"]["name"]] = plainly(manifest)
    return found


def plainly(manifest: Any, **metadata: str) -> Any:
    """As JSON has it, with the namespace, and without annotations and labels that are there and empty."""
    own = {key: value for key, value in {**manifest["metadata"], **metadata}.items() if value not in (None, {})}
    return json.loads(json.dumps({**manifest, "metadata": own}))


@pytest.mark.part("kustomize", "helm", "jsonnet")
def test_what_is_judged_is_field_by_field_what_argo_cd_applies(
    world: ArgoWorld, find_part: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{find_part('kustomize').parent}:/usr/bin:/bin")
    namespace = world.plane.namespace("argo-shapes")
    made = applications(world.url, world.namespace, namespace)
    texts = {f"apps/{item['metadata']['name']}.yaml": document(item) for item in made}
    world.push({**FILES, **texts}, "Every shape")
    files = {name: text.encode() for name, text in {**FILES, **texts}.items()}
    ours = {
        (item.owner.name, item.ref.kind, item.ref.name): plainly(item.manifest, namespace=item.ref.namespace)
        for item in render_tree(files, ProgramRenderer())
        if item.owner is not None
    }
    assert len(ours) == 13
    for item in made:
        world.plane.apply(f"{ARGO}/namespaces/{world.namespace}/applications/{item['metadata']['name']}", item)
    world.until(lambda: len(applied(world, namespace)) >= len(ours), 240)
    assert applied(world, namespace) == ours
