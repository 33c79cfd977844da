"""What Flux's Kustomizations and HelmReleases have rendered out of a tree."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.control.flux import cluster_of, release_of
from customhouse.control.flux_ignoring import ASIDE, whole
from customhouse.control.flux_substitute import NAME
from customhouse.control.folders import files_below
from customhouse.control.outside import Both, Mount, Outside
from customhouse.control.outside_names import of_release, of_repository, source_object
from customhouse.control.rendering import CHART, Sight
from customhouse.control.rendering_kustomize import kustomization_in
from customhouse.control.rendering_owned import (
    Owned,
    documents,
    joined,
    lies_in,
    listed,
    local,
    mapping,
    of_tree,
    refused,
    text,
)
from customhouse.core.resource import Declaration

_SUFFIXES = (".yaml", ".yml")


def kustomization_roots(
    item: Declaration,
    spec: Mapping[str, Any],
    files: Mapping[str, bytes],
    everything: tuple[Declaration, ...],
    sight: Sight,
    outside: Outside,
) -> Iterator[Owned]:
    """The root of one Kustomization. Raises DeclarationError, at the field, for what is said and not followed."""
    path = of_tree(spec.get("path") or "./")
    source = spec.get("sourceRef")
    if path is not None and isinstance(source, Mapping) and source.get("kind") == "ExternalArtifact":
        path = _copied_from(path, str(source.get("name")), _beside(item, everything))
    mount, reason = _artifact(item, mapping(source), everything, outside)
    if mount is not None:
        path, files = None if path is None else joined(mount.folder, path or "."), mount.files
    if path is None or not files_below(files, path):
        named = f"{spec.get('path') or './'} ({reason})" if reason else str(spec.get("path") or "./")
        if reason or mount is not None:
            sight.miss(item, "/spec/path", named)
        else:
            sight.elsewhere[item.locate("/spec/path"), named] = None
        return  # of another repository
    if mount is None:
        whole(item, source_object(item, mapping(source), everything), path, files, chart=False)
    overrides: dict[str, Any] = {
        name: spec[name] for name in ("namePrefix", "nameSuffix", "patches", "images") if spec.get(name)
    }
    _nothing_older(item, spec)
    namespace = text(spec.get("targetNamespace"))
    if namespace:
        overrides["namespace"] = namespace
    common = mapping(spec.get("commonMetadata"))
    overrides |= {"labels": [{"pairs": common["labels"]}]} if common.get("labels") else {}
    overrides |= {"commonAnnotations": common["annotations"]} if common.get("annotations") else {}
    components = tuple(_components(item, spec, path, files))
    variables = _variables(item, mapping(spec.get("postBuild")), _beside(item, everything), sight)
    cluster = cluster_of(spec)
    if kustomization_in(path, files) is not None:
        yield Owned(
            item, "kustomize", path, namespace, overrides=overrides, components=components, substitute=variables,
            cluster=cluster, mount=mount,
        )  # fmt: skip
        return
    resources = sorted(_resources(path, files))
    if overrides or components or variables is not None or mount is not None:
        # Flux writes a kustomization of all manifests below the folder where there is none; so does this.
        yield Owned(
            item, "kustomize", path, namespace, overrides=overrides, components=components,
            synthetic={"resources": resources}, substitute=variables, cluster=cluster, mount=mount,
        )  # fmt: skip
        return
    folders = {joined(path, name) for name in resources if joined(path, name) not in files}
    for folder in sorted(folders):
        yield Owned(item, "kustomize", "" if folder == "." else folder, cluster=cluster)
    plain = tuple(joined(path, name) for name in resources if joined(path, name) in files)
    if plain:
        yield Owned(item, "plain", path, files=plain, cluster=cluster)


def _nothing_older(item: Declaration, spec: Mapping[str, Any]) -> None:
    for older in ("patchesStrategicMerge", "patchesJson6902"):
        if spec.get(older):
            raise refused(item, f"/spec/{older}", f"{older} is not followed here", "write it as `patches`")


def _artifact(
    item: Declaration, source: Mapping[str, Any], everything: tuple[Declaration, ...], outside: Outside
) -> tuple[Mount | None, str]:
    """The artifact of the OCIRepository that a Kustomization names, or why it is not here."""
    named = source_object(item, source, everything) if source.get("kind") == "OCIRepository" else None
    if named is None:
        return None, ""
    found = outside.mount(item, "/spec/sourceRef", of_repository(named))
    return (None, found) if isinstance(found, str) else (found, "")


def _beside(item: Declaration, everything: tuple[Declaration, ...]) -> tuple[Declaration, ...]:
    """What lies in the same cluster as an object, as far as that is known."""
    return tuple(other for other in everything if other.scene in (item.scene, ""))


def _components(item: Declaration, spec: Mapping[str, Any], path: str, files: Mapping[str, bytes]) -> Iterator[str]:
    for index, one in enumerate(listed(spec.get("components"))):
        found = local(joined(path, str(one)))
        if found is not None and kustomization_in(found, files) is not None:
            yield found
        elif spec.get("ignoreMissingComponents") is not True:
            raise refused(item, f"/spec/components/{index}", f"{str(one)[:200]!r} holds no kustomization of this tree")


def _variables(
    item: Declaration, given: Mapping[str, Any], everything: tuple[Declaration, ...], sight: Sight
) -> Mapping[str, str] | None:
    """The variables of `postBuild`, later sources before earlier ones, `substitute` before all; None without any."""
    if not given.get("substitute") and not given.get("substituteFrom"):
        return None
    found: dict[str, str] = {}
    for index, one in enumerate(map(mapping, listed(given.get("substituteFrom")))):
        pointer = f"/spec/postBuild/substituteFrom/{index}"
        wanted = (one.get("kind"), item.ref.namespace, one.get("name"))
        other = next((o for o in everything if (o.ref.kind, o.ref.namespace, o.ref.name) == wanted), None)
        if other is None or other.manifest.get("sops"):
            if one.get("optional") is True and other is None:
                said = f"what the {one.get('kind')} {one.get('name')} says, where the cluster has it"
                sight.elsewhere[item.locate(pointer), said] = None
                continue
            raise refused(
                item,
                pointer,
                f"what the cluster's {one.get('kind')} {one.get('name')} says is not in this tree"
                if other is None
                else f"{other.ref} is encrypted, and what is judged must be readable",
                "keep what is no secret in a ConfigMap of this tree, or in `substitute`",
            )
        data = {**mapping(other.manifest.get("data")), **mapping(other.manifest.get("stringData"))}
        if other.ref.kind == "Secret" and other.manifest.get("data"):
            raise refused(item, pointer, f"{other.ref} holds plain secrets in Git", "take them out of Git")
        found |= {str(name): str(value) for name, value in data.items()}
    found |= {str(name): str(value) for name, value in mapping(given.get("substitute")).items()}
    for name in found:
        if NAME.fullmatch(name) is None:
            raise refused(item, "/spec/postBuild", f"{name[:80]!r} is no name of a variable", "letters, digits and _")
    # Flux takes line ends out of values: a value is one line.
    return {name: value.replace("\n", "") for name, value in found.items()}


def _copied_from(path: str, artifact: str, everything: tuple[Declaration, ...]) -> str | None:
    """Where a folder of an artifact lies in the tree, as a Flux ArtifactGenerator (`@source/folder/**`) copies it."""
    for item in everything:
        spec = mapping(item.manifest.get("spec")) if item.ref.kind == "ArtifactGenerator" else {}
        for one in map(mapping, listed(spec.get("artifacts"))):
            if one.get("name") != artifact:
                continue
            for copy in map(mapping, listed(one.get("copy"))):
                source, to = (str(copy.get(key, "")) for key in ("from", "to"))
                below = local(to.removeprefix("@artifact/") or ".")
                if source.startswith("@") and source.endswith("/**") and below is not None and lies_in(path, below):
                    inner = path[len(below) :].lstrip("/")
                    return local(joined(source[1:-3].partition("/")[2], inner or "."))
    return None


def _resources(folder: str, files: Mapping[str, bytes]) -> Iterator[str]:
    prefix = f"{folder}/" if folder else ""
    below = {name[len(prefix) :] for name in files_below(files, folder)}
    inner = {
        posixpath.dirname(name) for name in below if kustomization_in(joined(folder, posixpath.dirname(name)), files)
    }
    yield from (one for one in inner if not any(one != other and lies_in(one, other) for other in inner))
    for name in below:
        left = not ASIDE.isdisjoint(name.split("/")) or any(lies_in(name, one) for one in inner)
        if name.endswith(_SUFFIXES) and not left:
            yield name


def release_roots(
    item: Declaration,
    spec: Mapping[str, Any],
    files: Mapping[str, bytes],
    everything: tuple[Declaration, ...],
    sight: Sight,
    outside: Outside,
) -> Iterator[Owned]:
    """The chart of one HelmRelease. Raises DeclarationError, at the field, for what is said and not followed."""
    chart, made = mapping(spec.get("chart")), None
    if mapping(spec.get("chartRef")).get("kind") == "HelmChart":
        made = source_object(item, mapping(spec.get("chartRef")), everything)
    inner = mapping(chart.get("spec")) if made is None else mapping(made.manifest.get("spec"))
    source = mapping(inner.get("sourceRef"))
    path: str | None
    mount: Mount | None = None
    asked, pointer = of_release(item, everything), "/spec/chart" if chart else "/spec/chartRef"
    if asked is not None:
        found = outside.mount(item, pointer, asked)
        if isinstance(found, str):
            named = inner.get("chart") or mapping(spec.get("chartRef")).get("name")
            sight.miss(item, pointer, f"the chart {named} ({found})")
            return
        mount, path = found, found.folder
        if joined(path, CHART) not in mount.files:
            raise refused(item, pointer, f"{asked} is no chart")
        files = Both(files, mount.files)
    elif not source or source.get("kind") in ("HelmRepository", "OCIRepository"):
        named = inner.get("chart") or mapping(spec.get("chartRef")).get("name")
        sight.miss(item, pointer, f"the chart {named}")
        return
    else:
        path = of_tree(inner.get("chart"))
        if path is None or joined(path, CHART) not in files:
            sight.elsewhere[item.locate("/spec/chart/spec/chart"), f"the chart {inner.get('chart')}"] = None
            return  # of another repository
        whole(item, source_object(item, source, everything), path, files, chart=True)
    if spec.get("postRenderers"):
        raise refused(
            item, "/spec/postRenderers", "post-renderers are not followed here", "put the patch into the chart"
        )
    values = _values_files(item, inner, files, mount)
    inline = [*_values_from(item, spec, _beside(item, everything), sight)]
    if isinstance(spec.get("values"), Mapping):
        inline.append(spec["values"])
    namespace = text(spec.get("targetNamespace")) or item.ref.namespace
    # What `valuesFiles` names takes the place of the chart's own values.yaml (source.toolkit.fluxcd.io/v1 HelmChart).
    defaults = not listed(inner.get("valuesFiles"))
    yield Owned(
        item, "helm", path, namespace, release_of(item, spec), values, tuple(inline),
        crds=mapping(spec.get("install")).get("crds") != "Skip", defaults=defaults, cluster=cluster_of(spec),
        mount=mount,
    )  # fmt: skip


def _values_files(
    item: Declaration, chart: Mapping[str, Any], files: Mapping[str, bytes], mount: Mount | None
) -> tuple[str, ...]:
    """Of the tree, or of what was fetched: then they are named from the chart's own folder, and lie in it."""
    values = []
    for index, name in enumerate(listed(chart.get("valuesFiles"))):
        found = local(name) if mount is None else local(joined(mount.folder, str(name)))
        if found is None or found not in files or (mount is not None and found not in mount.files):
            if chart.get("ignoreMissingValuesFiles") is True and found is not None:
                continue
            raise refused(
                item,
                f"/spec/chart/spec/valuesFiles/{index}",
                f"the values file {str(name)[:200]!r} is not in this tree",
            )
        values.append(found)
    return tuple(values)


def _values_from(
    item: Declaration, spec: Mapping[str, Any], everything: tuple[Declaration, ...], sight: Sight
) -> Iterator[Mapping[str, Any]]:
    for index, entry in enumerate(map(mapping, listed(spec.get("valuesFrom")))):
        pointer = f"/spec/valuesFrom/{index}"
        data: Any = None
        for other in everything:
            wanted = ("ConfigMap", item.ref.namespace, entry.get("name"))
            if (other.ref.kind, other.ref.namespace, other.ref.name) == wanted and entry.get("kind") == "ConfigMap":
                data = other.manifest.get("data")
        value = data.get(entry.get("valuesKey", "values.yaml")) if isinstance(data, Mapping) else None
        if isinstance(value, str) and not entry.get("targetPath"):
            yield from documents(item, pointer, value)
        elif entry.get("optional"):
            said = f"the values of the {entry.get('kind')} {entry.get('name')}, where the cluster has it"
            sight.elsewhere[item.locate(pointer), said] = None
        else:
            raise refused(
                item,
                pointer,
                "these values are not in this tree",
                "keep them in a ConfigMap of this tree, or in `values`",
            )
