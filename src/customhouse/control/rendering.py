"""Rendering jobs: what a tree wants rendered, by which program, with which files. No program is started here.

A job holds a copy of exactly the files that its root refers to, so the program that an adapter starts sees nothing else
of the tree, and nothing of the machine. Which roots there are:

1. what customhouse.yaml declares under `render`;
2. what Argo CD `Application` and Flux `Kustomization` and `HelmRelease` objects of the tree name by a local path;
3. every kustomization that no other one refers to, and every chart that lies in no other chart.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from customhouse._kit.canonical import canonical_json
from customhouse.control.rendering_jsonnet import imports_of
from customhouse.control.rendering_kustomize import Forest
from customhouse.control.unpacking import packed
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, ResourceRef

TREE, OURS = "tree", "ours"
"""The two folders of a job's workplace: the copy of the tree's files, and what the job itself adds."""
CHART = "Chart.yaml"
_ARCHIVE = "chart.tgz"
# Helm's own rule for names of releases (helm.sh/helm/v3/pkg/chartutil/validate_name.go).
_RELEASE = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,51}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class RenderEntry:
    """One entry of `render` in customhouse.yaml: a root, and how it is rendered.

    `path` is a folder or a .jsonnet file.
    """

    path: str
    values: tuple[str, ...] = ()
    release: str = ""
    namespace: str = ""
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """The program that rendered: its own version, and the SHA-256 of its file."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a program. `files` and `added` are laid out below TREE and OURS; `arguments` are relative to both."""

    tool: str
    root: str
    file: str
    """The file that stands for the root: where errors without a better place are shown."""
    arguments: tuple[str, ...]
    files: Mapping[str, bytes] = field(repr=False)
    added: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    namespace: str = ""
    """The namespace of objects that name none."""

    @property
    def digest(self) -> str:
        """What the output depends on, besides the program."""
        hasher = hashlib.sha256(canonical_json([self.tool, list(self.arguments)]))
        for folder in (self.files, self.added):
            for name in sorted(folder):
                for part in (name.encode(), folder[name]):
                    hasher.update(len(part).to_bytes(8, "big"))
                    hasher.update(part)
        return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Output:
    """What a program wrote for a job."""

    data: bytes
    program: Program


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched, for whoever tells of it: its name, from where, which bytes, and where it is seen."""

    name: str
    source: str
    version: str
    digest: str
    folder: str


@dataclass(slots=True)
class Sight:
    """What of a tree was judged and through what: filled while it is rendered, for whoever asks what was left out."""

    files: set[str] = field(default_factory=set)
    """Those that were read, or are part of what was rendered."""
    roots: dict[tuple[str, str], str] = field(default_factory=dict)
    """(tool, folder) of each root → whose changes are put on top of it; empty for a root as it stands."""
    elsewhere: dict[tuple[Location, str], None] = field(default_factory=dict)
    """Where an object names something to render that is not in this tree, and what it names."""
    missing: dict[ResourceRef, tuple[Location, str]] = field(default_factory=dict)
    """The objects among these that name a chart or artifact of a registry. A folder that is gone was emptied in Git."""
    values: set[str] = field(default_factory=set)
    """Files that are values of a chart which is not here: they are no objects."""
    fetched: tuple[Fetched, ...] = ()
    """What came from registries, by digest."""

    def miss(self, item: Declaration, pointer: str, what: str) -> None:
        """Note that what an object names at a pointer is not here."""
        place = item.locate(pointer)
        self.elsewhere[place, what] = None
        self.missing.setdefault(item.ref, (place, what))


class Renderer(Protocol):
    """Runs jobs. Nothing of the machine is within the program's reach but the job's own files."""

    def run(self, job: Job) -> Output:
        """The output. Raises CannotDecideError: program missing, time, memory or output limit, or it said no."""


def kustomize_job(
    forest: Forest,
    files: Mapping[str, bytes],
    folder: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    components: Sequence[str] = (),
    synthetic: Mapping[str, Any] | None = None,
    namespace: str = "",
) -> Job:
    """A job that builds `folder` below a kustomization of ours, which asks for the origin of every object.

    `overrides` and `components` (folders of the tree) are what Flux and Argo CD put on top; `synthetic` stands for a
    kustomization that the folder does not have. Raises DeclarationError.
    """
    named: dict[str, bytes] = {}
    metadata: Any = None
    if synthetic is None:
        closure = forest.closure(folder)
        root, metadata = closure[0].file, closure[0].value.get("buildMetadata")
    else:
        root, closure = posixpath.join(folder, "kustomization.yaml"), ()
        named[root] = canonical_json(synthetic)
        for path in (posixpath.normpath(posixpath.join(folder, item)) for item in synthetic["resources"]):
            if path in files:
                named[path] = files[path]
            else:
                closure += forest.closure(path)
    for path in components:
        closure += forest.closure(path)
    for item in closure:
        named |= {item.file: files[item.file], **{path: files[path] for path in item.files}}
    outer: dict[str, Any] = {
        **(overrides or {}),
        "resources": [posixpath.join("..", TREE, folder)],
        "buildMetadata": sorted({*(metadata if isinstance(metadata, list) else ()), "originAnnotations"}),
    }
    if components:
        outer["components"] = [posixpath.join("..", TREE, path) for path in components]
    return Job(
        "kustomize",
        folder,
        root,
        ("build", OURS, "--load-restrictor", "LoadRestrictionsRootOnly"),
        named,
        {"kustomization.yaml": canonical_json(outer)},
        namespace,
    )


def helm_job(
    files: Mapping[str, bytes],
    chart: str,
    *,
    release: str = "",
    namespace: str = "",
    values: Sequence[str] = (),
    inline: Sequence[Mapping[str, Any]] = (),
    parameters: Sequence[tuple[str, str, bool]] = (),
    file_parameters: Sequence[tuple[str, str]] = (),
    crds: bool = True,
    defaults: bool = True,
    archive: bool = False,
) -> Job:
    """A job that renders a chart: `values` files of the tree first, then `inline` values, single `parameters`, files.

    Without `defaults` the chart's own values.yaml is left out. `archive`: Helm is given the chart as an archive, as
    Flux gives it; in a folder it would pass over what the chart's .helmignore names.
    Raises DeclarationError for a values file that is not there.
    """
    prefix = f"{chart}/" if chart else ""
    own = posixpath.basename(chart)
    release = release or (own if _RELEASE.fullmatch(own) else "release")
    for word, what in ((release, "release name"), (namespace or "default", "namespace")):
        # Also since a word that begins with a dash would be an option of the program.
        if _RELEASE.fullmatch(word) is None:
            raise DeclarationError(
                f"{word[:80]!r} is not a {what}",
                where=f"{prefix}{CHART}:1:1",
                hint="lower-case letters, digits, '-' and '.', at most 53 of them",
            )
    copied = {path: files[path] for path in files if path.startswith(prefix)}
    if prefix + CHART not in copied:  # a tree may know a file that it does not list; half a chart renders to nothing
        raise DeclarationError(
            "the chart lies outside of what was named", where=f"{prefix}{CHART}:1:1", hint="name its folder too"
        )
    if not defaults:
        copied.pop(f"{prefix}values.yaml", None)
    added = {}
    if archive:
        added[_ARCHIVE] = packed({path[len(prefix) :]: data for path, data in copied.items()})
    arguments = ["template", release, posixpath.join(OURS, _ARCHIVE) if archive else posixpath.join(TREE, chart)]
    arguments += ["--namespace", namespace or "default", "--skip-tests"]
    arguments += ["--include-crds"] if crds else []
    for path in values:
        if path not in files:
            raise DeclarationError(
                f"the values file {path!r} is not in this tree", where=f"{prefix}{CHART}:1:1", hint="commit it"
            )
        if any(character in path for character in ',"\n'):
            # Helm reads a list of files there, parted by commas: the second could be any file of this machine.
            raise DeclarationError(
                f"the path of the values file {path[:200]!r} has a comma or a quote",
                where=f"{prefix}{CHART}:1:1",
                hint="give the file a plain name",
            )
        copied[path] = files[path]
        arguments += ["--values", posixpath.join(TREE, path)]
    for number, document in enumerate(inline):
        added[f"values-{number}.yaml"] = canonical_json(document)
        arguments += ["--values", f"{OURS}/values-{number}.yaml"]
    for name, value, text in parameters:
        arguments += ["--set-string" if text else "--set", f"{name}={value}"]
    for name, path in file_parameters:
        copied[path] = files[path]
        arguments += ["--set-file", f"{name}={posixpath.join(TREE, path)}"]
    return Job("helm", chart, prefix + CHART, tuple(arguments), copied, added, namespace)


def jsonnet_job(files: Mapping[str, bytes], entry: RenderEntry, variables: Sequence[str] = ()) -> Job:
    """A job that evaluates a main file with the files that it imports; `variables` are `--ext-str` and its like.

    Raises DeclarationError.
    """
    copied = {path: files[path] for path in imports_of(entry.path, files, entry.libraries)}
    arguments = list(variables)
    arguments += [word for path in entry.libraries for word in ("--jpath", posixpath.join(TREE, path))]
    arguments.append(posixpath.join(TREE, entry.path))
    return Job("jsonnet", posixpath.dirname(entry.path), entry.path, tuple(arguments), copied, {}, entry.namespace)


def charts_in(names: Iterable[str]) -> tuple[str, ...]:
    """The folders of charts that lie in no other chart."""
    folders = sorted(posixpath.dirname(name) for name in names if posixpath.basename(name) == CHART)
    outer: list[str] = []
    for folder in folders:
        if not any(inside(folder, other) for other in outer):
            outer.append(folder)
    return tuple(outer)


def inside(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies somewhere below it; the root of the tree is the empty text."""
    return folder in ("", ".", path) or path.startswith(folder + "/")


def within(path: str, folders: Collection[str]) -> bool:
    """Whether a path lies in one of some folders; none named means everywhere."""
    return not folders or any(inside(path, folder) for folder in folders)
