"""Flux's Kustomization and HelmRelease as values, with the sources that they name.

Fields and defaults: kustomize.toolkit.fluxcd.io/v1, helm.toolkit.fluxcd.io/v2, source.toolkit.fluxcd.io/v1
(fluxcd.io/flux/components).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from customhouse.control.argocd import same_repository
from customhouse.control.outside import mount_folder
from customhouse.control.outside_names import of_release, of_repository, source_object
from customhouse.control.rendering_owned import listed, local, mapping, text
from customhouse.core.application import (
    Application,
    ApplicationSource,
    Destination,
    Engine,
    IgnoreRule,
    SyncPolicy,
)
from customhouse.core.resource import Declaration, ResourceRef

KUSTOMIZE, HELM = "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def flux_kustomization(
    item: Declaration, everything: Iterable[Declaration], remotes: Sequence[str] = ()
) -> Application:
    """What a Kustomization says. `everything` holds the sources that it may name."""
    spec = mapping(item.manifest.get("spec"))
    decryption = mapping(spec.get("decryption"))
    provider = text(decryption.get("provider"))
    named = source_object(item, mapping(spec.get("sourceRef")), everything)
    path = local(spec.get("path") or "./")
    namespace = text(spec.get("targetNamespace"))
    source = _source(named, str(spec.get("path") or "./") if path is None else path, path is not None, remotes)
    if named is not None and named.ref.kind == "OCIRepository" and path is not None:
        source = replace(source, fetched=mount_folder(of_repository(named)))
    return Application(
        item.ref,
        item.location,
        Engine.FLUX,
        (source,),
        Destination(cluster_of(spec), namespace, override=bool(namespace)),
        SyncPolicy(
            prune=spec.get("prune") is True,
            self_heal=True,  # each interval applies everything again
            server_side=True,
            force=spec.get("force") is True,
            wait=spec.get("wait") is True,
            interval_s=_seconds(spec.get("interval")),
            timeout_s=_seconds(spec.get("timeout") or spec.get("interval")),
        ),
        depends_on=tuple(_depends_on(item, spec)),
        health_checks=() if spec.get("wait") is True else tuple(_checks(item, spec)),
        suspended=spec.get("suspend") is True or _suspended(named),
        finalizes=spec.get("deletionPolicy", "MirrorPrune") in ("Delete", "WaitForTermination")
        or (spec.get("deletionPolicy", "MirrorPrune") == "MirrorPrune" and spec.get("prune") is True),
        decryption=provider,
        decryption_secret=text(mapping(decryption.get("secretRef")).get("name")),
        problem="" if provider in ("", "sops") else f"decryption by {provider[:40]!r} is not known here",
    )


def helm_release(item: Declaration, everything: Iterable[Declaration], remotes: Sequence[str] = ()) -> Application:
    """What a HelmRelease says."""
    spec = mapping(item.manifest.get("spec"))
    everything = tuple(everything)
    chart = mapping(mapping(spec.get("chart")).get("spec"))
    reference = mapping(spec.get("chartRef"))
    if reference.get("kind") == "HelmChart":
        made = source_object(item, reference, everything)
        chart = {} if made is None else mapping(made.manifest.get("spec"))
    if reference.get("kind") != "OCIRepository":
        reference = mapping(chart.get("sourceRef")) or reference
    named = source_object(item, reference, everything)
    inside = text(reference.get("kind")) in ("GitRepository", "Bucket", "ExternalArtifact")
    path = local(chart.get("chart")) if inside else None
    source = _source(named, path or "", path is not None, remotes)
    if path is None:
        version = text(chart.get("version")) or source.revision
        asked = of_release(item, everything)
        below = "" if asked is None else mount_folder(asked)
        name = text(chart.get("chart")) or text(reference.get("name"))
        source = ApplicationSource(source.url, "", version, name, fetched=below)
    namespace = text(spec.get("targetNamespace"))
    detection = mapping(spec.get("driftDetection"))
    return Application(
        item.ref,
        item.location,
        Engine.FLUX,
        (source,),
        Destination(cluster_of(spec), namespace or item.ref.namespace),
        SyncPolicy(
            prune=True,  # an upgrade takes away what a chart has no more
            self_heal=detection.get("mode") == "enabled",
            wait=mapping(spec.get("install")).get("disableWait") is not True,
            force=mapping(spec.get("upgrade")).get("force") is True,
            create_namespace=mapping(spec.get("install")).get("createNamespace") is True,
            interval_s=_seconds(spec.get("interval")),
            timeout_s=_seconds(spec.get("timeout") or "5m"),
        ),
        tuple(_ignored(detection)),
        depends_on=tuple(_depends_on(item, spec)),
        suspended=spec.get("suspend") is True or _suspended(named),
        finalizes=True,
        release=release_of(item, spec),
    )


def release_of(item: Declaration, spec: Mapping[str, Any]) -> str:
    """Helm's name of the release: as said, else the target namespace and the object's own name."""
    namespace = text(spec.get("targetNamespace"))
    return text(spec.get("releaseName")) or (f"{namespace}-{item.ref.name}" if namespace else item.ref.name)


def cluster_of(spec: Mapping[str, Any]) -> str:
    """The cluster of `kubeConfig`, by the name of what holds its address; empty for the object's own."""
    config = mapping(spec.get("kubeConfig"))
    for key in ("secretRef", "configMapRef"):
        name = text(mapping(config.get(key)).get("name"))
        if name:
            return name
    return ""


