"""What Argo CD Applications have rendered out of a tree: directories, charts, kustomizations and Jsonnet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse.control.argocd import cluster_of, sources_of
from customhouse.control.argocd_overrides import overridden
from customhouse.control.folders import files_below
from customhouse.control.outside import FETCHED, Mount, Outside
from customhouse.control.outside_names import of_argo
from customhouse.control.rendering import CHART, Sight
from customhouse.control.rendering_jsonnet import imports_anything
from customhouse.control.rendering_kustomize import kustomization_in
from customhouse.control.rendering_owned import (
    Owned,
    documents,
    is_whole,
    joined,
    lies_in,
    listed,
    local,
    mapping,
    of_tree,
    only,
    refused,
    text,
    without_submodules,
)
from customhouse.core.resource import Declaration

_PLAIN = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_./\[\]]*")
_READ = (".yaml", ".yml", ".json")
_SKIPPED = b"+argocd:skip-file-rendering"
"""A comment that keeps a file out of an Application (argo-cd.readthedocs.io, user-guide/directory)."""
_HELM = {"releaseName", "valueFiles", "values", "valuesObject", "parameters", "fileParameters", "skipCrds", "namespace"}
_HELM |= {"ignoreMissingValueFiles", "version", "passCredentials", "skipTests", "skipSchemaValidation"}
_KUSTOMIZE = ("namePrefix", "nameSuffix", "namespace", "commonAnnotations", "patches", "replicas")
_KUSTOMIZE_ALSO = {"images", "commonLabels", "labelWithoutSelector", "labelIncludeTemplates", "components"}
_KUSTOMIZE_ALSO |= {"ignoreMissingComponents", "version", "forceCommonLabels", "forceCommonAnnotations"}


@dataclass(frozen=True, slots=True)
class _Source:
    """One source of an Application: what it says, at which pointer, the folder it names and where its objects go."""

    item: Declaration
    pointer: str
    given: Mapping[str, Any]
    path: str
    namespace: str
    cluster: str
    files: Mapping[str, bytes]
    mount: Mount | None = None
    """What was fetched and holds the folder; `files` are then those."""
    tree: Mapping[str, bytes] | None = None
    """The files of the repository, where `files` are others."""

    def part(self, name: str) -> tuple[Mapping[str, Any], str]:
        """One of its mappings, and the pointer to it."""
        return mapping(self.given.get(name)), f"{self.pointer}/{name}"


def application_roots(
    item: Declaration, spec: Mapping[str, Any], files: Mapping[str, bytes], sight: Sight, outside: Outside
) -> Iterator[Owned]:
    """The roots of one Application. Raises DeclarationError, at the field, for what is said and not followed."""
    for one, references in _placed(item, spec, files, sight, outside):
        path = one.path
        if joined(path, CHART) in one.files:
            yield _chart(one, references)
        elif kustomization_in(path, one.files) is not None:
            yield _kustomization(one)
        elif one.part("helm")[0] or one.part("kustomize")[0]:
            raise refused(item, f"{one.pointer}/path", f"{path or '.'} holds neither a chart nor a kustomization")
        elif not files_below(one.files, path):
            sight.elsewhere[item.locate(f"{one.pointer}/path"), path] = None
        else:
            yield from _directory(one)


def _placed(
    item: Declaration, spec: Mapping[str, Any], files: Mapping[str, bytes], sight: Sight, outside: Outside
) -> Iterator[tuple[_Source, Mapping[str, Mapping[str, Any]]]]:
    """The sources with a folder, each with what `$ref` may name; what is not here is noted."""
    given = sources_of(spec)
    namespace, cluster = text(mapping(spec.get("destination")).get("namespace")), cluster_of(spec)
    references = {text(source.get("ref")): source for _, source in given if source.get("ref")}
    for pointer, source in given:
        _no_plugin(item, pointer, source)
        asked, path = of_argo(source), of_tree(source.get("path"))
        if asked is not None:
            at = f"{pointer}/chart" if source.get("chart") else f"{pointer}/repoURL"
            found = outside.mount(item, at, asked)
            if isinstance(found, str):
                named = f"the chart {source['chart']}" if source.get("chart") else asked.source
                sight.miss(item, at, f"{named} ({found})")
                values = [str(one) for one in listed(mapping(source.get("helm")).get("valueFiles"))]
                said = (_of_reference(one, references) for one in values if one.startswith("$"))
                sight.values |= {name for name in said if name is not None and name in files}
                continue
            place = found.folder if source.get("chart") or path is None else joined(found.folder, path or ".")
            is_whole(item, f"{pointer}/path", place, found.files)
            how = overridden(item, source, place, found.files)
            _no_plugin(item, pointer, how)
            yield _Source(item, pointer, how, place, namespace, cluster, found.files, found, files), references
        elif path is not None:
            is_whole(item, f"{pointer}/path", path, files)
            how = overridden(item, source, path, files)
            _no_plugin(item, pointer, how)
            yield _Source(item, pointer, how, path, namespace, cluster, files), references


def _no_plugin(item: Declaration, pointer: str, source: Mapping[str, Any]) -> None:
    if source.get("plugin") is not None:
        raise refused(item, f"{pointer}/plugin", "a plugin renders this, and no plugin is run here")


def _directory(source: _Source) -> Iterator[Owned]:
    item, files = source.item, source.files
    directory, place = source.part("directory")
    only(item, place, directory, {"recurse", "include", "exclude", "jsonnet"})
    include = _glob(item, f"{place}/include", directory.get("include"))
    exclude = _glob(item, f"{place}/exclude", directory.get("exclude"))
    if directory.get("recurse") is True:
        without_submodules(item, f"{source.pointer}/path", source.path, files)
    prefix = f"{source.path}/" if source.path else ""
    plain = []
    for name in files_below(files, source.path):
        below = name[len(prefix) :]
        deep = "/" in below and directory.get("recurse") is not True
        if deep or (include is not None and not include.fullmatch(below)):
            continue
        if exclude is not None and exclude.fullmatch(below):
            continue
        if name.endswith(".jsonnet"):
            yield _jsonnet(source, f"{place}/jsonnet", mapping(directory.get("jsonnet")), name)
        elif name.endswith(_READ) and _SKIPPED not in files[name]:
            plain.append(name)
    if plain and source.mount is not None:
        # Files of the tree were read once and for all; these are read by the program that puts them together.
        made = {"resources": [name[len(prefix) :] for name in plain]}
        yield Owned(
            item, "kustomize", source.path, source.namespace, synthetic=made, cluster=source.cluster, mount=source.mount
        )
    elif plain:
        yield Owned(item, "plain", source.path, source.namespace, files=tuple(plain), cluster=source.cluster)


def _jsonnet(source: _Source, pointer: str, given: Mapping[str, Any], name: str) -> Owned:
    item = source.item
    only(item, pointer, given, {"libs", "extVars", "tlas"})
    arguments: list[str] = []
    for key, word in (("extVars", "ext"), ("tlas", "tla")):
        for number, one in enumerate(listed(given.get(key))):
            variable = mapping(one)
            if not text(variable.get("name")):
                raise refused(item, f"{pointer}/{key}/{number}", "this variable has no name")
            kind = "code" if variable.get("code") is True else "str"
            if kind == "code" and imports_anything(str(variable.get("value", ""))):
                raise refused(
                    item,
                    f"{pointer}/{key}/{number}",
                    "code of a variable that imports could read any file of this machine",
                    "import it in the file itself",
                )
            if not _PLAIN.fullmatch(str(variable["name"])):
                raise refused(item, f"{pointer}/{key}/{number}", "this is no name of a variable")
            arguments += [f"--{word}-{kind}", f"{variable['name']}={variable.get('value', '')}"]
    libraries = []
    for number, one in enumerate(listed(given.get("libs"))):
        folder = local(one)
        if folder is None:
            raise refused(item, f"{pointer}/libs/{number}", f"{str(one)[:200]!r} is not a folder of this tree")
        libraries.append(folder)
    return Owned(
        item,
        "jsonnet",
        name,
        source.namespace,
        arguments=tuple(arguments),
        libraries=tuple(libraries),
        cluster=source.cluster,
        mount=source.mount,
    )


def _glob(item: Declaration, pointer: str, pattern: Any) -> re.Pattern[str] | None:
    """Argo CD's globs: `*` goes across folders too, `{a,b}` is one of them; None for no pattern."""
    if not isinstance(pattern, str) or not pattern:
        return None
    if len(pattern) > 1_000 or pattern.count("*") > 20:
        raise refused(item, pointer, "this pattern is too long")
    parts, depth, index = [], 0, 0
    while index < len(pattern):
        character = pattern[index]
        if character == "*":
            while pattern[index : index + 1] == "*":
                index += 1
            parts.append(".*")
            continue
        if character == "\\":
            index += 1
            parts.append(re.escape(pattern[index : index + 1]))
        elif character == "[" and "]" in pattern[index:]:
            end = pattern.index("]", index)
            inner = pattern[index + 1 : end]
            negated = inner[:1] in ("!", "^")
            parts.append("[" + ("^" if negated else "") + re.sub(r"([\\\[\]^&~|])", r"\\\1", inner[negated:]) + "]")
            index = end
        elif character == "{":
            depth += 1
            parts.append("(?:")
        elif character == "}" and depth:
            depth -= 1
            parts.append(")")
        elif character == "," and depth:
            parts.append("|")
        else:
            parts.append("." if character == "?" else re.escape(character))
        index += 1
    try:
        return re.compile("".join(parts) + ")" * depth, re.DOTALL)
    except re.error as error:
        raise refused(item, pointer, f"this pattern cannot be read: {error}") from error


