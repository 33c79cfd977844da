"""Projections of what steers a cluster: ways in, webhooks, autoscalers, node pools; and the repository's other files.

Fields of custom resources are those of their published schemas: autoscaling.k8s.io (VerticalPodAutoscaler), keda.sh,
karpenter.sh. Quantities are integers; a missing upper end is null, which the rules refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from customhouse._kit.quantity import QuantityError, parse_bytes, parse_milli
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Manifest
from customhouse.core.serverless import paused_at
from customhouse.policy.reading import entries, mapping, number, text, texts

_ACCELERATOR_SUFFIXES = ("/gpu", "/tpu", "/neuron", "/neuroncore", "/neurondevice", "/gaudi")


def ingress(manifest: Manifest) -> dict[str, Any]:
    """Hosts that an Ingress answers for, and those of them that no `tls` entry covers (a wildcard covers one label)."""
    spec = mapping(manifest, "spec", "")
    covered = [host for entry, place in entries(spec, "tls", "/spec") for host in texts(entry, "hosts", place) or [""]]
    hosts = [
        {"name": text(rule, "host", place, "").lower(), "pointer": place}
        for rule, place in entries(spec, "rules", "/spec")
    ]
    if spec.get("defaultBackend") and not hosts:
        hosts.append({"name": "", "pointer": "/spec/defaultBackend"})
    without = {host["name"] or "every host" for host in hosts if not _covered(host["name"], covered)}
    return {
        "class": text(spec, "ingressClassName", "/spec", None),
        "hosts": hosts,
        "without_tls": sorted(without),
    }


def _covered(host: str, covered: list[str]) -> bool:
    if "" in covered:  # the default certificate of the controller
        return True
    lowered = [name.lower() for name in covered]
    return host in lowered or f"*.{host.partition('.')[2]}" in lowered


def webhooks(manifest: Manifest) -> dict[str, Any]:
    """admissionregistration.k8s.io/v1: failurePolicy is Fail by default.

    `outside` is the host of a URL that is no Service of the cluster; `wide` is what the rules send there that is more
    than a few kinds: everything, or Secrets.
    """
    return {
        "webhooks": [
            {
                "name": text(hook, "name", place, ""),
                "failure_policy": text(hook, "failurePolicy", place, "Fail"),
                "timeout_seconds": number(hook, "timeoutSeconds", place, 10),
                "outside": _outside(hook, place),
                "wide": _wide(hook, place),
                "pointer": place,
            }
            for hook, place in entries(manifest, "webhooks", "")
        ]
    }


def _outside(hook: Mapping[str, Any], place: str) -> str | None:
    url = text(mapping(hook, "clientConfig", place), "url", f"{place}/clientConfig", "")
    if not url:
        return None
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        host = ""
    return None if host.endswith((".svc", ".svc.cluster.local")) else host or "an address that cannot be read"


def _wide(hook: Mapping[str, Any], place: str) -> list[str]:
    found = set()
    for rule, at in entries(hook, "rules", place):
        resources, groups = set(texts(rule, "resources", at)), set(texts(rule, "apiGroups", at))
        if resources & {"*", "*/*"}:
            found.add("everything" if "*" in groups else "all resources of an API group")
        if "secrets" in resources and groups & {"", "*"}:
            found.add("Secrets")
    return sorted(found)


def autoscaler(manifest: Manifest) -> dict[str, Any]:
    """autoscaling/v1 and v2: minReplicas is 1 by default, maxReplicas has to be there."""
    spec = mapping(manifest, "spec", "")
    return {
        "target": _target(spec, "scaleTargetRef", ""),
        "min_replicas": number(spec, "minReplicas", "/spec", 1),
        "max_replicas": number(spec, "maxReplicas", "/spec", None),
        "max_pointer": "/spec/maxReplicas",
        # The API server's default: CPU at 80 %, as autoscaling/v1 says it without a list.
        "metrics": [text(metric, "type", place, "") for metric, place in entries(spec, "metrics", "/spec")]
        or ["Resource"],
    }


def scaled_object(manifest: Manifest) -> dict[str, Any]:
    """keda.sh/v1alpha1 ScaledObject: from 0 and to 100 when it says nothing; the kind is Deployment by default."""
    spec = mapping(manifest, "spec", "")
    most = number(spec, "maxReplicaCount", "/spec", None)
    paused = paused_at(manifest) or 0
    return {
        "target": _target(spec, "scaleTargetRef", "Deployment"),
        "min_replicas": number(spec, "minReplicaCount", "/spec", 0),
        "max_replicas": most if most is None else max(most, paused),
        "max_pointer": "/spec/maxReplicaCount",
        "metrics": [text(trigger, "type", place, "") for trigger, place in entries(spec, "triggers", "/spec")],
    }


def scaled_job(manifest: Manifest) -> dict[str, Any]:
    """keda.sh/v1alpha1 ScaledJob: it makes its own Jobs."""
    value = scaled_object(manifest)
    return {**value, "target": {"kind": "ScaledJob", "name": str(mapping(manifest, "metadata", "").get("name", ""))}}


def vertical_autoscaler(manifest: Manifest) -> dict[str, Any]:
    """autoscaling.k8s.io/v1: it acts (Auto) by default; `bounded` when every container has a maxAllowed for both."""
    spec = mapping(manifest, "spec", "")
    policy = mapping(spec, "resourcePolicy", "/spec")
    policies = []
    for item, place in entries(policy, "containerPolicies", "/spec/resourcePolicy"):
        low, high = mapping(item, "minAllowed", place), mapping(item, "maxAllowed", place)
        policies.append(
            {
                "container": text(item, "containerName", place, "*"),
                "mode": text(item, "mode", place, "Auto"),
                "cpu_min_milli": _amount(low, "cpu", f"{place}/minAllowed"),
                "cpu_max_milli": _amount(high, "cpu", f"{place}/maxAllowed"),
                "memory_min_bytes": _amount(low, "memory", f"{place}/minAllowed"),
                "memory_max_bytes": _amount(high, "memory", f"{place}/maxAllowed"),
                "pointer": place,
            }
        )
    acting = [item for item in policies if item["mode"] != "Off"]
    everywhere = any(item["container"] == "*" for item in policies)
    return {
        "target": _target(spec, "targetRef", ""),
        "update_mode": text(mapping(spec, "updatePolicy", "/spec"), "updateMode", "/spec/updatePolicy", "Auto"),
        "container_policies": policies,
        "bounded": everywhere
        and all(item["cpu_max_milli"] is not None and item["memory_max_bytes"] is not None for item in acting),
    }


def node_pool(manifest: Manifest) -> dict[str, Any]:
    """karpenter.sh NodePool: what it may buy, and how much of it in all."""
    spec = mapping(manifest, "spec", "")
    limits = mapping(spec, "limits", "/spec")
    template = mapping(mapping(spec, "template", "/spec"), "spec", "/spec/template")
    requirements = [
        {
            "key": text(item, "key", place, ""),
            "operator": text(item, "operator", place, ""),
            "values": texts(item, "values", place),
        }
        for item, place in entries(template, "requirements", "/spec/template/spec")
    ]
    totals = [
        _whole(value, f"/spec/limits/{name}") for name, value in limits.items() if name.endswith(_ACCELERATOR_SUFFIXES)
    ]
    return {
        "limited": sorted(limits),
        "requirements": requirements,
        "accelerators_total": sum(totals) if totals else None,
        "weight": number(spec, "weight", "/spec", None),
    }


def repository_files(manifest: Manifest) -> dict[str, Any]:
    """What `policy.repository_files` found in files that are no Declarations."""
    spec = mapping(manifest, "spec", "")
    return {
        "files": [
            {**{key: text(item, key, place, "") for key in ("path", "problem", "detail", "digest")}, "pointer": place}
            for item, place in entries(spec, "files", "/spec")
        ]
    }


def _target(spec: Mapping[str, Any], key: str, kind: str) -> dict[str, Any]:
    target = mapping(spec, key, "/spec")
    return {
        "kind": text(target, "kind", f"/spec/{key}", kind),
        "name": text(target, "name", f"/spec/{key}", ""),
    }


def _amount(values: Mapping[str, Any], key: str, place: str) -> int | None:
    if values.get(key) is None:
        return None
    try:
        return parse_milli(values[key]) if key == "cpu" else parse_bytes(values[key])
    except QuantityError as error:
        raise DeclarationError(f"{key}: {error}", where=f"{place}/{key}") from error


def _whole(value: Any, place: str) -> int:
    try:
        return parse_bytes(value)
    except QuantityError as error:
        raise DeclarationError(str(error), where=place) from error
