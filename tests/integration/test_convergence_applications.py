"""What Applications say of hooks, waves, dependencies and fields that may differ, against a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from convergence_world import ConvergenceWorld, config_map, deployment

from customhouse.control.conducting import conduct
from customhouse.control.rendering import Job, Output
from customhouse.control.rendering_tree import render_tree
from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")
HOOK, POLICY, WAVE = (f"argocd.argoproj.io/{name}" for name in ("hook", "hook-delete-policy", "sync-wave"))
HERE = {
    "nodeSelector": {"only": "hooks"},
    "tolerations": [{"key": "only", "operator": "Equal", "value": "hooks", "effect": "NoSchedule"}],
}
NOWHERE = {"nodeSelector": {"no-node": "has-this"}}


IMAGE = '.spec.template.spec.containers[] | select(.name == "app") | .image'


class Nobody:
    def run(self, job: Job) -> Output:
        raise AssertionError(f"nothing is to be rendered: {job}")


@pytest.fixture
def world(kubernetes: ControlPlane) -> Iterator[ConvergenceWorld]:
    made = ConvergenceWorld(kubernetes)
    yield made
    made.end()


@pytest.fixture
def node(kubernetes: ControlPlane) -> Iterator[None]:
    """A place where pods of hooks run to their end, and no others: KWOK plays the kubelet."""
    taints = [{"key": "only", "value": "hooks", "effect": "NoSchedule"}]
    metadata = {"name": "hooks", "labels": {"only": "hooks", "kubernetes.io/hostname": "hooks"}}
    room = {"cpu": "8", "memory": "16Gi", "pods": "100"}
    status = {"capacity": room, "allocatable": room}
    manifest = {"kind": "Node", "metadata": metadata, "spec": {"taints": taints}, "status": status}
    kubernetes.call("POST", "/api/v1/nodes", manifest)
    yield
    kubernetes.call("DELETE", "/api/v1/nodes/hooks")


def application(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    options = {"automated": {"prune": True, "selfHeal": True}, **spec.pop("policy", {})}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {
            "source": {"repoURL": "https://git.example.com/a", "path": name},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
            "syncPolicy": options,
            **spec,
        },
    }


def kustomization(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": {"path": f"./{name}", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "a"}, **spec},
    }


def job(name: str, namespace: str, notes: dict[str, str], pod: dict[str, Any] | None = None) -> dict[str, Any]:
    container = {"name": "run", "image": "example/run:1"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container], **HERE, **(pod or {})}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "annotations": notes},
        "spec": {"template": template, "backoffLimit": 0, **({"activeDeadlineSeconds": 1} if pod else {})},
    }


def declare(world: ConvergenceWorld, **folders: list[dict[str, Any]]) -> None:
    """Files of a repository: `top` are the Applications, the others the folders that they name."""
    files = {
        f"{'' if folder == 'top' else f'{folder}/'}all.yaml": "\n---\n".join(map(json.dumps, items)).encode()
        for folder, items in folders.items()
    }
    world.convergence.declare(conduct(render_tree(files, Nobody())).declarations)


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "argocd"
DEFINITIONS = (
    "kserve/serving.kserve.io_inferenceservices.yaml",
    "prometheus-operator/monitoring.coreos.com_prometheusrules.yaml",
    "prometheus-operator/monitoring.coreos.com_servicemonitors.yaml",
)
ALERTS = b"""\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: fraud-detection-model}
spec:
  groups:
  - name: drift
    rules:
    - {alert: FraudDrift, expr: customhouse_drift > 0.1, for: 10m}
