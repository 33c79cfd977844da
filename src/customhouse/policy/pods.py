"""The pods of a workload as policies see them: every component, every container, with the place of each.

Built on `core.podsets`, which prices and placement read too; here come the fields that only security asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.core.burstable import burstable
from customhouse.core.claims import managed_needs
from customhouse.core.containers import Container, container_of
from customhouse.core.evidence import ArtifactRef
from customhouse.core.fields import look
from customhouse.core.kinds import kind_of
from customhouse.core.podsets import PodSet, pod_sets
from customhouse.core.resource import PREFIX, Manifest, ResourceRef
from customhouse.core.workload import models_of, workload
from customhouse.policy.frameworks import frameworks
from customhouse.policy.reading import credential, entries, flag, mapping, number, redacted, switch, text, texts

# distribution/reference: domain, path components, tag, digest.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?",
    re.ASCII,
)
_TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path, not a credential


def artifacts(manifest: Manifest, ref: ResourceRef) -> tuple[ArtifactRef, ...]:
    """Every artifact that an object names, in all of its pods and beside them."""
    found = pod_sets(manifest, ref.api_version, ref.kind)
    return tuple(artifact for one in found for artifact in one.artifacts) if found else models_of(manifest)


def project_workload(manifest: Manifest, ref: ResourceRef) -> dict[str, Any] | None:
    """The `workload` of a projection, None for kinds that run nothing."""
    work = workload(manifest, ref)
    found = pod_sets(manifest, ref.api_version, ref.kind)
    if not found and work is None:
        return None
    row = kind_of(ref.api_version, ref.kind)
    known = row is not None and bool(row.pods)
    own = [one for one in found if one.found != known]
    # A service's components stand beside one another, each with a range of its own; every other kind's pods add up.
    apart = ref.kind == "InferenceService"
    spot = [one.spot for one in own]
    managed = managed_needs(manifest, ref)
    return {
        "known": known,
        # Runs nothing by itself: other objects name it, and what they run of it is priced with them.
        "template": row is not None and row.template,
        "batch": row is not None and row.batch,
        # Of batch work all pods have to be on spot capacity for it to be there, of anything else one is enough.
        "spot": bool(spot) and all(spot) if row is not None and row.batch else any(spot),
        "accelerator": next((one.accelerator for one in own if one.accelerator is not None), None),
        "accelerators": max((one.accelerators for one in own), default=0) + sum(need.count for need in managed),
        "accelerator_classes": sorted(
            {name for one in found for name in one.accelerator_classes} | {need.name for need in managed}
        ),
        "cpu_milli": max((one.cpu for one in own), default=0),
        "memory_bytes": max((one.memory for one in own), default=0),
        "replicas_min": _together([one.replicas_min for one in own], apart=apart),
        "replicas_max": _together([one.replicas_max for one in own], apart=apart),
        "replicas_bounded": all(one.bounded for one in own),
        "models": [model for one in found if apart for model in _models(one)],
        "frameworks": frameworks(manifest, found),
        "pods": [_pod(manifest, one, given=one.found or row is None or not row.light) for one in found],
    }


def _scheduler(name: str | None) -> str | None:
    """None for the one that the API server writes where a pod names none."""
    return None if name in ("", "default-scheduler") else name


def image_parts(reference: str) -> dict[str, Any]:
    """An image reference taken apart, Docker's defaults filled in; `valid` is False when the grammar refuses it."""
    match = _IMAGE.fullmatch(reference) if len(reference) <= 512 else None
    if match is None:
        return {"valid": False, "repository": reference[:512], "tag": None, "digest": None}
    domain, path = match["domain"], match["path"]
    # splitDockerDomain: the first component is a host when it has a dot or a port, is localhost, or has capitals.
    if domain is not None and "." not in domain and ":" not in domain and domain == domain.lower() != "localhost":
        domain, path = None, f"{domain}/{path}"
    if domain is None:
        domain, path = "docker.io", path if "/" in path else f"library/{path}"
    tag = match["tag"] or (None if match["digest"] else "latest")
    return {"valid": True, "repository": f"{domain.lower()}/{path}", "tag": tag, "digest": match["digest"]}


def _together(counts: list[int], *, apart: bool) -> int:
    return max(counts, default=0) if apart else sum(counts)


def _models(one: PodSet) -> Iterator[dict[str, Any]]:
    """Model specs: `model`, or the older key named after a framework, that hold or should hold a storageUri."""
    for key, value in one.pod.items():
        if key != "model" and not (isinstance(value, Mapping) and ({"storageUri", "storage"} & value.keys())):
            continue
        place = f"{one.pointer}/{key}"
        spec = mapping(one.pod, key, one.pointer)
        model_format = mapping(spec, "modelFormat", place)
        yield {
            "pointer": place,
            "format": text(model_format, "name", f"{place}/modelFormat", None) or key,
            "runtime": text(spec, "runtime", place, None),
            "protocol_version": text(spec, "protocolVersion", place, None),
            # An empty address names no model, however it is written.
            "storage_uri": (text(spec, "storageUri", place, None) or "").strip() or None,
        }


