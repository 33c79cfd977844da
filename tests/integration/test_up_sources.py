"""An Argo CD Application and an encrypted Secret in a real cluster: kept to, and no value is left behind."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_up_kubernetes import LABELS, ClusterWorld

from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")
SOPS = Path(__file__).resolve().parents[1] / "conformance" / "sops"
CANARY = "canary-7f3a-password"
APPLICATION = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: fraud
  namespace: argocd
  labels:
LABELS
spec:
  source: {repoURL: https://git.example.com/models.git, path: models/fraud, targetRevision: main}
  destination: {server: https://kubernetes.default.svc, namespace: NAMESPACE}
  syncPolicy:
    automated: {prune: true, selfHeal: true}
    syncOptions: [CreateNamespace=true]
"""


def model(text: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: model\n  labels:\n{LABELS}data:\n  text: {text}\n"


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane) -> Iterator[ClusterWorld]:
    made = ClusterWorld(tmp_path, kubernetes, "manage")
    yield made
    made.close()


def test_an_application_is_kept_to_and_an_encrypted_secret_is_opened_nowhere_but_in_the_cluster(
    world: ClusterWorld,
) -> None:
    namespace = world.namespace + "-app"
    text = APPLICATION.replace("LABELS\n", LABELS).replace("NAMESPACE", namespace)
    sealed = (SOPS / "secret.regex.yaml").read_text()
    key = world.root / "keys" / "age.txt"
    key.parent.mkdir()
    key.write_text((SOPS / "age.txt").read_text())
    key.chmod(0o600)
    risk = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: risk\n"
    world.push(
        {"apps/fraud.yaml": text, "models/fraud/model.yaml": model("v2.0"), "secrets/db.yaml": sealed, "ns.yaml": risk}
    )
    world.start(SOPS_AGE_KEY_FILE=str(key))

    def said(name: str, kind: str = "configmaps", where: str = namespace) -> dict[str, str]:
        try:
            found = world.plane.call("GET", f"/api/v1/namespaces/{where}/{kind}/{name}")
        except KubernetesError:
            return {}
        return dict(found["data"])

    world.until(lambda: said("model") == {"text": "v2.0"}, 120)
    world.until(lambda: said("database", "secrets", "risk"), 120)
    password = said("database", "secrets", "risk")["password"]
    assert base64.b64decode(password).decode() == CANARY

    # The release: one edit.
    commit = world.push({"models/fraud/model.yaml": model("v2.1")})
    world.until(lambda: said("model") == {"text": "v2.1"})
    world.until(lambda: world.overview().get("deployed") == commit)
    found = world.status()
    (shown,) = found["cluster"]["applications"] if "cluster" in found else found["target"]["applications"]
    assert (shown["resource"]["name"], shown["by"]) == ("fraud", "customhouse")

    # Somebody alters the value in the cluster: put right, told without it.
    path = "/api/v1/namespaces/risk/secrets/database?fieldManager=kubectl-edit"
    theirs = base64.b64encode(b"their-own-canary").decode()
    patch = {"data": {"password": theirs}}
    world.plane.call("PATCH", path, patch, content="application/merge-patch+json")
    world.until(lambda: world.entries("drift"))
    world.until(lambda: said("database", "secrets", "risk").get("password") == password)

    # It leaves Git: pruned, as the Application says; the namespace that it made stays.
    world.push({"models/fraud/model.yaml": None})
    world.until(lambda: said("model") == {})
    assert world.plane.call("GET", f"/api/v1/namespaces/{namespace}")["status"]["phase"] == "Active"
    assert world.end() == 0

    values = [CANARY, "their-own-canary"]
    forms = [form for value in values for form in (value, base64.b64encode(value.encode()).decode())]
    left = [
        (str(place), form)
        for folder, _, names in os.walk(world.root)
        for place in (Path(folder) / name for name in names)
        if place.is_file() and "/keys/" not in str(place)
        for form in forms
        if form.encode() in place.read_bytes()
    ]
    assert left == []
    assert json.dumps(found).count(CANARY) == 0


DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: externalsecrets.external-secrets.io
spec:
  group: external-secrets.io
  names: {kind: ExternalSecret, plural: externalsecrets}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
NEEDS = """\
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: db
  namespace: NAMESPACE
  labels:
LABELS
spec:
  secretStoreRef: {name: vault}
  target: {name: database}
"""


def test_what_needs_an_external_secret_waits_for_it_and_says_so(world: ClusterWorld) -> None:
    rule = NEEDS.replace("LABELS\n", LABELS).replace("NAMESPACE", world.namespace)
    ingress = (
        f"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: needs\n  namespace: {world.namespace}\n"
        f"  labels:\n{LABELS}spec:\n  tls: [{{hosts: [a.example.com], secretName: database}}]\n"
        "  rules:\n  - host: a.example.com\n    http:\n      paths:\n"
        "      - {path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}\n"
    )
    world.push({"crd.yaml": DEFINITION, "secret.yaml": rule, "ingress.yaml": ingress})
    world.start()
    at = f"/apis/external-secrets.io/v1/namespaces/{world.namespace}/externalsecrets/db"
    world.problem("Ingress", "waiting for ExternalSecret", seconds=120)
    world.until(lambda: _there(world, at), 120)
    failing = {"type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": "no such store"}

    def condition(said: dict[str, str]) -> None:
        patch = {"status": {"conditions": [said]}}
        world.plane.call("PATCH", f"{at}/status", patch, content="application/merge-patch+json")

    condition(failing)
    world.problem("waiting for ExternalSecret", "no such store", seconds=120)
    place = f"/apis/networking.k8s.io/v1/namespaces/{world.namespace}/ingresses/needs"
    assert not _there(world, place)
    condition({**failing, "status": "True", "reason": "SecretSynced", "message": "synced"})
    world.until(lambda: _there(world, place), 120)
    assert world.end() == 0


def _there(world: ClusterWorld, place: str) -> bool:
    try:
        world.plane.call("GET", place)
    except KubernetesError:
        return False
    return True