def _source(named: Declaration | None, path: str, inside: bool, remotes: Sequence[str]) -> ApplicationSource:
    spec = mapping(named.manifest.get("spec")) if named is not None else {}
    url, ref = text(spec.get("url")), mapping(spec.get("ref"))
    keys = ("commit", "digest", "name", "semver", "tag", "branch")
    revision = next((str(ref[key]) for key in keys if ref.get(key)), "")
    # A source that is not declared here is taken for the repository that was read: bootstrap writes it elsewhere.
    git = named is None or named.ref.kind in ("GitRepository", "ExternalArtifact", "ArtifactGenerator")
    ours = not remotes or not url or any(same_repository(url, remote) for remote in remotes)
    return ApplicationSource(url, path, revision, "", inside and git and ours)


def _suspended(named: Declaration | None) -> bool:
    return named is not None and mapping(named.manifest.get("spec")).get("suspend") is True


def _depends_on(item: Declaration, spec: Mapping[str, Any]) -> Iterator[ResourceRef]:
    for one in listed(spec.get("dependsOn")):
        given = mapping(one)
        namespace = text(given.get("namespace")) or item.ref.namespace
        yield ResourceRef(item.ref.api_version, item.ref.kind, namespace, text(given.get("name")), item.ref.scene)


def _checks(item: Declaration, spec: Mapping[str, Any]) -> Iterator[ResourceRef]:
    for one in listed(spec.get("healthChecks")):
        given = mapping(one)
        yield ResourceRef(
            text(given.get("apiVersion")) or "apps/v1",
            text(given.get("kind")),
            text(given.get("namespace")),
            text(given.get("name")),
            item.ref.scene,
        )


def _ignored(detection: Mapping[str, Any]) -> Iterator[IgnoreRule]:
    for one in listed(detection.get("ignore")):
        given = mapping(one)
        target = mapping(given.get("target"))
        yield IgnoreRule(
            text(target.get("group")),
            text(target.get("kind")),
            text(target.get("namespace")),
            text(target.get("name")),
            tuple(str(path) for path in listed(given.get("paths"))),
        )


def _seconds(value: Any) -> int:
    """A Go duration of whole hours, minutes and seconds (`1h`, `2m30s`); 0 for another."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if match is None:
        return 0
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