def _pod(manifest: Manifest, one: PodSet, *, given: bool) -> dict[str, Any]:
    pod, pointer = one.pod, one.pointer
    context = mapping(pod, "securityContext", pointer)
    place = f"{pointer}/securityContext"
    return {
        "component": one.name,
        "pointer": pointer,
        "replicas_min": one.replicas_min,
        "replicas_max": one.replicas_max,
        "replicas_bounded": one.bounded,
        "accelerator": one.accelerator,
        "accelerators": one.accelerators,
        "spot": one.spot,
        "burstable": burstable(pod),
        "termination_grace_s": number(pod, "terminationGracePeriodSeconds", pointer, 30),
        "checkpoint": _said(manifest, one, "checkpoint"),
        "interruption": _said(manifest, one, "interruption"),
        "device_claims": [_device_claim(item, at) for item, at in entries(pod, "resourceClaims", pointer)],
        "host_network": flag(pod, "hostNetwork", pointer, default=False),
        "host_pid": flag(pod, "hostPID", pointer, default=False),
        "host_ipc": flag(pod, "hostIPC", pointer, default=False),
        "share_process_namespace": flag(pod, "shareProcessNamespace", pointer, default=False),
        # `serviceAccount` is its older name: the API server takes either, and copies one to the other.
        "service_account": text(pod, "serviceAccountName", pointer, None)
        or text(pod, "serviceAccount", pointer, None)
        or "default",
        "automount_token": switch(pod, "automountServiceAccountToken", pointer),
        "runtime_class": text(pod, "runtimeClassName", pointer, None),
        "priority_class": text(pod, "priorityClassName", pointer, None),
        "scheduler": _scheduler(text(pod, "schedulerName", pointer, None)),
        "node_selector": {str(key): str(value) for key, value in mapping(pod, "nodeSelector", pointer).items()},
        # The kind has fields for it. Where it has none, its controller says it, and its pods are judged for themselves.
        "security_given": given,
        "security": {
            **_identity(context, place),
            "fs_group": number(context, "fsGroup", place, None),
            "sysctls": [text(item, "name", at, "") for item, at in entries(context, "sysctls", place)],
        },
        "tolerations": [_toleration(item, at) for item, at in entries(pod, "tolerations", pointer) if not _added(item)],
        "volumes": [_volume(item, at) for item, at in entries(pod, "volumes", pointer) if not _token_volume(item)],
        "containers": [_container(manifest, item, "") for item in one.containers] + _ephemeral(manifest, one),
    }


def _said(manifest: Manifest, one: PodSet, name: str) -> str | None:
    """An annotation of the pods, else of the object that makes them: KServe hands its own on."""
    for place in (one.pointer.rpartition("/")[0], ""):
        found = look(manifest, f"{place}/metadata/annotations")
        value = found.get(PREFIX + name) if isinstance(found, Mapping) else None
        if value is not None:
            return str(value)
    return None


