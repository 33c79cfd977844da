"""What else is declared, as far as rules ask for it: one pure index over all Declarations, one small answer for each.

The gate makes it from the revision that is judged, admission and audit from the live objects. Answers are facts about
names and selectors alone, so that the same set gives the same answer wherever it was read.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from customhouse.core.callers import Network
from customhouse.core.devices import accelerator_class
from customhouse.core.kinds import kind_of
from customhouse.core.resource import PREFIX, Declaration, ResourceRef
from customhouse.policy.claiming import ClaimIndex
from customhouse.policy.queueing import QueueIndex
from customhouse.policy.references import References
from customhouse.policy.serverless import none_at_least
from customhouse.policy.storage import StorageIndex

_SCRAPED = ("prometheus.io/scrape", "serving.kserve.io/enable-prometheus-scraping")
_TRACED = ("sidecar.opentelemetry.io/inject", "instrumentation.opentelemetry.io/")
_READS = frozenset({"get", "list", "watch"})
_DOORS = frozenset({"*", "pods/*", "nodes/*", "*/exec", "*/attach", "*/portforward", "*/proxy"})
_DOORS |= {f"pods/{name}" for name in ("exec", "attach", "portforward", "proxy")} | {"nodes/proxy", "services/proxy"}
"""What is written through although the connection is made by a GET (the authorizer of Kubernetes asks for `get`)."""
_AUTOSCALERS = {
    ("autoscaling", "HorizontalPodAutoscaler"): "scaleTargetRef",
    ("keda.sh", "ScaledObject"): "scaleTargetRef",
    ("autoscaling.k8s.io", "VerticalPodAutoscaler"): "targetRef",
}
_TO_ZERO = (("keda.sh", "ScaledObject"), ("http.keda.sh", "HTTPScaledObject"))
_GPU_COUNTS = ("karpenter.k8s.aws/instance-gpu-count", "customhouse.dev/accelerators")
_GPU_NAMES = (
    "karpenter.k8s.aws/instance-gpu-name",
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "customhouse.dev/accelerator",
)
_TIER = PREFIX + "tier"
_MOST_CALLED = 50
_MOST_TOLD = 20
"""Workloads of a namespace, and differences of one, that a finding can name."""


class Surroundings:
    """An index over Declarations. `about` answers for one of them; the index itself is not part of Facts."""

    def __init__(self, declarations: Iterable[Declaration]) -> None:
        self._policies: dict[str, list[Mapping[str, Any]]] = {}
        self._workloads: dict[str, int] = {}
        self._roles: dict[tuple[str, str, str], bool] = {}
        self._scaled: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        self._services: dict[str, dict[tuple[Any, Any], list[Mapping[str, Any]]]] = {}
        """Namespace → the first pair of a Service's selector → the Services: who has it not is not selected."""
        self._monitors: list[tuple[str, str, Mapping[str, Any]]] = []
        self._names: set[tuple[str, str, str]] = set()
        self._pools: list[dict[str, Any]] = []
        self._tiers: dict[tuple[str, str, str], str] = {}
        """(namespace, kind, name) of a workload → the tier that its label asks for."""
        self._storage = StorageIndex()
        self._network = Network()
        self._references = References()
        self._queues = QueueIndex()
        self._claims = ClaimIndex()
        for item in declarations:
            self._add(item.ref, item.manifest)
            self._storage.add(item)
            self._network.add(item)
            self._queues.add(item)
            self._claims.add(item)

    def _add(self, ref: ResourceRef, manifest: Mapping[str, Any]) -> None:
        group, namespace, spec = _group(ref), _namespace(ref), _mapping(manifest.get("spec"))
        self._names.add((namespace, ref.kind, ref.name))
        self._references.add(ref, manifest)
        if (group, ref.kind) == ("networking.k8s.io", "NetworkPolicy"):
            self._policies.setdefault(namespace, []).append(spec)
        elif group == "rbac.authorization.k8s.io" and ref.kind in ("Role", "ClusterRole"):
            key = ("" if ref.kind == "ClusterRole" else namespace, ref.kind, ref.name)
            self._roles[key] = _writes(manifest)
        elif (group, ref.kind) in _AUTOSCALERS:
            target = _target(ref, spec)
            if not (ref.kind == "VerticalPodAutoscaler" and _update_mode(spec) == "Off"):
                self._scaled.setdefault(target, []).append((ref.kind, ref.name))
        elif (group, ref.kind) == ("", "Service"):
            pair = next(iter(_mapping(spec.get("selector")).items()), None)
            if pair is not None and isinstance(pair[1], Hashable):  # one without a selector selects nothing
                self._services.setdefault(namespace, {}).setdefault(pair, []).append(manifest)
        elif group == "monitoring.coreos.com" and ref.kind in ("PodMonitor", "ServiceMonitor"):
            self._monitors.append((namespace, ref.kind, spec))
        elif (group, ref.kind) == ("karpenter.sh", "NodePool"):
            self._pools.append(_pool(ref, spec))
        row = kind_of(ref.api_version, ref.kind)
        if row is not None and row.pods:
            tier = _mapping(_mapping(manifest.get("metadata")).get("labels")).get(_TIER)
            if tier is not None:
                self._tiers[namespace, ref.kind, ref.name] = str(tier)
            self._workloads[namespace] = self._workloads.get(namespace, 0) + 1

    def about(self, declaration: Declaration, *, gone: bool = False) -> dict[str, Any]:
        """The `surroundings` of the Facts of a Change: of its `after`, or of a deletion (`gone`) of its `before`."""
        ref, manifest = declaration.ref, declaration.manifest
        namespace = _namespace(ref)
        template = _template(manifest)
        return {
            "default_deny": self._default_deny(namespace),
            "workloads": self._workloads.get(namespace, 0),
            "role": self._role(ref, manifest),
            "target_found": self._target_found(ref, manifest),
            "rivals": self._rivals(ref, manifest),
            "metrics": _annotated(manifest, template, _SCRAPED) or self._monitored(ref, manifest, template),
            "tracing": _annotated(manifest, template, _TRACED),
            "node_pools": sorted(self._pools, key=lambda pool: str(pool["name"])),
            **self._storage.about(declaration),
            **({} if gone else self._queues.about(declaration)),
            **({} if gone else self._claims.about(declaration)),
            **self._callers(declaration, gone=gone),
            **self._named_by(ref, gone=gone),
            **self._target_tier(ref, manifest),
        }

    def _target_tier(self, ref: ResourceRef, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """`target_tier`, only of what may go to zero by it, and only where its target's label asks for a tier."""
        kind = _group(ref), ref.kind
        if kind not in _TO_ZERO and not (
            kind == ("autoscaling", "HorizontalPodAutoscaler") and none_at_least(manifest)
        ):
            return {}
        target = _mapping(_mapping(manifest.get("spec")).get("scaleTargetRef"))
        key = _namespace(ref), str(target.get("kind") or "Deployment"), str(target.get("name", ""))
        return {"target_tier": self._tiers[key]} if key in self._tiers else {}

    def _named_by(self, ref: ResourceRef, *, gone: bool) -> dict[str, Any]:
        """`named_by`, only of a deletion: what stays declared and sends its requests to what goes."""
        found = self._references.of(ref) if gone else []
        return {"named_by": found[:_MOST_TOLD]} if found else {}

    def _callers(self, declaration: Declaration, *, gone: bool) -> dict[str, Any]:
        """`callers`, only where those let in differ from those declared: of the workload, or of a policy's namespace.

        A policy that opens a workload is judged though the workload is no part of the change.
        """
        ref, is_policy = declaration.ref, declaration.ref.kind == "NetworkPolicy"
        row = kind_of(ref.api_version, ref.kind)
        if not is_policy and (gone or row is None or not row.pods):
            return {}
        network = self._network.after(declaration, gone=gone)
        if is_policy:
            differing = network.differing(_namespace(ref))
        else:
            said = network.differences(ref)
            differing = [(str(ref), said)] if said else []
        found = [{"workload": name, "differences": said[:_MOST_TOLD]} for name, said in differing[:_MOST_CALLED]]
        return {"callers": found} if found else {}

    def _default_deny(self, namespace: str) -> dict[str, bool]:
        found = {"ingress": False, "egress": False}
        for spec in self._policies.get(namespace, ()):
            if any(_mapping(spec.get("podSelector")).values()):
                continue
            # networking.k8s.io/v1: Ingress always, Egress when there are egress rules.
            types = _texts(spec.get("policyTypes")) or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
            for kind, key in (("Ingress", "ingress"), ("Egress", "egress")):
                found[key] = found[key] or (kind in types and not spec.get(key))
        return found

    def _role(self, ref: ResourceRef, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
        if _group(ref) != "rbac.authorization.k8s.io" or ref.kind not in ("RoleBinding", "ClusterRoleBinding"):
            return None
        role = _mapping(manifest.get("roleRef"))
        kind = str(role.get("kind", ""))
        writes = self._roles.get(("" if kind == "ClusterRole" else _namespace(ref), kind, str(role.get("name", ""))))
        return {"found": writes is not None, "writes": writes}

    def _target_found(self, ref: ResourceRef, manifest: Mapping[str, Any]) -> bool | None:
        if (_group(ref), ref.kind) not in _AUTOSCALERS:
            return None
        return _target(ref, _mapping(manifest.get("spec"))) in self._names

    def _rivals(self, ref: ResourceRef, manifest: Mapping[str, Any]) -> list[str]:
        if (_group(ref), ref.kind) not in _AUTOSCALERS:
            return []
        others = self._scaled.get(_target(ref, _mapping(manifest.get("spec"))), [])
        return sorted(f"{kind} {name}" for kind, name in others if (kind, name) != (ref.kind, ref.name))

    def _monitored(self, ref: ResourceRef, manifest: Mapping[str, Any], template: Mapping[str, Any]) -> bool:
        if not self._monitors:
            return False
        namespace = _namespace(ref)
        labels = {**_mapping(template.get("labels")), "serving.kserve.io/inferenceservice": ref.name}
        if ref.kind == "Pod":
            labels |= _mapping(_mapping(manifest.get("metadata")).get("labels"))
        services = self._services.get(namespace, {})
        near = (item for pair in labels.items() if isinstance(pair[1], Hashable) for item in services.get(pair, ()))
        serving = [
            _mapping(_mapping(service.get("metadata")).get("labels"))
            for service in near
            if _selected(_mapping(_mapping(service.get("spec")).get("selector")), labels, everything=False)
        ]
        for place, kind, spec in self._monitors:
            wanted = _mapping(spec.get("namespaceSelector"))
            names = _texts(wanted.get("matchNames")) or [place]
            if not wanted.get("any") and namespace not in names:
                continue
            selector = _mapping(spec.get("selector"))
            if selector.get("matchExpressions"):
                continue  # not read here: what is not understood is no proof
            against = [labels] if kind == "PodMonitor" else serving
            if any(_selected(_mapping(selector.get("matchLabels")), item, everything=True) for item in against):
                return True
        return False


def _target(ref: ResourceRef, spec: Mapping[str, Any]) -> tuple[str, str, str]:
    target = _mapping(spec.get(_AUTOSCALERS[_group(ref), ref.kind]))
    return (_namespace(ref), str(target.get("kind") or "Deployment"), str(target.get("name", "")))


def _update_mode(spec: Mapping[str, Any]) -> str:
    return str(_mapping(spec.get("updatePolicy")).get("updateMode", "Auto"))


def _writes(manifest: Mapping[str, Any]) -> bool:
    """Whether a role grants more than reading; an aggregated role grants what nobody has seen here."""
    if manifest.get("aggregationRule"):
        return True
    return any(_rule_writes(rule) for rule in _items(manifest.get("rules")))


def _rule_writes(rule: Mapping[str, Any]) -> bool:
    verbs = set(_texts(rule.get("verbs")))
    if not verbs <= _READS:
        return True
    core = {"", "*"} & set(_texts(rule.get("apiGroups")))
    return "get" in verbs and bool(core) and not _DOORS.isdisjoint(_texts(rule.get("resources")))


def _pool(ref: ResourceRef, spec: Mapping[str, Any]) -> dict[str, Any]:
    requirements = {
        str(item.get("key")): (str(item.get("operator")), _texts(item.get("values")))
        for item in _items(_mapping(_mapping(spec.get("template")).get("spec")).get("requirements"))
    }
    totals = [
        int(value)
        for name, value in _mapping(spec.get("limits")).items()
        if str(name).endswith(("/gpu", "/tpu", "/neuron", "/gaudi")) and re.fullmatch(r"[0-9]{1,9}", str(value))
    ]
    counts = next((requirements[key] for key in _GPU_COUNTS if key in requirements), None)
    names = next((requirements[key] for key in _GPU_NAMES if key in requirements), None)
    return {
        "name": ref.name,
        "accelerators_per_node": _largest(counts),
        "accelerators_total": sum(totals) if totals else None,
        "accelerator_classes": sorted(_classes(names[1])) if names is not None and names[0] == "In" else None,
    }


def _largest(requirement: tuple[str, list[str]] | None) -> int | None:
    """The largest count that a requirement lets in; None when it has no upper end."""
    if requirement is None:
        return None
    operator, values = requirement
    numbers = [int(value) for value in values if value.isascii() and value.isdecimal() and len(value) < 8]
    if not numbers:
        return 0 if operator == "DoesNotExist" else None
    return {"In": max(numbers), "Lt": max(numbers) - 1}.get(operator)


def _classes(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield accelerator_class(value)


def _template(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Labels and annotations of the pods, where the kind has a template; of an InferenceService its own."""
    spec = _mapping(manifest.get("spec"))
    job = _mapping(_mapping(spec.get("jobTemplate")).get("spec"))
    return _mapping(_mapping((job or spec).get("template")).get("metadata"))


def _annotated(manifest: Mapping[str, Any], template: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    given = {**_mapping(_mapping(manifest.get("metadata")).get("annotations")), **_mapping(template.get("annotations"))}
    return any(
        (key in names or (key.startswith(names) and not key.startswith(_SCRAPED)))
        and str(value).lower() not in ("", "false")
        for key, value in given.items()
    )


def _selected(wanted: Mapping[str, Any], labels: Mapping[str, Any], *, everything: bool) -> bool:
    """Whether labels match; an empty selector of a monitor selects everything, one of a Service nothing."""
    if not wanted:
        return everything
    return all(labels.get(key) == value for key, value in wanted.items())


def _group(ref: ResourceRef) -> str:
    group, slash, _ = ref.api_version.rpartition("/")
    return group if slash else ""


def _namespace(ref: ResourceRef) -> str:
    return ref.namespace or "default"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else []


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else []
