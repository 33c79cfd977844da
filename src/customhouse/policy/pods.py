"""The pods of a workload as policies see them: every component, every container, with the place of each.

Built on `core.workload`, which prices and placement read too; here come the fields that only security asks for, and
the components of an InferenceService beside its predictor (a transformer is as privileged as a predictor).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.core.evidence import ArtifactRef
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.workload import Container, Workload, workload
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
_COMPONENTS = (
    ("worker", "/spec/predictor/workerSpec"),
    ("transformer", "/spec/transformer"),
    ("explainer", "/spec/explainer"),
)


def components(manifest: Manifest, ref: ResourceRef) -> Iterator[tuple[str, Workload]]:
    """Every pod template of an object as a Workload with pointers into `manifest`; nothing for kinds without pods."""
    main = workload(manifest, ref)
    if main is None:
        return
    if ref.kind != "InferenceService":
        yield "pod", main
        return
    yield "predictor", main
    for name, pointer in _COMPONENTS:
        spec: Any = manifest
        for part in pointer.split("/")[1:]:
            spec = mapping(spec, part, pointer)
        if spec:
            # Read as if it were the predictor, then put back where it is.
            twin = workload({**manifest, "spec": {"predictor": spec}}, ref)
            if twin is not None:
                yield name, _moved(twin, "/spec/predictor", pointer)


def artifacts(manifest: Manifest, ref: ResourceRef) -> tuple[ArtifactRef, ...]:
    """Every artifact that an object names, in all of its components."""
    found = list(components(manifest, ref)) or list(_embedded(manifest, ref))
    return tuple(artifact for _, work in found for artifact in work.artifacts)


def project_workload(manifest: Manifest, ref: ResourceRef) -> dict[str, Any] | None:
    """The `workload` of a projection, None for kinds that run nothing."""
    found = list(components(manifest, ref))
    known = bool(found)
    if not known:
        found = list(_embedded(manifest, ref))
        if not found:
            return None
    main = found[0][1]
    return {
        "known": known,
        "batch": main.batch,
        "spot": main.spot,
        "accelerator": main.accelerator,
        "accelerators": main.accelerators,
        "accelerator_classes": sorted({work.accelerator for _, work in found if work.accelerator is not None}),
        "cpu_milli": main.cpu,
        "memory_bytes": main.memory,
        "replicas_min": main.replicas_min,
        "replicas_max": main.replicas_max,
        "models": [model for _, work in found for model in _models(work)],
        "pods": [_pod(manifest, name, work) for name, work in found],
    }


def _embedded(manifest: Manifest, ref: ResourceRef) -> Iterator[tuple[str, Workload]]:
    """Pods in a kind that `core.workload` does not know (a ServingRuntime, a PyTorchJob, an Argo Rollout …).

    A pod spec is recognised by its list `containers` of mappings: a kind of its own is no way around the gate.
    """
    stack: list[tuple[Any, str]] = [(manifest.get("spec"), "/spec")]
    while stack:
        value, pointer = stack.pop()
        if isinstance(value, (list, tuple)):
            stack.extend((item, f"{pointer}/{index}") for index, item in reversed(list(enumerate(value))))
        elif isinstance(value, Mapping):
            listed = value.get("containers")
            if isinstance(listed, (list, tuple)) and listed and all(isinstance(item, Mapping) for item in listed):
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": manifest["metadata"], "spec": value}
                twin = workload(pod, ref)
                if twin is not None:
                    yield "embedded", _moved(twin, "/spec", pointer)
            else:
                stack.extend((value[key], f"{pointer}/{_escaped(key)}") for key in sorted(value, reverse=True))


def _escaped(key: str) -> str:
    """RFC 6901."""
    return key.replace("~", "~0").replace("/", "~1")


def image_parts(reference: str) -> dict[str, Any]:
    """An image reference taken apart, Docker's defaults filled in; `valid` is False when the grammar refuses it."""
    match = _IMAGE.fullmatch(reference) if len(reference) <= 512 else None
    if match is None:
        return {"valid": False, "repository": reference[:512], "tag": None, "digest": None}
    domain, path = match["domain"], match["path"]
    # splitDockerDomain: the first component is a host when it has a dot or a port, is localhost, or has capitals.
    if domain is not None and domain == domain.lower() != "localhost" and not {".", ":"} & set(domain):
        domain, path = None, f"{domain}/{path}"
    if domain is None:
        domain, path = "docker.io", path if "/" in path else f"library/{path}"
    tag = match["tag"] or (None if match["digest"] else "latest")
    return {"valid": True, "repository": f"{domain.lower()}/{path}", "tag": tag, "digest": match["digest"]}


