"""Argo CD's Application as a value (argoproj.io/v1alpha1), with the defaults that its own documents name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from customhouse.control.outside import mount_folder
from customhouse.control.outside_names import of_argo
from customhouse.control.rendering_owned import listed, local, mapping, text
from customhouse.core.application import (
    Application,
    ApplicationSource,
    Destination,
    Engine,
    IgnoreRule,
    SyncPolicy,
)
from customhouse.core.resource import Declaration

GROUP = "argoproj.io"
OWN_CLUSTERS = ("", "in-cluster", "https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local")
_FINALIZERS = tuple(
    f"resources-finalizer.argocd.argoproj.io{propagation}" for propagation in ("", "/foreground", "/background")
)
_SCP = re.compile(r"(?:[^@/]+@)?(?P<host>[^:/@]+):(?!//)(?P<path>.+)")
_URL = re.compile(r"[a-z+]+://(?:[^@/]*@)?(?P<host>[^/:]+)(?::\d+)?/(?P<path>.+)", re.IGNORECASE)


def argo_application(item: Declaration, remotes: Sequence[str] = ()) -> Application:
    """What an Application says. `remotes` are the addresses of the repository that it was read from (none: unknown).

    A source is `here` when it names one of them; without remotes when its path is one of a repository at all.
    """
    spec = mapping(item.manifest.get("spec"))
    sources = tuple(_source(one, remotes) for _, one in sources_of(spec))
    problem = "" if sources else "it names no source"
    if mapping(spec.get("sourceHydrator")):
        problem = "sourceHydrator: what it writes to another branch is not followed here"
    finalizers = listed(mapping(item.manifest.get("metadata")).get("finalizers"))
    helm = next((mapping(one.get("helm")) for _, one in sources_of(spec) if one.get("helm")), {})
    return Application(
        item.ref,
        item.location,
        Engine.ARGOCD,
        sources,
        _destination(spec),
        _policy(spec),
        tuple(_ignored(spec)),
        finalizes=any(name in _FINALIZERS for name in finalizers),
        release=text(helm.get("releaseName")),
        problem=problem,
    )


def sources_of(spec: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The sources with their pointers; Argo CD does not look at `source` where `sources` has any."""
    several = [(f"/spec/sources/{number}", mapping(one)) for number, one in enumerate(listed(spec.get("sources")))]
    single = spec.get("source")
    return several or ([("/spec/source", single)] if isinstance(single, Mapping) else [])


def cluster_of(spec: Mapping[str, Any]) -> str:
    """The cluster that an Application's objects go to; empty for the one that it lies in itself."""
    destination = mapping(spec.get("destination"))
    named = text(destination.get("name")) or text(destination.get("server")).rstrip("/")
    return "" if named in OWN_CLUSTERS else named


def same_repository(one: str, other: str) -> bool:
    """Whether two addresses name one repository: the user, the protocol, `.git` and the host's case do not count."""
    return repository_place(one) == repository_place(other) != ""


def repository_place(address: str) -> str:
    """`host/path` of an address, without what differs between two addresses of one repository, and without a login."""
    address = address.strip().rstrip("/")
    match = _URL.fullmatch(address) or _SCP.fullmatch(address)
    if match is None:
        return address.removeprefix("file://").removesuffix(".git")
    return f"{match['host'].lower()}/{match['path'].strip('/').removesuffix('.git')}"


def _source(source: Mapping[str, Any], remotes: Sequence[str]) -> ApplicationSource:
    path, url = local(source.get("path")), text(source.get("repoURL"))
    ours = not remotes or any(same_repository(url, remote) for remote in remotes)
    asked = of_argo(source)
    return ApplicationSource(
        url,
        text(source.get("path")) if path is None else path,
        text(source.get("targetRevision")),
        text(source.get("chart")),
        path is not None and asked is None and ours,
        "" if asked is None else mount_folder(asked),
    )


def _destination(spec: Mapping[str, Any]) -> Destination:
    return Destination(cluster_of(spec), text(mapping(spec.get("destination")).get("namespace")))


def _policy(spec: Mapping[str, Any]) -> SyncPolicy:
    policy = mapping(spec.get("syncPolicy"))
    automated = policy.get("automated")
    given = mapping(automated)
    options = {name: value for name, _, value in (str(one).partition("=") for one in listed(policy.get("syncOptions")))}
    metadata = mapping(policy.get("managedNamespaceMetadata"))
    return SyncPolicy(
        # `automated: {}` is on; since 3.1 it can also be written and be off.
        automated=isinstance(automated, Mapping) and given.get("enabled", True) is not False,
        prune=given.get("prune") is True,
        self_heal=given.get("selfHeal") is True,
        allow_empty=given.get("allowEmpty") is True,
        create_namespace=options.get("CreateNamespace") == "true",
        namespace_labels={str(key): str(value) for key, value in mapping(metadata.get("labels")).items()},
        namespace_annotations={str(key): str(value) for key, value in mapping(metadata.get("annotations")).items()},
        server_side=options.get("ServerSideApply") == "true",
        only_out_of_sync=options.get("ApplyOutOfSyncOnly") == "true",
        prune_last=options.get("PruneLast") == "true",
        respect_ignored=options.get("RespectIgnoreDifferences") == "true",
        fail_on_shared=options.get("FailOnSharedResource") == "true",
        replace=options.get("Replace") == "true",
        force=options.get("Force") == "true",
    )


def _ignored(spec: Mapping[str, Any]) -> Iterator[IgnoreRule]:
    for rule in listed(spec.get("ignoreDifferences")):
        given = mapping(rule)
        yield IgnoreRule(
            text(given.get("group")),
            text(given.get("kind")),
            text(given.get("namespace")),
            text(given.get("name")),
            tuple(str(one) for one in listed(given.get("jsonPointers"))),
            tuple(str(one) for one in listed(given.get("jqPathExpressions"))),
            tuple(str(one) for one in listed(given.get("managedFieldsManagers"))),
        )