def _device_claim(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    return {
        "name": text(item, "name", place, ""),
        "claim": text(item, "resourceClaimName", place, None),
        "template": text(item, "resourceClaimTemplateName", place, None),
        "pointer": place,
    }


def _ephemeral(manifest: Manifest, one: PodSet) -> list[dict[str, Any]]:
    """Debug containers: in a live Pod only, and as privileged as they like."""
    found = entries(one.pod, "ephemeralContainers", one.pointer)
    read = [container_of(item, place, init=False, name=text(item, "name", place, "")) for item, place in found]
    return [_container(manifest, item, "ephemeral") for item in read]


def _container(manifest: Manifest, item: Container, role: str) -> dict[str, Any]:
    raw: Any = manifest if item.source is None else item.source
    for part in item.pointer.split("/")[1:] if item.source is None else ():
        key = part.replace("~1", "/").replace("~0", "~")
        raw = raw[int(key)] if isinstance(raw, (list, tuple)) else raw[key]
    place = item.pointer
    is_init = "/initContainers/" in place
    context = mapping(raw, "securityContext", place)
    return {
        "name": item.name,
        "pointer": place,
        # A sidecar is an initContainer that keeps running (restartPolicy Always).
        "role": role or (("init" if item.init else "sidecar") if is_init else "main"),
        "image": {"reference": item.image, **image_parts(item.image)} if item.image else None,
        "cpu_request_milli": item.cpu_request,
        "cpu_limit_milli": item.cpu_limit,
        "memory_request_bytes": item.memory_request,
        "memory_limit_bytes": item.memory_limit,
        "accelerators": item.accelerators,
        "command": [redacted("", word) for word in item.command],
        "arguments": [redacted("", word) for word in item.arguments],
        "credentials": [
            {"name": "an argument", "looks_like": found, "pointer": place}
            for found in (credential("", word) for word in (*item.command, *item.arguments))
            if found is not None
        ],
        "environment": [_variable(entry, at) for entry, at in entries(raw, "env", place)],
        "environment_from": [
            {"kind": kind, "name": text(mapping(entry, key, at), "name", at, "")}
            for entry, at in entries(raw, "envFrom", place)
            for key, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap"))
            if key in entry
        ],
        "ports": [
            {
                "port": number(port, "containerPort", at, 0),
                "protocol": text(port, "protocol", at, "TCP"),
                "host_port": number(port, "hostPort", at, 0),
                "pointer": at,
            }
            for port, at in entries(raw, "ports", place)
        ],
        "mounts": [
            {
                "name": text(mount, "name", at, ""),
                "path": text(mount, "mountPath", at, ""),
                "read_only": flag(mount, "readOnly", at, default=False),
            }
            for mount, at in entries(raw, "volumeMounts", place)
            if mount.get("mountPath") != _TOKEN_MOUNT
        ],
        "probes": sorted([key.removesuffix("Probe") for key in raw if key.endswith("Probe") and raw[key]]),
        "security": _security(context, f"{place}/securityContext"),
    }


def _security(context: Mapping[str, Any], place: str) -> dict[str, Any]:
    capabilities = mapping(context, "capabilities", place)
    windows = mapping(context, "windowsOptions", place)
    return {
        **_identity(context, place),
        "privileged": flag(context, "privileged", place, default=False)
        or flag(windows, "hostProcess", f"{place}/windowsOptions", default=False),
        "allow_privilege_escalation": switch(context, "allowPrivilegeEscalation", place),
        "read_only_root": flag(context, "readOnlyRootFilesystem", place, default=False),
        "proc_mount": text(context, "procMount", place, "Default"),
        "capabilities_add": _capabilities(capabilities, "add", place),
        "capabilities_drop": _capabilities(capabilities, "drop", place),
    }


def _identity(context: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What pod and container both can say; the container wins (`lib.effective` in Rego)."""
    return {
        "run_as_non_root": switch(context, "runAsNonRoot", place),
        "run_as_user": number(context, "runAsUser", place, None),
        "run_as_group": number(context, "runAsGroup", place, None),
        "seccomp": text(mapping(context, "seccompProfile", place), "type", place, None),
    }


def _capabilities(values: Mapping[str, Any], key: str, place: str) -> list[str]:
    if values.get(key) is None:
        return []
    return sorted({name.upper().removeprefix("CAP_") for name in texts(values, key, f"{place}/capabilities")})


def _variable(entry: Mapping[str, Any], place: str) -> dict[str, Any]:
    name = text(entry, "name", place, "")
    source = mapping(entry, "valueFrom", place)
    if source:
        kind = next(iter(sorted(source)))
        return {"name": name, "source": kind, "value": None, "looks_like": None, "pointer": place}
    value = text(entry, "value", place, "")
    found = credential(name, value)
    return {
        "name": name,
        "source": "literal",
        "value": value if found is None else None,
        "looks_like": found,
        "pointer": place,
    }


def _volume(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    kind = next((key for key in sorted(item) if key != "name" and item[key] is not None), "emptyDir")
    host = mapping(item, "hostPath", place)
    claim = mapping(item, "persistentVolumeClaim", place)
    image = mapping(item, "image", place)
    reference = text(image, "reference", f"{place}/image", "")
    # KEP-4639: the content of an OCI image or artifact as a volume.
    mounted = {"image": {"reference": reference, **image_parts(reference)}} if kind == "image" and reference else {}
    return {
        **mounted,
        "name": text(item, "name", place, ""),
        "kind": kind,
        "host_path": text(host, "path", f"{place}/hostPath", "") if kind == "hostPath" else None,
        "claim": text(claim, "claimName", f"{place}/persistentVolumeClaim", None),
        "pointer": place,
    }


def _toleration(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    return {
        "key": text(item, "key", place, ""),
        "operator": text(item, "operator", place, "Equal"),
        "value": text(item, "value", place, ""),
        "effect": text(item, "effect", place, ""),
    }


def _added(item: Mapping[str, Any]) -> bool:
    """The two tolerations that the DefaultTolerationSeconds admission plugin gives to every pod."""
    return (
        item.get("key") in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        and item.get("effect") == "NoExecute"
        and item.get("tolerationSeconds") == 300
    )


def _token_volume(item: Mapping[str, Any]) -> bool:
    """The volume that the ServiceAccount admission plugin gives to every pod."""
    return str(item.get("name", "")).startswith("kube-api-access-") and "projected" in item
