"""What objects of Argo CD and Flux name in registries and chart repositories.

Fields: argoproj.io/v1alpha1 Application; source.toolkit.fluxcd.io/v1 HelmRepository, HelmChart and OCIRepository.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse.control.outside import Asked
from customhouse.control.rendering_owned import mapping, text
from customhouse.control.version_ranges import fits
from customhouse.core.resource import Declaration

SOURCES = frozenset({"HelmRepository", "HelmChart", "OCIRepository", "GitRepository"})
"""Kinds that an object may name as where its chart or folder comes from."""
_OCI = "oci://"


def of_argo(source: Mapping[str, Any]) -> Asked | None:
    """What a source of an Application names; None for one that is a Git repository."""
    address, chart = text(source.get("repoURL")).rstrip("/"), text(source.get("chart"))
    revision = text(source.get("targetRevision")) or "*"
    if address.startswith(_OCI):
        # Since Argo CD 3.1: the whole address in `repoURL`, and a `path` in what lies there.
        problem = "`chart` beside an oci:// address is not known here: write the whole address" if chart else ""
        return _by(Asked(address, problem=problem), revision)
    if not chart:
        return None
    if address.startswith(("https://", "http://")):
        return Asked(address, chart, version=revision, problem=_no_range(revision))
    return _by(Asked(f"{_OCI}{address}/{chart}"), revision)


def of_release(item: Declaration, everything: Iterable[Declaration]) -> Asked | None:
    """What a HelmRelease has rendered, where that is no folder of a repository; None else, also for what is unknown."""
    known = tuple(everything)
    spec = mapping(item.manifest.get("spec"))
    reference = mapping(spec.get("chartRef"))
    chart = mapping(mapping(spec.get("chart")).get("spec"))
    if reference.get("kind") == "HelmChart":
        made = source_object(item, reference, known)
        chart = mapping(made.manifest.get("spec")) if made is not None else {}
        item = made or item
    elif reference.get("kind") == "OCIRepository":
        made = source_object(item, reference, known)
        return None if made is None else of_repository(made)
    named = source_object(item, mapping(chart.get("sourceRef")), known)
    if named is None or named.ref.kind != "HelmRepository":
        return None
    repository = mapping(named.manifest.get("spec"))
    address, name = text(repository.get("url")).rstrip("/"), text(chart.get("chart")).strip("/")
    version = text(chart.get("version")) or "*"
    problem = "its signature (`verify`) is not verified here" if chart.get("verify") else _no_range(version)
    if address.startswith(_OCI):
        return Asked(f"{address}/{name}", version=version, problem=problem)
    return Asked(address, name, version=version, problem=problem)


def of_repository(named: Declaration) -> Asked:
    """What an OCIRepository names: a digest before a range before a tag, as Flux has it."""
    spec = mapping(named.manifest.get("spec"))
    ref, selected = mapping(spec.get("ref")), mapping(spec.get("layerSelector"))
    problem = ""
    for value, words in (
        (spec.get("verify"), "its signature (`verify`) is not verified here"),
        (spec.get("ignore"), "`ignore` is not followed here"),
        (ref.get("semverFilter"), "`semverFilter` is not followed here"),
    ):
        problem = words if value and not problem else problem
    found = Asked(text(spec.get("url")).rstrip("/"), layer=text(selected.get("mediaType")), problem=problem)
    if ref.get("digest") or ref.get("semver"):
        return _by(found, text(ref.get("digest")) or text(ref.get("semver")))
    return _with(found, tag=text(ref.get("tag")) or "latest")


def source_object(
    item: Declaration, reference: Mapping[str, Any], everything: Iterable[Declaration]
) -> Declaration | None:
    """The object that a reference names, in the cluster of the one that names it."""
    wanted = (text(reference.get("kind")), text(reference.get("namespace")) or item.ref.namespace)
    for other in everything:
        same = (other.ref.kind, other.ref.namespace) == wanted and other.ref.name == reference.get("name")
        if same and other.scene in (item.scene, ""):
            return other
    return None


def _by(found: Asked, revision: str) -> Asked:
    """By a digest, a range of versions, else a tag."""
    if revision.startswith("sha256:"):
        wrong = "" if is_digest(revision) else f"{revision[:100]!r} is no digest"
        return _with(found, digest=revision, problem=wrong)
    return _with(found, tag=revision) if _no_range(revision) else _with(found, version=revision)


def _with(found: Asked, *, version: str = "", tag: str = "", digest: str = "", problem: str = "") -> Asked:
    return Asked(found.source, found.chart, version, tag, digest, found.layer, found.problem or problem)


def _no_range(version: str) -> str:
    try:
        fits(version, "0.0.0")
    except ValueError as error:
        return str(error)
    return ""
