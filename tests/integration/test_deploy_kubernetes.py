"""What `deploy/` installs, on the real API server: its objects are taken, and their rights are enough for the work.

The API server's own audit log tells which rights were used: what is granted and never used is listed, and may be no
write and no Secret.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from admission_world import ADMISSION, as_user, pod, start_webhook
from deploy_rendering import ACCOUNT, account_file, applied, example
from up_world import UpWorld

from customhouse._kit.clock import SystemClock
from customhouse.core.cluster import Delete
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes", "kustomize")

REGISTRAR = "customhouse-webhook-registrar"
RULES = """\
apiVersion: customhouse.dev/v1
target: {kind: kubernetes, mode: MODE, pruneBudgetPercent: 100, source: deployed}
tiers: {definitions: {standard: {requiredEvidence: []}}}
policy: {requireSignedCommits: false, trustedRegistries: [apexlogic.com]}
audit: {everyMinutes: 60}
optimiser: {autonomy: observe}
prices: {maxAgeDays: 3650}
"""
CRDS = (
    "argo-rollouts/rollout-crd",
    "gateway-api/gateway.networking.k8s.io_httproutes",
    "prometheus-operator/monitoring.coreos.com_prometheusrules",
    "prometheus-operator/monitoring.coreos.com_servicemonitors",
    "external-secrets/external-secrets.io_externalsecrets",
    "sealed-secrets/bitnami.com_sealedsecrets",
    "secrets-store-csi/secrets-store.csi.x-k8s.io_secretproviderclasses",
)
LABELS = {f"customhouse.dev/{name}": "x" for name in ("owner", "team", "project", "cost-centre")}
IMAGE = "apexlogic.com/app@sha256:" + "a" * 64
_RIGHTS = "/apis/rbac.authorization.k8s.io/v1"

Right = tuple[str, str, str]
"""(verb, group, resource)."""
BESIDE: set[Right] = {
    ("get", "argoproj.io", "applications"),
    ("get", "kustomize.toolkit.fluxcd.io", "kustomizations"),
    ("get", "helm.toolkit.fluxcd.io", "helmreleases"),
}
"""What is asked for only where Argo CD's or Flux's kinds are served: in test_beside_argocd and test_beside_flux."""


@pytest.fixture(scope="module")
def installed(
    kubernetes: ControlPlane, find_part: Callable[[str], Path], repository_root: Path
) -> Iterator[list[dict[str, Any]]]:
    """The objects of deploy/kustomize/example, applied."""
    kubernetes.install_crds("kserve", *CRDS)
    documents = example(find_part("kustomize"), repository_root)
    applied(kubernetes, documents)
    rights = granted(documents)
    kubernetes.until(lambda: granted(_live_roles(kubernetes, documents)) == rights)
    yield documents
    with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
        for done in cluster.write([Delete(_ref(item)) for item in documents if item["kind"] != "Namespace"]):
            assert done.ok, done.problem


def _ref(item: Mapping[str, Any]) -> ResourceRef:
    metadata = item["metadata"]
    return ResourceRef(item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"])


def _live_roles(plane: ControlPlane, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same roles; those that gather others with the rules that the cluster has given them by now."""
    found = []
    for item in documents:
        if item["kind"] == "ClusterRole" and item.get("aggregationRule"):
            live = plane.call("GET", f"{_RIGHTS}/clusterroles/{item['metadata']['name']}")
            found.append({"kind": "ClusterRole", "rules": live.get("rules") or []})
        elif item["kind"] in ("Role", "ClusterRole") and "labels" not in item["metadata"]:
            found.append(item)
    return found


