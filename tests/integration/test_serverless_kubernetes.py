"""What follows its requests, on the real API server: forbidden alike at gate, admission and audit."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from admission_world import Webhook, as_user, pod_spec, register, start_webhook
from click.testing import CliRunner

from customhouse.cli.program import root
from customhouse.core.resource import ResourceRef
from customhouse.execution.health import health
from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")
RULES = """\
apiVersion: customhouse.dev/v1
policy: {{trustedRegistries: [apexlogic.com], requireSignedCommits: false}}
tiers:
  namespaces: {{{room}: [steady]}}
  definitions:
    steady: {{scaleToZero: forbidden, serverless: forbidden, coldStartSeconds: 30}}
admission: {{exemptNamespaces: [kube-system, kube-public, kube-node-lease]}}
"""
OURS = {"scale-to-zero", "serverless-forbidden", "cold-start", "scaling-unread"}
PLURALS = {"InferenceService": "inferenceservices", "Service": "services", "ScaledObject": "scaledobjects"}
COLD = "customhouse.dev/cold-start-seconds"


def _kserve(least: int) -> dict[str, Any]:
    model = {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/a", "resources": {"limits": {"cpu": "1"}}}
    transformer = {"minReplicas": least, "containers": [{"name": "t", "image": "apexlogic.com/t:1"}]}
    predictor = {"minReplicas": 1, "maxReplicas": 3, "model": model}
    return _object(
        "serving.kserve.io/v1beta1", "InferenceService", {"predictor": predictor, "transformer": transformer}
    )


def _knative(least: int) -> dict[str, Any]:
    notes = {"autoscaling.knative.dev/min-scale": str(least), "autoscaling.knative.dev/max-scale": "4"}
    spec = {"template": {"metadata": {"annotations": notes}, "spec": {"containers": pod_spec()["containers"]}}}
    return _object("serving.knative.dev/v1", "Service", spec)


def _keda(least: int) -> dict[str, Any]:
    trigger = {"type": "prometheus", "metadata": {"serverAddress": "http://p", "query": "q", "threshold": "5"}}
    spec = {"scaleTargetRef": {"name": "d"}, "minReplicaCount": least, "maxReplicaCount": 4, "triggers": [trigger]}
    return _object("keda.sh/v1alpha1", "ScaledObject", spec)


def _object(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": kind.lower(), "annotations": {COLD: "45"}, "labels": {"customhouse.dev/tier": "steady"}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


CASES = {
    "kserve": (_kserve, {"scale-to-zero", "serverless-forbidden", "cold-start"}, set()),
    "knative": (_knative, {"scale-to-zero", "serverless-forbidden", "cold-start"}, {"serverless-forbidden"}),
    "keda": (_keda, {"scale-to-zero", "serverless-forbidden", "cold-start"}, set()),
}


@pytest.fixture(scope="module")
def room(kubernetes: ControlPlane) -> str:
    kubernetes.install_crds(
        "keda/keda.sh_scaledobjects", "knative-serving/service", "kserve/serving.kserve.io_inferenceservices"
    )
    return kubernetes.namespace("serverless")


@pytest.fixture(scope="module")
def live(kubernetes: ControlPlane, room: str) -> dict[str, Any]:
    """Each object at zero as the API server keeps it, from before the webhook was there."""
    found = {}
    for name, (make, _, _) in CASES.items():
        declared = make(0)
        declared["metadata"]["namespace"] = room
        found[name] = kubernetes.call("POST", _place(declared), declared)
    return found


@pytest.fixture(scope="module")
def webhook(
    kubernetes: ControlPlane, room: str, live: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Webhook]:
    folder = tmp_path_factory.mktemp("serverless")
    (folder / "customhouse.yaml").write_text(RULES.format(room=room))
    started = start_webhook(folder, "--config", "customhouse.yaml")
    paths = register(kubernetes, started, room, [room])
    yield started
    for path in paths:
        kubernetes.call("DELETE", path)
    started.stop()


def _place(manifest: dict[str, Any]) -> str:
    return f"/apis/{manifest['apiVersion']}/namespaces/{manifest['metadata']['namespace']}/{PLURALS[manifest['kind']]}"


def _found(folder: Path, verb: str, manifest: dict[str, Any], rules: str) -> dict[str, str]:
    """Our rules' findings, with their messages, of a file at the gate or of a dump in the audit."""
    place = folder / verb
    place.mkdir(exist_ok=True)
    (place / "object.yaml").write_text(yaml.safe_dump(manifest))
    (folder / "customhouse.yaml").write_text(rules)
    words = [verb, str(place), "--config", str(folder / "customhouse.yaml"), "-o", "json"]
    done = CliRunner().invoke(root, words)
    document = json.loads(done.stdout)
    rows = [*document.get("findings", ()), *(row for one in document["decisions"] for row in one.get("findings", ()))]
    return {row["rule"]: row["message"] for row in rows if row["rule"] in OURS}


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_sleeps_is_told_alike_at_every_point_and_what_keeps_one_passes(
    kubernetes: ControlPlane, room: str, live: dict[str, Any], webhook: Webhook, tmp_path: Path, name: str
) -> None:
    make, wrong, left = CASES[name]
    rules = RULES.format(room=room)
    declared = make(0)
    declared["metadata"]["namespace"] = room
    at_gate = _found(tmp_path, "gate", declared, rules)
    assert set(at_gate) == wrong
    assert _found(tmp_path, "audit", live[name], rules) == at_gate

    def refused(manifest: dict[str, Any]) -> str:
        try:
            as_user(kubernetes, "ada", "POST", f"{_place(manifest)}?dryRun=All", manifest)
        except KubernetesError as error:
            return str(error)
        return ""

    again = copy.deepcopy(declared)
    again["metadata"]["name"] += "-again"
    said = kubernetes.until(lambda: "Customhouse" in (text := refused(again)) and text)
    for rule, message in at_gate.items():
        assert message in said, rule
    steady = make(1)
    steady["metadata"] |= {"namespace": room, "name": f"{name}-steady"}
    assert set(_found(tmp_path, "gate", steady, rules)) == left
    told = refused(steady)
    assert not [rule for rule in OURS - left if rule in told], told
    at_zero = {**live[name], "status": _asleep(name)}
    assert health(at_zero).status.value == "Healthy", health(at_zero)
    assert ResourceRef.of(at_zero).name == declared["metadata"]["name"]


def _asleep(name: str) -> dict[str, Any]:
    """What the controllers say of an object that is well and at zero."""
    ready = [{"type": "Ready", "status": "True"}]
    if name == "kserve":
        return {"conditions": [*ready, {"type": "PredictorReady", "status": "True"}], "modelStatus": {"states": {}}}
    if name == "knative":
        return {"conditions": [*ready, {"type": "ConfigurationsReady", "status": "True"}], "observedGeneration": 1}
    return {"conditions": [*ready, {"type": "Active", "status": "False"}], "originalReplicaCount": 0}
