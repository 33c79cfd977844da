"""What requests are sent to is not deleted under them: at the gate, and by the webhook on a real API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from admission_world import LABELS, as_user, register, start_webhook
from control_repository import git

from customhouse.app.in_force import Allowed
from customhouse.cli.program import run
from kubernetes_plane import ControlPlane, KubernetesError

RULES = {
    "apiVersion": "customhouse.dev/v1",
    "policy": {"requireSignedCommits": False},
    "prices": {"maxAgeDays": 3650},
}
GRAPH = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "InferenceGraph",
    "metadata": {"name": "chain", "namespace": "models", "labels": LABELS},
    "spec": {"nodes": {"root": {"routerType": "Sequence", "steps": [{"serviceName": "fraud"}]}}},
}
MODEL = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "fraud", "namespace": "models", "labels": LABELS},
    "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/v1"}}},
}


def service(namespace: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}


def ingress(namespace: str, backend: str) -> dict[str, Any]:
    metadata = {"name": "door", "namespace": namespace, "labels": LABELS}
    spec = {"defaultBackend": {"service": {"name": backend, "port": {"number": 80}}}, "tls": [{"hosts": ["x.example"]}]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def commit(repo: Path, **files: dict[str, Any] | None) -> str:
    if not (repo / ".git").exists():
        git(repo, "init", "-q", "-b", "main")
        (repo / ".gitignore").write_text("*.log\n.customhouse\nallowed.json\n")
        (repo / "customhouse.yaml").write_text(json.dumps(RULES))
    for name, value in files.items():
        if value is None:
            (repo / f"{name}.yaml").unlink()
        else:
            (repo / f"{name}.yaml").write_text(json.dumps(value))
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "change")
    return git(repo, "rev-parse", "HEAD")


def test_a_commit_that_deletes_a_model_under_its_graph_is_denied_and_one_that_takes_both_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(tmp_path, graph=GRAPH, model=MODEL)

    def told() -> list[str]:
        capsys.readouterr()
        run(["gate", "--repo", str(tmp_path), "--engine", "embedded", "-o", "json"])
        found = json.loads(capsys.readouterr().out)["findings"]
        return [item["message"] for item in found if item["rule"] == "network-backend-removed"]

    commit(tmp_path, model=None)
    assert told() == ["InferenceGraph models/chain sends requests to it and stays: they would fail."]
    git(tmp_path, "reset", "-q", "--hard", "HEAD~1")
    commit(tmp_path, model=None, graph=None)
    assert told() == []


@pytest.mark.part("kubernetes")
def test_a_deletion_in_the_cluster_is_refused_while_the_allowed_commit_sends_requests_there(
    kubernetes: ControlPlane, tmp_path: Path
) -> None:
    space = kubernetes.namespace("routed")
    first = commit(tmp_path, web=service(space, "web"), other=service(space, "other"), door=ingress(space, "web"))
    note = tmp_path / "allowed.json"
    note.write_text(Allowed(first, ()).text())
    services = f"/api/v1/namespaces/{space}/services"
    for name in ("web", "other"):
        as_user(kubernetes, "ada", "POST", services, service(space, name))
    webhook = start_webhook(tmp_path, "--repo", ".", "--allowed", str(note))
    paths = register(kubernetes, webhook, f"routed-{space}", [space])

    def deleted(name: str) -> str:
        try:
            as_user(kubernetes, "ada", "DELETE", f"{services}/{name}?dryRun=All")
        except KubernetesError as error:
            return str(error)
        return ""

    try:
        kubernetes.until(lambda: "network-backend-removed" in deleted("web"))
        said = deleted("web")
        assert f"Ingress {space}/door sends requests to it and stays" in said
        assert "Take it out of" in said
        assert deleted("other") == ""
        # Where the door is declared to lead elsewhere, by an allowed commit, it may go; a head alone changes nothing.
        second = commit(tmp_path, door=ingress(space, "other"))
        assert "network-backend-removed" in deleted("web")
        note.write_text(Allowed(second, ()).text())
        webhook.until_ready(f"revision: {second}")
        kubernetes.until(lambda: deleted("web") == "")
        assert f"Ingress {space}/door" in deleted("other")
    finally:
        for path in paths:
            as_user(kubernetes, "ada", "DELETE", path)
        assert webhook.stop() == 0