def granted(documents: list[dict[str, Any]]) -> set[Right]:
    """Every right that the roles give."""
    rules = [rule for item in documents if item["kind"] in ("Role", "ClusterRole") for rule in item.get("rules") or []]
    return {
        (verb, group, resource)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def used(events: list[dict[str, Any]]) -> set[Right]:
    """The rights that answered requests needed. A server-side apply that made an object needed `create` as well."""
    found: set[Right] = set()
    for event in events:
        at = event.get("objectRef")
        if at is None or event["responseStatus"]["code"] in (401, 403, 409, 422):
            continue
        name = at["resource"] + (f"/{at['subresource']}" if at.get("subresource") else "")
        found.add((event["verb"], at.get("apiGroup", ""), name))
        if event["verb"] == "patch" and event["responseStatus"]["code"] == 201:
            found.add(("create", at.get("apiGroup", ""), name))
    return found


def objects(namespace: str, text: str) -> dict[str, dict[str, Any]]:
    """One object of every kind that the shipped role lets the controller write; `text` is in each of them."""

    def made(api_version: str, kind: str, **more: Any) -> dict[str, Any]:
        metadata = {"name": "one", "namespace": namespace, "labels": LABELS, "annotations": {"text": text}}
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}

    limits = {"cpu": "100m", "memory": "64Mi"}
    context = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {"name": "main", "image": IMAGE, "resources": {"requests": limits, "limits": limits}}
    container["securityContext"] = context
    pod_context = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"automountServiceAccountToken": False, "securityContext": pod_context, "containers": [container]}
    probe = {"tcpSocket": {"port": 80}}
    serving = {**pod, "containers": [{**container, "livenessProbe": probe, "readinessProbe": probe}]}
    selected = {"matchLabels": {"app": "one"}}
    job = {"template": {"spec": {**pod, "restartPolicy": "Never"}}, "suspend": True}
    model = {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/v1"}
    del container["name"]
    predictor = {
        "minReplicas": 1,
        "maxReplicas": 1,
        "securityContext": pod_context,
        "model": {**model, "resources": container["resources"], "securityContext": context},
    }
    container["name"] = "main"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "one"}
    service = made("serving.kserve.io/v1beta1", "InferenceService", spec={"predictor": predictor})
    service["metadata"]["annotations"]["customhouse.dev/model-digest"] = "sha256:" + "b" * 64
    return {
        "/api/v1/namespaces/{}/configmaps": made("v1", "ConfigMap", data={"a": "b"}),
        "/api/v1/namespaces/{}/services": made(
            "v1", "Service", spec={"selector": {"app": "one"}, "ports": [{"port": 80}]}
        ),
        "/apis/apps/v1/namespaces/{}/deployments": made(
            "apps/v1", "Deployment",
            spec={"selector": selected, "template": {"metadata": {"labels": {"app": "one"}}, "spec": serving}},
        ),
        "/apis/batch/v1/namespaces/{}/jobs": made("batch/v1", "Job", spec=job),
        "/apis/batch/v1/namespaces/{}/cronjobs": made(
            "batch/v1", "CronJob",
            spec={"schedule": "0 3 * * *", "suspend": True, "jobTemplate": {"spec": job}},
        ),
        "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers": made(
            "autoscaling/v2", "HorizontalPodAutoscaler",
            spec={"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 2},
        ),
        "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies": made(
            "networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        ),
        "/apis/policy/v1/namespaces/{}/poddisruptionbudgets": made(
            "policy/v1", "PodDisruptionBudget", spec={"maxUnavailable": 1, "selector": selected}
        ),
        "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices": service,
        "/apis/argoproj.io/v1alpha1/namespaces/{}/rollouts": made(
            "argoproj.io/v1alpha1", "Rollout",
            spec={"selector": selected, "strategy": {"canary": {}},
                  "template": {"metadata": {"labels": {"app": "one"}}, "spec": serving}},
        ),
        **_around(made),
    }  # fmt: skip


def _around(made: Callable[..., dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What stands beside a model: its graph and route, what watches it, where its Secrets come from."""
    step = {"serviceUrl": "http://other.models.svc", "name": "first"}
    rule = {"alert": "Slow", "expr": "vector(1) > 2", "annotations": {"runbook": "none"}}
    reference = {"key": "models/one", "property": "token"}
    return {
        "/apis/serving.kserve.io/v1alpha1/namespaces/{}/inferencegraphs": made(
            "serving.kserve.io/v1alpha1", "InferenceGraph",
            spec={"nodes": {"root": {"routerType": "Sequence", "steps": [step]}}},
        ),
        "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes": made(
            "gateway.networking.k8s.io/v1", "HTTPRoute",
            spec={"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "one", "port": 80}]}]},
        ),
        "/apis/monitoring.coreos.com/v1/namespaces/{}/prometheusrules": made(
            "monitoring.coreos.com/v1", "PrometheusRule", spec={"groups": [{"name": "one", "rules": [rule]}]}
        ),
        "/apis/monitoring.coreos.com/v1/namespaces/{}/servicemonitors": made(
            "monitoring.coreos.com/v1", "ServiceMonitor",
            spec={"selector": {"matchLabels": {"app": "one"}}, "endpoints": [{"port": "http"}]},
        ),
        "/apis/external-secrets.io/v1/namespaces/{}/externalsecrets": made(
            "external-secrets.io/v1", "ExternalSecret",
            spec={"secretStoreRef": {"name": "vault", "kind": "ClusterSecretStore"}, "target": {"name": "external"},
                  "data": [{"secretKey": "token", "remoteRef": reference}]},
        ),
        "/apis/bitnami.com/v1alpha1/namespaces/{}/sealedsecrets": made(
            "bitnami.com/v1alpha1", "SealedSecret", spec={"encryptedData": {"token": "AgBy8hCi8" * 40}}
        ),
        "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{}/secretproviderclasses": made(
            "secrets-store.csi.x-k8s.io/v1", "SecretProviderClass",
            spec={"provider": "vault", "parameters": {"roleName": "one"}},
        ),
    }  # fmt: skip


def files(namespace: str, text: str) -> dict[str, str | None]:
    return {f"{item['kind']}.yaml": yaml.safe_dump(item) for item in objects(namespace, text).values()}


@pytest.fixture
def world(kubernetes: ControlPlane, installed: object, tmp_path: Path) -> Iterator[UpWorld]:
    """`customhouse up` with the token of the shipped service account and nothing else; it observes."""
    account_file(kubernetes, ACCOUNT, tmp_path / "kubeconfig")
    made = UpWorld(tmp_path, RULES.replace("MODE", "observe"))
    yield made
    made.close()


def test_the_controller_observes_and_then_works_with_the_shipped_rights_and_uses_each_right_to_write(
    kubernetes: ControlPlane, installed: list[dict[str, Any]], world: UpWorld, tmp_path: Path
) -> None:
    namespace = kubernetes.namespace("deploy")

    def texts() -> set[str]:
        found = set()
        for path in objects(namespace, ""):
            try:
                item = kubernetes.call("GET", f"{path.format(namespace)}/one")
                found.add(item["metadata"].get("annotations", {}).get("text", "no text"))
            except KubernetesError as error:
                found.add("nothing" if error.status == 404 else str(error))
        return found

    commit = world.push(files(namespace, "first"), "first")
    world.start(KUBECONFIG=str(tmp_path / "kubeconfig"))
    world.until(lambda: world.overview().get("deployed") == commit, 120)
    world.until(lambda: "customhouse_audit_duration_seconds" in _metrics(world), 120)
    assert texts() == {"nothing"}
    # Which of several controllers works is settled by a Lease, also among those that observe.
    asked = [event for event in kubernetes.asked(ACCOUNT) if event["verb"] not in ("get", "list", "watch")]
    written = [event for event in asked if "dryRun=All" not in event["requestURI"]]
    assert {event["objectRef"]["resource"] for event in written} <= {"leases"}

    world.push({"customhouse.yaml": RULES.replace("MODE", "manage")}, "adopt")
    world.until(lambda: texts() == {"first"}, 120)
    world.push(files(namespace, "second"), "second")
    world.until(lambda: texts() == {"second"}, 120)
    edit = {"metadata": {"annotations": {"text": "edited"}}}
    place = f"/api/v1/namespaces/{namespace}/configmaps/one?fieldManager=kubectl-edit"
    kubernetes.call("PATCH", place, edit, content="application/merge-patch+json")
    world.until(lambda: texts() == {"second"}, 120)
    # One object stays: a revision that declares nothing is taken for a mistake.
    stays = objects(namespace, "stays")["/api/v1/namespaces/{}/configmaps"]
    stays["metadata"]["name"] = "stays"
    gone: dict[str, str | None] = dict.fromkeys(files(namespace, ""), None)
    world.push({**gone, "stays.yaml": yaml.safe_dump(stays)}, "the rest goes")
    world.until(lambda: texts() == {"nothing"}, 120)
    assert world.end() == 0

    events = kubernetes.asked(ACCOUNT)
    unused = granted(installed) - used(events)
    with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
        served = {(kind.group, kind.plural) for kind in cluster.discover().kinds}
    # What is listed and what is watched from the start depends on the API server; no kind that it serves is in vain.
    # Rights to what it does not serve (most of the ecosystem's kinds) can only be read from the role.
    looked_at = {right[1:] for right in used(events)}
    assert {right[1:] for right in unused if right[1:] in served} - looked_at == set()
    assert {right[0] for right in unused if right not in BESIDE} <= {"list", "watch"}
    assert not [right for right in granted(installed) if right[2].partition("/")[0] == "secrets" or "*" in right]
    # What was refused are kinds that other tests defined in this cluster, which the audit names as not listed.
    known = {resource for _, _, resource in granted(installed)}
    refused = [item for item in events if item["responseStatus"]["code"] == 403]
    assert not [item for item in refused if item["objectRef"]["resource"] in known], refused[:3]


def _metrics(world: UpWorld) -> str:
    url = re.findall(r"dashboard: (\S+);", world.said())[-1]
    with urllib.request.urlopen(f"{url}metrics", timeout=30) as answer:
        return str(answer.read().decode())


def test_the_webhook_is_registered_by_the_shipped_account_once_it_is_ready_and_denies(
    kubernetes: ControlPlane, installed: object, repository_root: Path, tmp_path: Path
) -> None:
    """The component `registration`: our processes on this machine stand in for the Service."""
    folder = repository_root / "deploy" / "kustomize" / "components" / "registration"
    rights = [item for item in yaml.safe_load_all((folder / "rbac.yaml").read_text()) if item]
    judged = kubernetes.namespace("registered")
    # Other tests share this control plane: every other namespace is exempt.
    names = sorted({item["metadata"]["name"] for item in kubernetes.call("GET", "/api/v1/namespaces")["items"]})
    rules = {"policy": {"trustedRegistries": ["apexlogic.com"], "requireSignedCommits": False}}
    rules |= {"admission": {"exemptNamespaces": [name for name in names if name != judged]}}  # type: ignore[dict-item]
    (tmp_path / "customhouse.yaml").write_text(json.dumps({"apiVersion": "customhouse.dev/v1", **rules}))
    applied(kubernetes, rights)
    account_file(kubernetes, REGISTRAR, tmp_path / "kubeconfig")
    webhook = start_webhook(tmp_path)
    url = f"https://127.0.0.1:{webhook.port}"
    command = [Path(sys.executable).with_name("customhouse"), "webhook", "--config", "customhouse.yaml"]
    command += ["--keep-applied", "--port", str(webhook.port), "--url", url, "--kubeconfig", "kubeconfig"]
    command += ["--state", "registrar", "--ca", str(webhook.authority)]
    with (tmp_path / "registrar.log").open("wb") as log:
        registrar = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    create = f"/api/v1/namespaces/{judged}/pods"
    try:

        def refused() -> str:
            assert registrar.poll() is None, (tmp_path / "registrar.log").read_text()
            try:
                as_user(kubernetes, "ada", "POST", f"{create}?dryRun=All", pod("bad", judged, "evil.example/x:latest"))
            except KubernetesError as error:
                return str(error)
            return ""

        kubernetes.until(lambda: "image-untrusted-registry" in refused())
        as_user(kubernetes, "ada", "POST", create, pod("good", judged))
        assert webhook.stop() == 0
        # Nothing is judged now, so nothing comes in there; its own namespace is exempt by its name.
        kubernetes.until(lambda: "failed calling webhook" in refused())
        own = pod("own", "customhouse-system")
        as_user(kubernetes, "ada", "POST", "/api/v1/namespaces/customhouse-system/pods?dryRun=All", own)
    finally:
        registrar.terminate()
        assert registrar.wait(60) == 0
        webhook.process.kill()
        webhook.process.wait()
        for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
            with contextlib.suppress(KubernetesError):
                kubernetes.call("DELETE", f"{ADMISSION}/{kind}/customhouse")
        with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
            cluster.write([Delete(_ref(item)) for item in rights])
    asked = kubernetes.asked(REGISTRAR)
    wrote = {(event["verb"], event["objectRef"]["resource"]) for event in asked if "objectRef" in event}
    assert wrote == {("patch", f"{kind}webhookconfigurations") for kind in ("validating", "mutating")}
    assert not [event for event in asked if event["responseStatus"]["code"] == 403]


def test_the_api_server_takes_the_policies_that_are_generated(
    kubernetes: ControlPlane, repository_root: Path, tmp_path: Path
) -> None:
    space = kubernetes.namespace("callers")
    page = (repository_root / "docs" / "install.md").read_text()
    model = re.search(r"<<'END'\n(.*?)> END", page, re.DOTALL)
    assert model is not None
    (tmp_path / "model.yaml").write_text(model[1].replace("> ", "").replace("namespace: risk", f"namespace: {space}"))
    program = Path(sys.executable).with_name("customhouse")
    done = subprocess.run([program, "network", "generate", "model.yaml"], cwd=tmp_path, capture_output=True, check=True)
    made = list(yaml.safe_load_all(done.stdout))
    for item in made:
        place = f"/apis/networking.k8s.io/v1/namespaces/{space}/networkpolicies/{item['metadata']['name']}"
        taken = kubernetes.apply(place, item)
        assert taken["spec"] == item["spec"], "nothing is filled in, so nothing will drift"
    assert len(made) == 4
