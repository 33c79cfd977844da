"""Who renders what: Argo CD Applications and Flux objects that name a folder of the same tree.

They say which overlay or chart runs, with which values and what is put on top of it. What they say and is not followed
here is refused: a picture that leaves out a patch is a wrong picture. Fields: argoproj.io/v1alpha1 Application,
kustomize.toolkit.fluxcd.io/v1 Kustomization, helm.toolkit.fluxcd.io/v2 HelmRelease.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse.control import yaml_nodes
from customhouse.control.rendering import CHART, Sight
from customhouse.control.rendering_kustomize import kustomization_in
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Owned:
    """One folder that an object has rendered. `overrides` are fields of an outer kustomization."""

    owner: Declaration
    tool: str
    path: str
    namespace: str = ""
    release: str = ""
    values: tuple[str, ...] = ()
    inline: tuple[Mapping[str, Any], ...] = ()
    parameters: tuple[tuple[str, str, bool], ...] = ()
    crds: bool = True
    overrides: Mapping[str, Any] = field(default_factory=dict)
    components: tuple[str, ...] = ()
    synthetic: Mapping[str, Any] | None = None


def owned(
    declarations: Iterable[Declaration], files: Mapping[str, bytes], sight: Sight | None = None
) -> Iterator[Owned]:
    """What the Applications, Kustomizations and HelmReleases among `declarations` have rendered out of `files`.

    What they name and `files` do not hold is noted in `sight`: it is of another repository, and is not judged.

    Raises DeclarationError, at the field, for one that names a local folder and says something that is not followed.
    """
    everything = tuple(declarations)
    sight = sight or Sight()
    for item in everything:
        group = item.ref.api_version.rpartition("/")[0]
        spec = item.manifest.get("spec")
        if not isinstance(spec, Mapping):
            continue
        if (group, item.ref.kind) == ("argoproj.io", "Application"):
            yield from _application(item, spec, files, sight)
        elif (group, item.ref.kind) == ("argoproj.io", "ApplicationSet"):
            sight.elsewhere[item.locate("/spec"), "what the Applications of an ApplicationSet render"] = None
        elif (group, item.ref.kind) == ("kustomize.toolkit.fluxcd.io", "Kustomization"):
            yield from _flux_kustomization(item, spec, files, everything, sight)
        elif (group, item.ref.kind) == ("helm.toolkit.fluxcd.io", "HelmRelease"):
            yield from _helm_release(item, spec, files, everything, sight)


def _application(
    item: Declaration, spec: Mapping[str, Any], files: Mapping[str, bytes], sight: Sight
) -> Iterator[Owned]:
    single = spec.get("source")
    sources = spec.get("sources")
    given = [("/spec/source", single)] if isinstance(single, Mapping) else []
    given += [(f"/spec/sources/{index}", one) for index, one in enumerate(sources if isinstance(sources, list) else ())]
    destination = spec.get("destination")
    namespace = _text(destination.get("namespace")) if isinstance(destination, Mapping) else ""
    for pointer, source in given:
        path = _local(source.get("path")) if isinstance(source, Mapping) else None
        if path is None:
            if isinstance(source, Mapping) and source.get("chart"):
                sight.elsewhere[item.locate(f"{pointer}/chart"), f"the chart {source['chart']}"] = None
            continue
        if source.get("plugin") is not None:
            raise _refused(item, f"{pointer}/plugin", "a plugin renders this, and no plugin is run here")
        if _join(path, CHART) in files:
            yield _argo_chart(item, pointer, source, path, namespace, files)
        elif kustomization_in(path, files) is not None:
            overrides = _argo_overrides(item, f"{pointer}/kustomize", source.get("kustomize"))
            yield Owned(item, "kustomize", path, namespace, overrides=overrides)
        elif source.get("helm") or source.get("kustomize"):
            raise _refused(item, f"{pointer}/path", f"{path or '.'} holds neither a chart nor a kustomization")
        elif not any(_within(name, path) for name in files):
            sight.elsewhere[item.locate(f"{pointer}/path"), path] = None


def _argo_chart(
    item: Declaration, pointer: str, source: Mapping[str, Any], path: str, namespace: str, files: Mapping[str, bytes]
) -> Owned:
    helm = source.get("helm")
    helm = helm if isinstance(helm, Mapping) else {}
    known = {"releaseName", "valueFiles", "values", "valuesObject", "parameters", "skipCrds", "namespace"}
    known |= {"ignoreMissingValueFiles", "version", "passCredentials", "skipTests"}
    _only(item, f"{pointer}/helm", helm, known)
    values = []
    for index, name in enumerate(helm.get("valueFiles") or ()):
        found = _value_file(str(name), path)
        if found is None or found not in files:
            if helm.get("ignoreMissingValueFiles") and found is not None:
                continue
            raise _refused(
                item, f"{pointer}/helm/valueFiles/{index}", f"the values file {str(name)[:200]!r} is not in this tree"
            )
        values.append(found)
    inline = [helm["valuesObject"]] if isinstance(helm.get("valuesObject"), Mapping) else []
    if not inline and isinstance(helm.get("values"), str):
        inline = list(_documents(item, f"{pointer}/helm/values", helm["values"]))
    parameters = tuple(
        (str(one.get("name")), str(one.get("value", "")), bool(one.get("forceString")))
        for one in helm.get("parameters") or ()
        if isinstance(one, Mapping)
    )
    return Owned(
        item,
        "helm",
        path,
        _text(helm.get("namespace")) or namespace,
        _text(helm.get("releaseName")) or item.ref.name,
        tuple(values),
        tuple(inline),
        parameters,
        not helm.get("skipCrds"),
    )


def _value_file(name: str, chart: str) -> str | None:
    if "://" in name:
        return None
    if name.startswith("$"):  # `$ref/path`: a file of another source; of this repository, when it is here
        return _local(name.partition("/")[2])
    return _local(name[1:]) if name.startswith("/") else _local(_join(chart, name))


def _argo_overrides(item: Declaration, pointer: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    plain = ("namePrefix", "nameSuffix", "namespace", "commonAnnotations", "patches", "replicas")
    _only(
        item,
        pointer,
        given,
        {*plain, "images", "commonLabels", "version", "forceCommonLabels", "forceCommonAnnotations"},
    )
    overrides: dict[str, Any] = {name: given[name] for name in plain if given.get(name)}
    if given.get("commonLabels"):
        overrides["labels"] = [{"pairs": given["commonLabels"], "includeSelectors": True}]
    if given.get("images"):
        overrides["images"] = [_argo_image(str(text)) for text in given["images"]]
    return overrides


def _argo_image(text: str) -> dict[str, str]:
    """`[old=]new[:tag][@digest]`, as `kustomize edit set image` reads it."""
    old, equal, new = text.partition("=")
    new = new if equal else old
    rest, _, digest = new.partition("@")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    image = {"name": old if equal else name, "newName": name}
    return image | ({"digest": digest} if digest else {}) | ({"newTag": tag} if tag else {})


def _flux_kustomization(
    item: Declaration,
    spec: Mapping[str, Any],
    files: Mapping[str, bytes],
    everything: tuple[Declaration, ...],
    sight: Sight,
) -> Iterator[Owned]:
    path = _local(spec.get("path") or "./")
    source = spec.get("sourceRef")
    if path is not None and isinstance(source, Mapping) and source.get("kind") == "ExternalArtifact":
        path = _copied_from(path, str(source.get("name")), everything)
    if path is None or not any(_within(name, path) for name in files):
        sight.elsewhere[item.locate("/spec/path"), str(spec.get("path") or "./")] = None
        return  # of another repository
    if spec.get("postBuild") is not None:
        raise _refused(
            item,
            "/spec/postBuild",
            "postBuild puts in values that only the cluster has; it is not followed here",
            "use Kustomize's replacements or components",
        )
    overrides: dict[str, Any] = {
        name: spec[name] for name in ("namePrefix", "nameSuffix", "patches", "images") if spec.get(name)
    }
    namespace = _text(spec.get("targetNamespace"))
    if namespace:
        overrides["namespace"] = namespace
    common = spec.get("commonMetadata")
    if isinstance(common, Mapping):
        overrides |= {"labels": [{"pairs": common["labels"]}]} if common.get("labels") else {}
        overrides |= {"commonAnnotations": common["annotations"]} if common.get("annotations") else {}
    components = tuple(
        found for one in spec.get("components") or () if (found := _local(_join(path, str(one)))) is not None
    )
    if kustomization_in(path, files) is not None:
        yield Owned(item, "kustomize", path, namespace, overrides=overrides, components=components)
    elif overrides or components:
        # Flux writes a kustomization of all manifests below the folder where there is none; so does this.
        resources = sorted(_listed(path, files))
        yield Owned(
            item, "kustomize", path, namespace, overrides=overrides, components=components,
            synthetic={"resources": resources},
        )  # fmt: skip


def _copied_from(path: str, artifact: str, everything: tuple[Declaration, ...]) -> str | None:
    """Where a folder of an artifact lies in the tree, as a Flux ArtifactGenerator (`@source/folder/**`) copies it."""
    for item in everything:
        spec = item.manifest.get("spec") if item.ref.kind == "ArtifactGenerator" else None
        artifacts = spec.get("artifacts") if isinstance(spec, Mapping) else None
        for one in artifacts if isinstance(artifacts, list) else ():
            if not isinstance(one, Mapping) or one.get("name") != artifact:
                continue
            for copy in one.get("copy") or ():
                source, to = (
                    (str(copy.get(key, "")) for key in ("from", "to")) if isinstance(copy, Mapping) else ("", "")
                )
                below = _local(to.removeprefix("@artifact/") or ".")
                if source.startswith("@") and source.endswith("/**") and below is not None and _within(path, below):
                    inner = path[len(below) :].lstrip("/")
                    return _local(_join(source[1:-3].partition("/")[2], inner or "."))
    return None


def _listed(folder: str, files: Mapping[str, bytes]) -> Iterator[str]:
    prefix = f"{folder}/" if folder else ""
    below = {name[len(prefix) :] for name in files if _within(name, folder)}
    inner = {
        posixpath.dirname(name) for name in below if kustomization_in(_join(folder, posixpath.dirname(name)), files)
    }
    yield from (one for one in inner if not any(one != other and _within(one, other) for other in inner))
    for name in below:
        hidden = any(part.startswith(".") for part in name.split("/"))
        if name.endswith(_SUFFIXES) and not hidden and not any(_within(name, one) for one in inner):
            yield name


def _helm_release(
    item: Declaration,
    spec: Mapping[str, Any],
    files: Mapping[str, bytes],
    everything: tuple[Declaration, ...],
    sight: Sight,
) -> Iterator[Owned]:
    chart = spec.get("chart")
    inner = chart.get("spec") if isinstance(chart, Mapping) else None
    source = inner.get("sourceRef") if isinstance(inner, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(source, Mapping) or source.get("kind") == "HelmRepository":
        named = inner.get("chart") if isinstance(inner, Mapping) else None
        sight.elsewhere[item.locate("/spec/chart"), f"the chart {named or 'of a chartRef'}"] = None
        return
    path = _local(inner.get("chart"))
    if path is None or _join(path, CHART) not in files:
        sight.elsewhere[item.locate("/spec/chart/spec/chart"), f"the chart {inner.get('chart')}"] = None
        return  # of another repository, or an OCI chart
    if spec.get("postRenderers"):
        raise _refused(
            item, "/spec/postRenderers", "post-renderers are not followed here", "put the patch into the chart"
        )
    values = []
    for index, name in enumerate(inner.get("valuesFiles") or ()):
        found = _local(name)
        if found is None or found not in files:
            raise _refused(
                item,
                f"/spec/chart/spec/valuesFiles/{index}",
                f"the values file {str(name)[:200]!r} is not in this tree",
            )
        values.append(found)
    inline = [*_values_from(item, spec, everything)]
    if isinstance(spec.get("values"), Mapping):
        inline.append(spec["values"])
    namespace = _text(spec.get("targetNamespace"))
    release = _text(spec.get("releaseName")) or (f"{namespace}-{item.ref.name}" if namespace else item.ref.name)
    yield Owned(item, "helm", path, namespace or item.ref.namespace, release, tuple(values), tuple(inline))


def _values_from(
    item: Declaration, spec: Mapping[str, Any], everything: tuple[Declaration, ...]
) -> Iterator[Mapping[str, Any]]:
    for index, entry in enumerate(spec.get("valuesFrom") or ()):
        pointer = f"/spec/valuesFrom/{index}"
        if not isinstance(entry, Mapping):
            continue
        data: Any = None
        for other in everything:
            same = (other.ref.kind, other.ref.namespace, other.ref.name) == (
                "ConfigMap",
                item.ref.namespace,
                entry.get("name"),
            )
            if same and entry.get("kind") == "ConfigMap":
                data = other.manifest.get("data")
        text = data.get(entry.get("valuesKey", "values.yaml")) if isinstance(data, Mapping) else None
        if isinstance(text, str) and not entry.get("targetPath"):
            yield from _documents(item, pointer, text)
        elif not entry.get("optional"):
            raise _refused(
                item,
                pointer,
                "these values are not in this tree",
                "keep them in a ConfigMap of this tree, or in `values`",
            )


def _documents(item: Declaration, pointer: str, text: str) -> Iterator[Mapping[str, Any]]:
    """A text of values, read by our own rules: what is handed to Helm is a value and not a text of a stranger."""
    where = str(item.locate(pointer))
    try:
        for root in yaml_nodes.compose(text, where):
            value = Reader(where).read(root).value
            if isinstance(value, Mapping):
                yield value
    except DeclarationError as error:
        raise _refused(item, pointer, f"these values cannot be read: {error.message}", error.hint) from error


def _only(item: Declaration, pointer: str, given: Mapping[str, Any], known: set[str]) -> None:
    for name, value in given.items():
        if name not in known and value not in (None, "", [], {}, False):
            raise _refused(
                item, f"{pointer}/{name}", f"{name} is not followed here", "say it in a kustomization or in values"
            )


def _refused(item: Declaration, pointer: str, message: str, hint: str = "") -> DeclarationError:
    return DeclarationError(f"{item.ref}: {message}", where=str(item.locate(pointer)), hint=hint)


def _local(path: Any) -> str | None:
    """A path of the tree, normalised; None for one that leads out of it."""
    if not isinstance(path, str) or "://" in path:
        return None
    place = posixpath.normpath(path.lstrip("/") or ".")
    return None if place == ".." or place.startswith("../") else "" if place == "." else place


def _join(folder: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(folder, name))


def _within(name: str, folder: str) -> bool:
    return folder in ("", name) or name.startswith(folder + "/")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
