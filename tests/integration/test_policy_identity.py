"""Identity: a file and the live object that the real API server makes of it have one projection, for every kind.

A server-side dry run fills in every default, of built-in kinds and of CRDs, and normalises quantities.
"""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse._kit.canonical import canonical_json
from customhouse.core.resource import ResourceRef
from customhouse.policy.projection import project
from kind_samples import BUILT_IN, SAMPLES, Sample
from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")

# Each holds the schema of a RayCluster whole: 2 MB of CRD and seconds of the API server for the same defaults.
_LIKE_ANOTHER = ("RayJob", "RayService")
SERVED = [s for s in (*SAMPLES, *BUILT_IN) if s.crds is not None and s.kind not in _LIKE_ANOTHER]
CRDS = sorted({sample.crds for sample in SERVED if sample.crds})
# What an API server adds beyond the object's own: the namespace controller's labels, admission plugins.
_PLURALS = {
    "Namespace": "namespaces",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "NetworkPolicy": "networkpolicies",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Ingress": "ingresses",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
    "StorageClass": "storageclasses",
    "LLMInferenceServiceConfig": "llminferenceserviceconfigs",
    "TrainedModel": "trainedmodels",
    **{sample.kind: sample.plural for sample in SERVED},
}
_CLUSTER = ("Namespace", "ClusterRole", "ClusterRoleBinding", "StorageClass")


@pytest.fixture(scope="module")
def plane(kubernetes: ControlPlane) -> tuple[ControlPlane, str]:
    """The control plane with the CRDs of the samples: the stored version alone, without prose, since that is faster."""
    wanted = {(s.api_version.rpartition("/")[0], s.kind) for s in SERVED} | {("serving.kserve.io", "TrainedModel")}
    place = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    names = []
    for file in (file for name in CRDS for file in sorted((kubernetes.crds / name).glob("*.yaml"))):
        for crd in yaml.load_all(file.read_text(), yaml.CSafeLoader):
            if not crd or (crd["spec"]["group"], crd["spec"]["names"]["kind"]) not in wanted:
                continue
            crd["spec"]["versions"] = [version for version in crd["spec"]["versions"] if version["storage"]]
            crd["spec"].pop("conversion", None)  # needs a webhook that does not run here
            names.append(crd["metadata"]["name"])
            with contextlib.suppress(KubernetesError):  # another test's
                kubernetes.call("POST", place, _without_prose(crd))
    for name in names:
        kubernetes.until(lambda name=name: _established(kubernetes.call("GET", f"{place}/{name}")))
    return kubernetes, kubernetes.namespace("identity")


def _established(crd: dict[str, Any]) -> bool:
    return any(one["type"] == "Established" and one["status"] == "True" for one in crd["status"]["conditions"] or [])


def _without_prose(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_prose(v) for k, v in value.items() if not (k == "description" and isinstance(v, str))}
    return [_without_prose(item) for item in value] if isinstance(value, list) else value


def path_of(manifest: dict[str, Any], namespace: str, plural: str, *, namespaced: bool) -> str:
    root = f"/apis/{manifest['apiVersion']}" if "/" in manifest["apiVersion"] else f"/api/{manifest['apiVersion']}"
    place = f"/namespaces/{namespace}" if namespaced else ""
    return f"{root}{place}/{plural}"


def live(plane: ControlPlane, manifest: dict[str, Any], namespace: str, plural: str, *, namespaced: bool) -> Any:
    path = path_of(manifest, namespace, plural, namespaced=namespaced)
    return plane.call("POST", f"{path}?dryRun=All&fieldValidation=Ignore", manifest)


@pytest.mark.parametrize("sample", SERVED, ids=str)
def test_every_kind_has_one_projection_in_git_and_in_the_cluster(
    plane: tuple[ControlPlane, str], sample: Sample
) -> None:
    cluster, namespace = plane
    manifest = sample.manifest(namespace)
    path = path_of(manifest, namespace, sample.plural, namespaced=sample.namespaced)
    # Strict: a sample with a field that the real schema does not have would prove nothing.
    made = cluster.call("POST", f"{path}?dryRun=All&fieldValidation=Strict", manifest)
    assert made["metadata"]["uid"]
    ref = ResourceRef.of(manifest)
    assert canonical_json(project(made, ref)) == canonical_json(project(manifest, ref))


def _published(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.rglob("*.yaml")):
        if path.stat().st_size > 40_000:
            continue
        try:
            documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
        except yaml.YAMLError:
            continue
        found.extend(item for item in documents if isinstance(item, dict) and _is_published(item))
    return found


def _is_published(item: dict[str, Any]) -> bool:
    return bool((item.get("metadata") or {}).get("name")) and item.get("kind") in _PLURALS


def test_objects_that_real_projects_publish_have_one_projection_too(
    plane: tuple[ControlPlane, str], shared_data: Path
) -> None:
    cluster, namespace = plane
    same = refused = 0
    for item in _published(shared_data / "manifests"):
        manifest = copy.deepcopy(item)
        namespaced = item["kind"] not in _CLUSTER and not item["kind"].startswith(("Cluster", "Mutating", "Validating"))
        manifest["metadata"].pop("namespace", None)
        if namespaced:
            manifest["metadata"]["namespace"] = namespace
        try:
            made = live(cluster, manifest, namespace, _PLURALS[item["kind"]], namespaced=namespaced)
        except KubernetesError:
            refused += 1  # a sample with a placeholder, an API version that is no longer served, or a part of a patch
            continue
        ref = ResourceRef.of(manifest)
        assert canonical_json(project(made, ref)) == canonical_json(project(manifest, ref)), f"{ref}"
        same += 1
    assert same > 300
    assert refused < same // 4
