"""A whole tree as Declarations: plain files as they are, and every root by the program that renders it.

1. Kustomizations, charts and the entries of customhouse.yaml say which files are not plain.
2. The plain files are read.
3. Roots are rendered; objects found so far may name further roots (an app of apps), until nothing new is named.
4. All objects become one set: nothing is declared twice.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from customhouse._kit import progress
from customhouse.control import yaml_nodes
from customhouse.control.render import Found, as_declarations, expand, is_listed, is_visible, read_file
from customhouse.control.rendering import (
    CHART,
    TREE,
    Job,
    Output,
    RenderEntry,
    Renderer,
    Sight,
    charts_in,
    helm_job,
    inside,
    jsonnet_job,
    kustomize_job,
    within,
)
from customhouse.control.rendering_kustomize import NAMES, Forest, Kustomization, kustomization_in, roots_among
from customhouse.control.rendering_owners import Owned, owned
from customhouse.control.rendering_places import KustomizePlaces, Sources, TemplatePlaces, nowhere
from customhouse.control.yaml_nodes import LIMITS, Limits
from customhouse.control.yaml_quick import quick_documents
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, Rendering

_PLAIN = (".yaml", ".yml", ".json")
_SETTINGS = "customhouse.yaml"
_ORIGIN = "config.kubernetes.io/origin"
_OWNERS = frozenset({"Application", "ApplicationSet", "HelmRelease", "Kustomization"})
_HELPERS = frozenset({"ArtifactGenerator", "ConfigMap"})
_ROUNDS = 10
_SOURCE = re.compile(r"(?m)^# Source: (\S.*)$")
OUTPUT_LIMITS = Limits(file_bytes=64 * 1024 * 1024, depth=64, nodes=2_000_000, characters=512 * 1024 * 1024)
"""Of what a program wrote: a root is as large as all files that it is made of."""


def is_read(name: str) -> bool:
    """Whether a file of a tree can matter for its Declarations by itself."""
    return name.endswith(_PLAIN) or posixpath.basename(name) in (*NAMES, CHART)


def render_tree(
    files: Mapping[str, bytes],
    renderer: Renderer,
    *,
    folders: Sequence[str] = (),
    aside: Sequence[str] = (),
    entries: Sequence[RenderEntry] = (),
    default_namespace: str = "default",
    sight: Sight | None = None,
) -> tuple[Declaration, ...]:
    """Every object that a tree declares. `files` is the whole tree (bytes are read when asked for).

    `folders` limits what is looked at (none: everywhere); what a root there refers to may lie elsewhere. `aside` are
    files, and folders with a `/` at their end, that are no Declarations. `sight` is filled with what was looked at.
    Raises DeclarationError for what cannot be read or is refused, CannotDecideError for a program that is missing or
    was stopped.
    """
    return _Tree(files, renderer, folders, aside, entries, default_namespace, sight or Sight()).declarations()


class _Tree:
    def __init__(
        self,
        files: Mapping[str, bytes],
        renderer: Renderer,
        folders: Sequence[str],
        aside: Sequence[str],
        entries: Sequence[RenderEntry],
        default_namespace: str,
        sight: Sight,
    ) -> None:
        self._sight = sight
        self._files, self._renderer, self._entries = files, renderer, entries
        self._namespace = default_namespace
        paths = [folder.strip("/") for folder in folders]
        self._names = [
            name
            for name in files
            if is_visible(name)
            and within(name, paths)
            and not any(name == other or (other.endswith("/") and name.startswith(other)) for other in aside)
        ]
        self._forest = Forest(files)
        self._sources = Sources(files)
        self._done: dict[str, None] = {}
        self._pinned: set[tuple[str, str]] = set()
        self._values: set[str] = set()

    def declarations(self) -> tuple[Declaration, ...]:
        # 1. What is not plain.
        charts = charts_in(self._names)
        kustomized = self._kustomized(charts)
        taken = self._taken(charts, kustomized)
        # 2. Plain files.
        found: list[Found] = []
        for number, name in enumerate(sorted(self._names)):
            progress.tell("reading", number, len(self._names))
            if name.endswith(_PLAIN) and name != _SETTINGS and name not in taken and not _in_any(name, charts):
                read, complete = read_file(name, self._files[name], LIMITS, partial(self._files.__getitem__, name))
                found.extend(read)
                if complete:  # JSON that declares nothing is looked at as any other file is
                    self._sight.files.add(name)
        # 3. Roots that somebody names, then those that nobody does.
        for entry in self._entries:
            found.extend(self._entry(entry))
        found = self._owned(found)
        for number, folder in enumerate(roots_among(self._forest, kustomized)):
            progress.tell("rendering kustomizations", number, len(kustomized))
            if ("kustomize", folder) not in self._pinned:
                self._sight.roots["kustomize", folder] = ""
                found.extend(self._kustomize(kustomize_job(self._forest, self._files, folder), folder))
        for chart in charts:
            if self._is_library(chart):
                self._sight.files |= {name for name in self._names if inside(name, chart)}
            elif ("helm", chart) not in self._pinned:
                self._sight.roots["helm", chart] = ""
                found.extend(self._helm(helm_job(self._files, chart), chart))
        found = self._owned(found)
        # 4. One set, without the values files that only an object named: they were read as plain ones.
        found = [item for item in found if item.rendering is not None or item.location.file not in self._values]
        return as_declarations(_once(found), self._namespace)

    def _kustomized(self, charts: Sequence[str]) -> list[str]:
        """The folders with kustomizations, all of them well-founded. Raises DeclarationError for a circle."""
        folders = sorted({posixpath.dirname(name) for name in self._names if posixpath.basename(name) in NAMES})
        found = [folder for folder in folders if not _in_any(folder, charts) and self._forest.at(folder) is not None]
        reached: set[str] = set()
        for folder in roots_among(self._forest, found):
            reached |= {item.folder for item in self._forest.closure(folder)}
        for folder in found:
            item = self._forest.at(folder)
            if folder not in reached and item is not None and not item.is_component:
                self._forest.closure(folder)  # a circle has no root; it says so itself
        return found

    def _taken(self, charts: Sequence[str], kustomized: Sequence[str]) -> set[str]:
        """Files that belong to something that is rendered: they are not objects of their own."""
        taken: set[str] = set()
        own = set(kustomized)
        taken |= {name for name in self._names if posixpath.dirname(name) in own and not self._is_flux_object(name)}
        for folder in kustomized:
            item = self._forest.at(folder)
            taken |= set(item.files) if item is not None else set()
        for entry in self._entries:
            taken |= set(entry.values)
            if entry.path in self._files:
                taken |= set(jsonnet_job(self._files, entry).files)
        return taken

    def _is_flux_object(self, name: str) -> bool:
        return posixpath.basename(name) in NAMES and self._forest.at(posixpath.dirname(name)) is None

    def _is_library(self, chart: str) -> bool:
        path = posixpath.join(chart, CHART)
        try:
            reads = [
                Reader(path).read(root) for root in yaml_nodes.compose(yaml_nodes.decode(self._files[path], path), path)
            ]
        except DeclarationError as error:
            raise DeclarationError(error.message, where=error.where, hint=error.hint) from error
        return any(isinstance(read.value, dict) and read.value.get("type") == "library" for read in reads)

    def _entry(self, entry: RenderEntry) -> Iterator[Found]:
        """A root of customhouse.yaml. Raises DeclarationError when there is nothing to render at its path."""
        path = entry.path.strip("/")
        path = "" if path == "." else path
        if path in self._files:
            yield from self._jsonnet(jsonnet_job(self._files, replace(entry, path=path)))
        elif posixpath.join(path, CHART) in self._files:
            self._pinned.add(("helm", path))
            self._sight.roots["helm", path] = ""
            job = helm_job(self._files, path, release=entry.release, namespace=entry.namespace, values=entry.values)
            yield from self._helm(job, path)
        elif kustomization_in(path, self._files) is not None:
            self._pinned.add(("kustomize", path))
            self._sight.roots["kustomize", path] = ""
            overrides = {"namespace": entry.namespace} if entry.namespace else None
            yield from self._kustomize(kustomize_job(self._forest, self._files, path, overrides=overrides), path)
        else:
            raise DeclarationError(
                f"`render` names {entry.path!r}, where there is no kustomization, no chart and no Jsonnet file",
                where=_SETTINGS,
                hint="correct the path",
            )

    def _owned(self, found: list[Found]) -> list[Found]:
        """With what Applications and Flux objects among the objects have rendered, and those among these, and so on."""
        for _ in range(_ROUNDS):
            # Only those that can matter here: the others are checked once, at the end.
            owners = [item for item in found if _kind(item) in _OWNERS]
            if not owners:
                return found
            helpers = [item for item in found if _kind(item) in _HELPERS]
            declared = as_declarations(_once([*owners, *helpers]), self._namespace)
            more: list[Found] = []
            for item in owned(declared, self._files, self._sight):
                more.extend(self._render_owned(item, found))
            if not more:
                return found
            found = [*found, *more]
        raise DeclarationError(
            f"objects name folders that hold objects that name folders, {_ROUNDS} levels deep", where="."
        )

    def _render_owned(self, item: Owned, found: list[Found]) -> list[Found]:
        if item.tool == "helm":
            job = helm_job(
                self._files,
                item.path,
                release=item.release,
                namespace=item.namespace,
                values=item.values,
                inline=item.inline,
                parameters=item.parameters,
                crds=item.crds,
            )
        else:
            job = kustomize_job(
                self._forest,
                self._files,
                item.path,
                overrides=item.overrides,
                components=item.components,
                synthetic=item.synthetic,
                namespace=item.namespace,
            )
        self._pinned.add((item.tool, item.path))
        changed = item.tool == "helm" or item.overrides or item.components or item.synthetic is not None
        self._sight.roots.setdefault((item.tool, item.path), str(item.owner.ref) if changed else "")
        self._values |= set(item.values)
        if job.digest in self._done:
            return []
        if item.synthetic is not None:
            # These were read as plain files; what runs is what Flux makes of them.
            found[:] = [one for one in found if one.rendering is not None or not inside(one.location.file, item.path)]
        return [*(self._helm(job, item.path) if item.tool == "helm" else self._kustomize(job, item.path))]

    def _run(self, job: Job) -> tuple[Output, Rendering] | None:
        if job.digest in self._done:
            return None
        self._done[job.digest] = None
        self._sight.files |= job.files.keys() if job.tool != "helm" else set(_of_chart(job))
        output = self._renderer.run(job)
        program = output.program
        return output, Rendering(job.root, program.name, program.version, program.digest)

    def _kustomize(self, job: Job, folder: str) -> Iterator[Found]:
        ran = self._run(job)
        if ran is None:
            return
        output, rendering = ran
        closure = () if kustomization_in(folder, self._files) is None else self._forest.closure(folder)
        for value in _objects(output.data, job):
            origin = _take_origin(value)
            file = _in_tree(origin.get("path")) or _in_tree(origin.get("configuredIn")) or job.file
            plain = _in_tree(origin.get("path")) or ""
            yield Found(value, self._begin(file, value), self._places(value, plain, closure), job.namespace, rendering)

    def _places(self, value: Mapping[str, Any], origin: str, closure: Sequence[Kustomization]) -> KustomizePlaces:
        return KustomizePlaces(self._sources, value, origin, closure)

    def _begin(self, file: str, value: Mapping[str, Any]) -> Location:
        metadata = value.get("metadata")
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        return self._sources.begin(file, str(value.get("kind")), str(name))

    def _helm(self, job: Job, chart: str) -> Iterator[Found]:
        ran = self._run(job)
        if ran is None:
            return
        output, rendering = ran
        for part in re.split(r"(?m)^---[ \t]*$", output.data.decode("utf-8", "replace")):
            sources = _SOURCE.findall(part)
            template = posixpath.join(chart, sources[-1].partition("/")[2]) if sources else job.file
            template = template if template in self._files else job.file
            for value in _objects(part.encode(), job):
                yield Found(
                    value, Location(template), TemplatePlaces(self._sources, template), job.namespace, rendering
                )

    def _jsonnet(self, job: Job) -> Iterator[Found]:
        ran = self._run(job)
        if ran is None:
            return
        output, rendering = ran
        try:
            document = json.loads(output.data)
        except (ValueError, RecursionError) as error:
            raise DeclarationError("jsonnet wrote no JSON", where=f"{job.file}:1:1") from error
        for value in _declared(document, job.file, 0):
            yield Found(value, Location(job.file), nowhere(job.file), job.namespace, rendering)


def _of_chart(job: Job) -> Iterator[str]:
    """The files of a chart that Helm renders, and those of other folders; an object beside them is nothing to it."""
    prefix = f"{job.root}/" if job.root else ""
    for name in job.files:
        first = name.removeprefix(prefix).partition("/")[0]
        if first in ("templates", "crds", "charts", CHART) or not name.startswith(prefix):
            yield name


def _objects(data: bytes, job: Job) -> Iterator[dict[str, Any]]:
    """The objects that a program wrote, read under limits like everything else."""
    label = f"{job.file} (rendered)"
    documents = quick_documents(yaml_nodes.decode(data, label, OUTPUT_LIMITS), OUTPUT_LIMITS)
    if documents is not None and not any(is_listed(item.value) for item in documents):
        yield from (item.value for item in documents)
        return
    reader = Reader(label, OUTPUT_LIMITS)
    for root in yaml_nodes.compose(yaml_nodes.decode(data, label, OUTPUT_LIMITS), label, OUTPUT_LIMITS):
        for item in expand(root, reader, label):
            if not isinstance(item.value, dict):
                raise DeclarationError("what is rendered is not a mapping", where=f"{job.file}:1:1")
            yield item.value


def _declared(document: Any, file: str, depth: int) -> Iterator[dict[str, Any]]:
    """The objects in a Jsonnet document: one, a list of them, a List, or a mapping of names to any of these."""
    if isinstance(document, dict) and isinstance(document.get("kind"), str):
        if document["kind"].endswith("List") and isinstance(document.get("items"), list):
            for item in document["items"]:
                yield from _declared(item, file, depth + 1)
        elif is_listed(document) and not document["kind"].endswith("List"):
            raise DeclarationError(
                "kubectl and others take an object with a list `items` for a List, and apply what is in it",
                where=f"{file}:1:1",
                hint="write `apiVersion: v1` and `kind: List`, or take it out",
            )
        else:
            yield document
    elif isinstance(document, (dict, list)) and depth < 8:
        for item in document.values() if isinstance(document, dict) else document:
            yield from _declared(item, file, depth + 1)
    elif document is not None:
        raise DeclarationError(
            "the Jsonnet document is neither an object nor a list or mapping of objects", where=f"{file}:1:1"
        )


def _take_origin(value: dict[str, Any]) -> Mapping[str, Any]:
    """Take Kustomize's note of the origin out of an object."""
    metadata = value.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    text = annotations.pop(_ORIGIN, None) if isinstance(annotations, dict) else None
    if isinstance(metadata, dict) and annotations == {} and text is not None:
        del metadata["annotations"]
    if not isinstance(text, str):
        return {}
    try:
        read = [Reader(_ORIGIN).read(root).value for root in yaml_nodes.compose(text, _ORIGIN)]
    except DeclarationError:
        return {}
    return read[0] if read and isinstance(read[0], dict) else {}


def _in_tree(path: Any) -> str | None:
    """`../tree/base/web.yaml`, as Kustomize counts from our outer folder, as a path of the tree."""
    prefix = f"../{TREE}/"
    return path[len(prefix) :] if isinstance(path, str) and path.startswith(prefix) else None


def _once(found: Sequence[Found]) -> list[Found]:
    """Without objects that two roots render alike; which of them is left, the first one, is no matter."""
    kept: dict[str, Found] = {}
    result = []
    for item in found:
        if item.rendering is not None:
            key = json.dumps([item.namespace, item.value], sort_keys=True)
            if key in kept and kept[key].rendering != item.rendering:
                continue
            kept[key] = item
        result.append(item)
    return result


def _kind(item: Found) -> Any:
    return item.value.get("kind") if isinstance(item.value, dict) else None


def _in_any(path: str, folders: Collection[str]) -> bool:
    return any(inside(path, folder) for folder in folders)