"""
DRIFT = b"""\
apiVersion: batch/v1
kind: CronJob
metadata: {name: fraud-drift}
spec:
  schedule: "0 * * * *"
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: Never, containers: [{name: drift, image: example/drift:1}]}
"""


def test_the_application_of_the_example_is_kept_with_its_monitoring_and_a_release_is_one_edit(
    world: ConvergenceWorld,
) -> None:
    for name in DEFINITIONS:
        (definition,) = yaml.load_all((world.plane.crds / name).read_text(), yaml.CSafeLoader)
        at = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
        world.plane.apply(at, definition)
    files = {path.relative_to(EXAMPLE).as_posix(): path.read_bytes() for path in sorted(EXAMPLE.rglob("*.yaml"))}
    # As it is, but for the namespace: other tests share the cluster.
    place = world.plane.namespace("example") + "-made"
    app = "apps/fraud-detection-model.yaml"
    files[app] = files[app].replace(b"namespace: fraud-detection", f"namespace: {place}".encode())
    models = "models/fraud-detection"
    files |= {f"{models}/alerts.yaml": ALERTS, f"{models}/drift.yaml": DRIFT}
    world.convergence.declare(conduct(render_tree(files, Nobody())).declarations)
    world.settle()
    applied = {str(ref) for made in world.rounds for ref in made.applied}
    assert applied == {
        f"Namespace {place}",
        f"InferenceService {place}/fraud-detection-model",
        f"ServiceMonitor {place}/fraud-detection-model",
        f"PrometheusRule {place}/fraud-detection-model",
        f"CronJob {place}/fraud-drift",
    }
    at = f"/apis/serving.kserve.io/v1beta1/namespaces/{place}/inferenceservices/fraud-detection-model"
    model = f"{models}/inferenceservice.yaml"
    files[model] = files[model].replace(b"/v2.0", b"/v2.1")
    world.convergence.declare(conduct(render_tree(files, Nobody())).declarations)
    rounds = world.settle()
    assert [str(ref) for made in rounds for ref in made.applied] == [f"InferenceService {place}/fraud-detection-model"]
    assert world.plane.call("GET", at)["spec"]["predictor"]["model"]["storageUri"] == "s3://models/fraud-detection/v2.1"

    # Its monitoring is a part of it: what somebody does to it is put right, and what leaves Git goes.
    rule = f"/apis/monitoring.coreos.com/v1/namespaces/{place}/prometheusrules/fraud-detection-model"
    world.plane.call("DELETE", rule)
    world.until(lambda: [found for made in world.rounds for found in made.drift if found.ref.kind == "PrometheusRule"])
    world.settle()
    assert world.plane.call("GET", rule)["metadata"]["name"] == "fraud-detection-model"
    del files[f"{models}/drift.yaml"]
    world.convergence.declare(conduct(render_tree(files, Nobody())).declarations)
    world.until(lambda: [ref for made in world.rounds for ref in made.removed if ref.kind == "CronJob"])


def uid(world: ConvergenceWorld, kind: str, namespace: str, name: str) -> str:
    """The uid of what is there; empty where there is nothing."""
    try:
        return str(world.get(kind, namespace, name)["metadata"]["uid"])
    except KubernetesError:
        return ""


@pytest.mark.usefixtures("node")
def test_hooks_are_run_for_each_state_of_what_they_go_with(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("hooks")

    def release(text: str, pod: dict[str, Any] | None = None) -> None:
        alarm = config_map("alarm", place, {HOOK: "SyncFail"}, text="x")
        declare(
            world,
            top=[application("app", place)],
            app=[
                job("migrate", place, {HOOK: "PreSync"}, pod),
                job("tell", place, {HOOK: "PostSync", POLICY: "HookSucceeded"}),
                config_map("settings", place, text=text),
                alarm,
            ],
        )

    release("a")
    world.settle()
    first = uid(world, "Job", place, "migrate")
    assert world.get("ConfigMap", place, "settings")["data"] == {"text": "a"}
    world.until(lambda: world.convergence.inventory.entries and not uid(world, "Job", place, "tell"))
    told = [str(ref) for made in world.rounds for ref in made.applied].count(f"Job {place}/tell")
    assert told == 1

    # Nothing is otherwise: also another process runs nothing again.
    world.restart()
    release("a")
    rounds = world.settle()
    assert [made.applied for made in rounds if made.applied] == []
    assert uid(world, "Job", place, "migrate") == first

    # A new state: made again, before the rest.
    release("b")
    world.settle()
    assert uid(world, "Job", place, "migrate") not in ("", first)
    world.until(lambda: not uid(world, "Job", place, "tell"))
    applied = [str(ref).partition("/")[2] for made in world.rounds for ref in made.applied]
    assert applied[-3:] == ["migrate", "settings", "tell"]
    assert uid(world, "ConfigMap", place, "alarm") == ""

    # One that fails: what comes after it is not applied, the hook for failures is, and it is said.
    release("c", NOWHERE)
    world.until(lambda: uid(world, "ConfigMap", place, "alarm"), 120)
    assert world.get("ConfigMap", place, "settings")["data"] == {"text": "b"}
    (problem,) = (text for ref, text in world.convergence.problems.items() if ref.name == "migrate" and text)
    assert problem.startswith("it has failed: ")
    waiting = {ref.name: text for ref, text in world.convergence.waiting().items()}
    assert waiting["settings"] == f"Job {place}/migrate has failed"

    # Mended: all of it goes on.
    release("d")
    world.until(lambda: world.get("ConfigMap", place, "settings")["data"] == {"text": "d"}, 120)
    world.settle()


def test_one_application_waits_for_its_own_waves_and_for_what_it_depends_on_alone(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("turns")
    stuck = deployment("stuck", place)
    stuck["spec"]["template"]["spec"] |= NOWHERE
    later = config_map("later", place, {WAVE: "1"}, text="x")
    declare(
        world,
        top=[
            application("one", place),
            application("two", place),
            kustomization("base"),
            kustomization("waits", dependsOn=[{"name": "sure"}]),
            kustomization("goes", dependsOn=[{"name": "base"}]),
            kustomization("sure", wait=True, timeout="1s"),
        ],
        one=[stuck, later],
        two=[config_map("first", place, text="x"), config_map("second", place, {WAVE: "1"}, text="x")],
        base=[{**stuck, "metadata": {"name": "stuck-base", "namespace": place}}],
        goes=[config_map("goes", place, text="x")],
        sure=[{**stuck, "metadata": {"name": "stuck-sure", "namespace": place}}],
        waits=[config_map("waits", place, text="x")],
    )
    world.until(lambda: {"second", "goes"} <= world.versions("ConfigMap", place).keys(), 120)
    world.until(lambda: "timeout of 1 s" in {ref.name: t for ref, t in world.convergence.waiting().items()}["waits"])
    waiting = {ref.name: text for ref, text in world.convergence.waiting().items()}
    assert waiting["later"] == f"waiting for Deployment {place}/stuck, which comes before it"
    assert waiting["waits"].startswith(f"waiting for Deployment {place}/stuck-sure of flux/flux-system/sure")
    assert {"later", "waits"}.isdisjoint(world.versions("ConfigMap", place))


def test_fields_that_may_differ_are_no_drift_and_stay_while_others_are_put_right(world: ConvergenceWorld) -> None:
    place = world.plane.namespace("leeway")
    rules = [
        {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]},
        {"group": "*", "kind": "Deploy*", "jqPathExpressions": [IMAGE]},
        {"kind": "ConfigMap", "name": "theirs", "managedFieldsManagers": ["their-controller"]},
    ]  # fmt: skip
    policy = {"syncOptions": ["RespectIgnoreDifferences=true"]}
    declare(
        world,
        top=[application("app", place, ignoreDifferences=rules, policy=policy)],
        app=[deployment("app", place), config_map("theirs", place, a="1", b="1"), config_map("ours", place, a="1")],
    )
    world.settle()
    image = {"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "app", "image": "example/app:2"}]}}}}
    path = f"/apis/apps/v1/namespaces/{place}/deployments/app?fieldManager=kubectl-edit"
    world.plane.call("PATCH", path, image, content="application/strategic-merge-patch+json")
    world.patch("ConfigMap", place, "theirs", {"data": {"a": "2"}}, manager="their-controller")
    world.patch("ConfigMap", place, "ours", {"data": {"a": "2"}})
    world.until(lambda: world.get("ConfigMap", place, "ours")["data"] == {"a": "1"})
    world.patch("ConfigMap", place, "theirs", {"data": {"b": "2"}})
    world.until(lambda: world.get("ConfigMap", place, "theirs")["data"]["b"] == "1")
    world.settle()
    drifts = {found.ref.name: found for made in world.rounds for found in made.drift}
    assert drifts.keys() == {"ours", "theirs"}
    assert [field.diff.pointer for field in drifts["theirs"].fields] == ["/data/b"]
    assert world.get("ConfigMap", place, "theirs")["data"] == {"a": "2", "b": "1"}
    spec = world.get("Deployment", place, "app")["spec"]
    assert (spec["replicas"], spec["template"]["spec"]["containers"][0]["image"]) == (3, "example/app:2")
    assert world.convergence.drifting == {}