def _chart(source: _Source, references: Mapping[str, Mapping[str, Any]]) -> Owned:
    item, path = source.item, source.path
    helm, place = source.part("helm")
    only(item, place, helm, _HELM)
    values = []
    for index, name in enumerate(listed(helm.get("valueFiles"))):
        found, is_there = _value_file(str(name), source, references)
        if found is None or not is_there:
            if helm.get("ignoreMissingValueFiles") and found is not None:
                continue
            raise refused(
                item, f"{place}/valueFiles/{index}", f"the values file {str(name)[:200]!r} is not in this tree"
            )
        values.append(found)
    inline = [helm["valuesObject"]] if isinstance(helm.get("valuesObject"), Mapping) else []
    if not inline and isinstance(helm.get("values"), str):
        inline = list(documents(item, f"{place}/values", helm["values"]))
    parameters = tuple(
        (str(one.get("name")), _escaped(str(one.get("value", ""))), bool(one.get("forceString")))
        for one in map(mapping, listed(helm.get("parameters")))
    )
    by_file = []
    for index, one in enumerate(map(mapping, listed(helm.get("fileParameters")))):
        at = f"{place}/fileParameters/{index}"
        found, is_there = _value_file(str(one.get("path", "")), source, references)
        if found is None or not is_there:
            raise refused(item, at, f"the file {str(one.get('path'))[:200]!r} is not in this tree")
        if not (_PLAIN.fullmatch(str(one.get("name"))) and _PLAIN.fullmatch(found)):
            # Helm takes `a=FILE,b=FILE` for two, and either could be any file of this machine.
            raise refused(item, at, "the name or the path has a character that Helm reads as more than a name")
        by_file.append((str(one.get("name")), found))
    return Owned(
        item,
        "helm",
        path,
        text(helm.get("namespace")) or source.namespace,
        text(helm.get("releaseName")) or item.ref.name,
        tuple(values),
        tuple(inline),
        parameters,
        tuple(by_file),
        crds=not helm.get("skipCrds"),
        cluster=source.cluster,
        mount=source.mount,
    )


