"""Which kinds belong to the whole cluster. Kubernetes' own are listed; custom ones say so in their definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from customhouse.core.errors import DeclarationError

# From the API references of Kubernetes 1.33, KServe 0.16, Kueue 0.14, Karpenter 1, cert-manager 1.18, Gatekeeper 3.20,
# Gateway API 1.3, Istio (none), Kubeflow profiles.
_CLUSTER: Mapping[str, frozenset[str]] = {
    "": frozenset({"Namespace", "Node", "PersistentVolume", "ComponentStatus"}),
    "admissionregistration.k8s.io": frozenset(
        {
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "ValidatingWebhookConfiguration",
        }
    ),
    "apiextensions.k8s.io": frozenset({"CustomResourceDefinition"}),
    "apiregistration.k8s.io": frozenset({"APIService"}),
    "cert-manager.io": frozenset({"ClusterIssuer"}),
    "certificates.k8s.io": frozenset({"CertificateSigningRequest", "ClusterTrustBundle"}),
    "flowcontrol.apiserver.k8s.io": frozenset({"FlowSchema", "PriorityLevelConfiguration"}),
    "gateway.networking.k8s.io": frozenset({"GatewayClass"}),
    "karpenter.k8s.aws": frozenset({"EC2NodeClass"}),
    "karpenter.sh": frozenset({"NodeClaim", "NodePool"}),
    "kubeflow.org": frozenset({"Profile"}),
    "kueue.x-k8s.io": frozenset({"AdmissionCheck", "ClusterQueue", "Cohort", "ResourceFlavor", "Topology"})
    | {"WorkloadPriorityClass"},
    "networking.k8s.io": frozenset({"IPAddress", "IngressClass", "ServiceCIDR"}),
    "node.k8s.io": frozenset({"RuntimeClass"}),
    "rbac.authorization.k8s.io": frozenset({"ClusterRole", "ClusterRoleBinding"}),
    "resource.k8s.io": frozenset({"DeviceClass", "ResourceSlice"}),
    "scheduling.k8s.io": frozenset({"PriorityClass"}),
    "serving.kserve.io": frozenset({"ClusterServingRuntime", "ClusterStorageContainer"}),
    "storage.k8s.io": frozenset({"CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"}),
    "templates.gatekeeper.sh": frozenset({"ConstraintTemplate"}),
}
# Groups of which every kind is cluster-scoped: Gatekeeper makes a kind per constraint template.
_CLUSTER_GROUPS = frozenset({"constraints.gatekeeper.sh"})

# Groups of Kubernetes itself: what is not listed above is namespaced there, whatever a definition says.
_OWN = frozenset({"", "apps", "autoscaling", "batch", "extensions", "policy"})
# Of other groups: the kinds that run models. Their namespace decides about tiers and budgets.
_NAMESPACED = frozenset({"InferenceGraph", "InferenceService", "LLMInferenceService", "ServingRuntime", "TrainedModel"})
_SERVING = frozenset({"serving.kserve.io", "serving.kubeflow.org"})


def cluster_scoped(group: str, kind: str, learned: Mapping[tuple[str, str], bool] | None = None) -> bool:
    """Whether objects of a kind have no namespace. `learned` are the scopes that declared definitions state."""
    if learned is not None and (group, kind) in learned:
        return learned[group, kind]
    return group in _CLUSTER_GROUPS or kind in _CLUSTER.get(group, frozenset())


def scopes_of(manifests: Iterable[Any]) -> dict[tuple[str, str], bool]:
    """(group, kind) → whether cluster-scoped, from the CustomResourceDefinitions among `manifests`.

    Raises DeclarationError for one that gives a known kind another scope than it has: with it a workload would leave
    its namespace, and with that its tier and its budgets.
    """
    scopes: dict[tuple[str, str], bool] = {}
    for manifest in manifests:
        if not isinstance(manifest, Mapping) or manifest.get("kind") != "CustomResourceDefinition":
            continue
        spec = manifest.get("spec")
        names = spec.get("names") if isinstance(spec, Mapping) else None
        if isinstance(spec, Mapping) and isinstance(names, Mapping):
            group, kind, cluster = str(spec.get("group")), str(names.get("kind")), spec.get("scope") == "Cluster"
            known = _known(group, kind)
            if known is not None and known != cluster:
                raise DeclarationError(
                    f"a definition gives {kind} of {group or 'v1'} another scope than that kind has",
                    where=f"CustomResourceDefinition {kind}",
                    hint=f"write scope: {'Cluster' if known else 'Namespaced'}, or take the definition away",
                )
            scopes[group, kind] = cluster
    return scopes


def _known(group: str, kind: str) -> bool | None:
    """The scope of a kind that no definition can change, None for kinds that only their definitions know."""
    if kind in _CLUSTER.get(group, frozenset()):
        return True
    return False if group in _OWN or (group in _SERVING and kind in _NAMESPACED) else None