def _models(work: Workload) -> Iterator[dict[str, Any]]:
    """Model specs: `model`, or the older key named after a framework, that hold or should hold a storageUri."""
    if work.ref.kind != "InferenceService":
        return
    for key, value in work.pod.items():
        if key != "model" and not (isinstance(value, Mapping) and ({"storageUri", "storage"} & value.keys())):
            continue
        place = f"{work.pod_pointer}/{key}"
        spec = mapping(work.pod, key, work.pod_pointer)
        model_format = mapping(spec, "modelFormat", place)
        yield {
            "pointer": place,
            "format": text(model_format, "name", f"{place}/modelFormat", None) or key,
            "runtime": text(spec, "runtime", place, None),
            "protocol_version": text(spec, "protocolVersion", place, None),
            # An empty address names no model, however it is written.
            "storage_uri": (text(spec, "storageUri", place, None) or "").strip() or None,
        }


def _pod(manifest: Manifest, component: str, work: Workload) -> dict[str, Any]:
    pod, pointer = work.pod, work.pod_pointer
    context = mapping(pod, "securityContext", pointer)
    place = f"{pointer}/securityContext"
    return {
        "component": component,
        "pointer": pointer,
        "host_network": flag(pod, "hostNetwork", pointer, default=False),
        "host_pid": flag(pod, "hostPID", pointer, default=False),
        "host_ipc": flag(pod, "hostIPC", pointer, default=False),
        "share_process_namespace": flag(pod, "shareProcessNamespace", pointer, default=False),
        "service_account": text(pod, "serviceAccountName", pointer, None) or "default",
        "automount_token": switch(pod, "automountServiceAccountToken", pointer),
        "runtime_class": text(pod, "runtimeClassName", pointer, None),
        "priority_class": text(pod, "priorityClassName", pointer, None),
        "node_selector": {str(key): str(value) for key, value in mapping(pod, "nodeSelector", pointer).items()},
        "security": {
            **_identity(context, place),
            "fs_group": number(context, "fsGroup", place, None),
            "sysctls": [text(item, "name", at, "") for item, at in entries(context, "sysctls", place)],
        },
        "tolerations": [_toleration(item, at) for item, at in entries(pod, "tolerations", pointer) if not _added(item)],
        "volumes": [_volume(item, at) for item, at in entries(pod, "volumes", pointer) if not _token_volume(item)],
        "containers": [_container(manifest, item, "") for item in work.containers] + _ephemeral(manifest, work),
    }


def _ephemeral(manifest: Manifest, work: Workload) -> list[dict[str, Any]]:
    """Debug containers: in a live Pod only, and as privileged as they like."""
    if "ephemeralContainers" not in work.pod:
        return []
    pod = {"containers": work.pod["ephemeralContainers"]}
    twin = workload({"apiVersion": "v1", "kind": "Pod", "metadata": manifest["metadata"], "spec": pod}, work.ref)
    if twin is None:
        return []
    moved = _moved(twin, "/spec/containers", f"{work.pod_pointer}/ephemeralContainers")
    return [_container(manifest, item, "ephemeral") for item in moved.containers]


def _container(manifest: Manifest, item: Container, role: str) -> dict[str, Any]:
    raw: Any = manifest
    for part in item.pointer.split("/")[1:]:
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
        "probes": sorted(key.removesuffix("Probe") for key in raw if key.endswith("Probe") and raw[key]),
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
    return {
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


def _moved(work: Workload, old: str, new: str) -> Workload:
    """The same workload with its pointers under another root."""
    from dataclasses import replace

    def move(pointer: str) -> str:
        return new + pointer.removeprefix(old) if pointer.startswith(old) else pointer

    return replace(
        work,
        pod_pointer=move(work.pod_pointer),
        containers=tuple(replace(item, pointer=move(item.pointer)) for item in work.containers),
        artifacts=tuple(replace(item, pointer=move(item.pointer)) for item in work.artifacts),
    )