def _escaped(value: str) -> str:
    """A parameter's value with its commas, which Helm would take for another parameter; `{a,b}` is a list to both."""
    if value.startswith("{") and value.endswith("}"):
        return value
    return re.sub(r"(?<!\\),", r"\\,", value)


def _value_file(name: str, source: _Source, references: Mapping[str, Mapping[str, Any]]) -> tuple[str | None, bool]:
    """The path that a name means, None for none of this tree, and whether there is such a file.

    Of a chart that was fetched, names are those of its own files: the tree adds none to it, wherever its own files lie.
    """
    if "://" in name:
        return None, False
    if name.startswith("$"):
        found = _of_reference(name, references)
        tree = source.files if source.tree is None else source.tree
        return found, found is not None and found in tree and not lies_in(found, FETCHED)
    root = "" if source.mount is None else source.mount.folder
    found = local(joined(root, name.lstrip("/")) if name.startswith("/") else joined(source.path, name))
    return found, found in source.files


def _of_reference(name: str, references: Mapping[str, Mapping[str, Any]]) -> str | None:
    """`$ref/path`: a file of another source, from the root of its repository; None for what is no repository."""
    reference, _, rest = name[1:].partition("/")
    return local(rest) if reference in references and of_argo(references[reference]) is None else None


def _kustomization(source: _Source) -> Owned:
    item, path, files = source.item, source.path, source.files
    given, place = source.part("kustomize")
    only(item, place, given, {*_KUSTOMIZE, *_KUSTOMIZE_ALSO})
    overrides: dict[str, Any] = {name: given[name] for name in _KUSTOMIZE if given.get(name)}
    if given.get("commonLabels"):
        labels: dict[str, Any] = {"pairs": given["commonLabels"]}
        if given.get("labelWithoutSelector") is not True:
            labels["includeSelectors"] = True
        elif given.get("labelIncludeTemplates") is True:
            labels["includeTemplates"] = True
        overrides["labels"] = [labels]
    if given.get("images"):
        overrides["images"] = [_image(str(one)) for one in listed(given["images"])]
    components = []
    for index, one in enumerate(listed(given.get("components"))):
        found = local(joined(path, str(one)))
        if found is None or kustomization_in(found, files) is None:
            if given.get("ignoreMissingComponents") is True and found is not None:
                continue
            raise refused(item, f"{place}/components/{index}", f"{str(one)[:200]!r} holds no kustomization")
        components.append(found)
    return Owned(
        item,
        "kustomize",
        path,
        source.namespace,
        overrides=overrides,
        components=tuple(components),
        cluster=source.cluster,
        mount=source.mount,
    )


def _image(given: str) -> dict[str, str]:
    """`[old=]new[:tag][@digest]`, as `kustomize edit set image` reads it."""
    old, equal, new = given.partition("=")
    new = new if equal else old
    rest, _, digest = new.partition("@")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    image = {"name": old if equal else name, "newName": name}
    return image | ({"digest": digest} if digest else {}) | ({"newTag": tag} if tag else {})
