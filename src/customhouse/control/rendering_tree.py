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
from dataclasses import dataclass, replace
from typing import Any

from customhouse._kit import progress
from customhouse.control import yaml_nodes
from customhouse.control.flux_substitute import SubstitutionError, keeps_variables, substitute
from customhouse.control.folders import Folders
from customhouse.control.lockfile import LOCK
from customhouse.control.outside import FETCHED, Both, Outside
from customhouse.control.render import Found, as_declarations, is_visible
from customhouse.control.rendering import (
    CHART,
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
from customhouse.control.rendering_kustomize import NAMES, Forest, kustomization_in, roots_among
from customhouse.control.rendering_memory import Readings, read_one
from customhouse.control.rendering_output import declared_in, files_of_chart, in_tree, objects_in, take_origin
from customhouse.control.rendering_owned import Owned, joined, lies_in, refused
from customhouse.control.rendering_owners import HELPERS, OWNERS, made, owned
from customhouse.control.rendering_places import KustomizePlaces, Sources, TemplatePlaces, nowhere
from customhouse.control.rooms import with_rooms
from customhouse.control.scenes import Scenes
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, Rendering, ResourceRef

_PLAIN = (".yaml", ".yml", ".json")
_SETTINGS = "customhouse.yaml"
_ASIDE = (_SETTINGS, LOCK)
_ROUNDS = 10
_SOURCE = re.compile(r"(?m)^# Source: (\S.*)$")


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
    scenes: Mapping[str, str] | None = None,
    targets: Collection[str] = (),
    readings: Readings | None = None,
    outside: Outside | None = None,
) -> tuple[Declaration, ...]:
    """Every object that a tree declares. `files` is the whole tree (bytes are read when asked for).

    `folders` limits what is looked at (none: everywhere); what a root there refers to may lie elsewhere. `aside` are
    files, and folders with a `/` at their end, that are no Declarations. `sight` is filled with what was looked at.
    `scenes` names folders that belong to clusters of their own (`scenes_of`); those of `targets` are always apart.
    `readings` is what plain files of other revisions read to: those that are the same are not read again. `outside` is
    what the tree has from registries, by digest.
    Raises DeclarationError for what cannot be read or is refused, CannotDecideError for a program that is missing or
    was stopped.
    """
    tree = _Tree(files, renderer, folders, aside, entries, default_namespace, sight=sight or Sight(), scenes=scenes)
    tree.targets = tuple(targets)
    tree.bring(outside or Outside())
    return tree.declarations(readings or Readings())


@dataclass(frozen=True, slots=True)
class _Root:
    """What is rendered: a folder or a Jsonnet file, and for whom."""

    path: str
    item: Owned | None = None

    @property
    def owner(self) -> ResourceRef | None:
        """The object that has it rendered, with its scene."""
        return None if self.item is None else replace(self.item.owner.ref, scene=self.item.owner.scene)

    @property
    def scene(self) -> str:
        """Where the owner puts it; empty where there is none, and for the cluster that the repository is for."""
        return "" if self.item is None else self.item.scene

    def finished(self, data: bytes, job: Job) -> bytes:
        """With the owner's variables. Raises DeclarationError."""
        if self.item is None or self.item.substitute is None:
            return data
        parts = []
        for part in re.split(r"(?m)^---[ \t]*$", data.decode("utf-8")):
            try:
                kept = any(keeps_variables(value) for value in objects_in(part.encode(), job))
                parts.append(part if kept else substitute(part, self.item.substitute))
            except SubstitutionError as error:
                raise refused(
                    self.item.owner,
                    "/spec/postBuild",
                    f"{error} in what {self.path or '.'} renders to: {error.expression!r}",
                    "write $${name} for a text that is no variable, or annotate the object with "
                    "kustomize.toolkit.fluxcd.io/substitute: disabled",
                ) from error
        return "\n---\n".join(parts).encode()


class _Tree:
    def __init__(
        self,
        files: Mapping[str, bytes],
        renderer: Renderer,
        folders: Sequence[str],
        aside: Sequence[str],
        entries: Sequence[RenderEntry],
        default_namespace: str,
        *,
        sight: Sight,
        scenes: Mapping[str, str] | None,
    ) -> None:
        self._sight = sight
        self._files, self._renderer, self._entries = files, renderer, entries
        self._namespace = default_namespace
        paths = [folder.strip("/") for folder in folders]
        apart = {name for name in files if any(name == o or (o[-1:] == "/" and name.startswith(o)) for o in aside)}
        self._names = [name for name in files if is_visible(name) and within(name, paths) and name not in apart]
        self._known = apart.union(self._names)
        self._forest = Forest(files)
        self._scenes = Scenes(self._names, scenes or {})
        self._outputs: dict[str, Output] = {}
        self._done: set[tuple[str, ResourceRef | None, str]] = set()
        self._plain: dict[str, list[Found]] = {}
        """What was read of each plain file: an Application may have it applied, and so may another one."""
        self._claims: dict[str, set[tuple[str, str]]] = {}
        """File → the scenes and namespaces that it is applied to."""
        self._names_now: dict[ResourceRef, ResourceRef] = {}
        self._tree = Folders(files)
        self._pinned: set[tuple[str, str]] = set()
        self._values: set[str] = set()
        self.targets: tuple[str, ...] = ()
        self.bring(Outside())

    def bring(self, outside: Outside) -> None:
        """Have something from elsewhere."""
        self._outside = outside
        self._sources = Sources(Both(self._files, outside.files))

    def declarations(self, readings: Readings) -> tuple[Declaration, ...]:
        # 1. What is not plain.
        charts = charts_in(self._names)
        kustomized = self._kustomized(charts)
        taken = self._taken(charts, kustomized)
        # 2. Plain files.
        found: list[Found] = []
        # Files among or beside kustomizations that none of them refers to: samples, patches that are commented out.
        areas = {*kustomized, *filter(None, map(posixpath.dirname, kustomized))}
        plain = [
            name
            for name in sorted(self._names)
            if name.endswith(_PLAIN) and name not in _ASIDE and name not in taken and not _in_any(name, charts)
        ]
        for name, (read, complete) in readings.of(self._files, plain):
            scene = self._scenes.of(name) or (name if _in_any(name, areas) else "")
            self._plain[name] = [replace(one, scene=scene) for one in read] if scene else list(read)
            found.extend(self._plain[name])
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
                found.extend(self._kustomize(kustomize_job(self._forest, self._files, folder), _Root(folder)))
        for chart in charts:
            if self._is_library(chart):
                self._sight.files |= {name for name in self._names if inside(name, chart)}
            elif ("helm", chart) not in self._pinned:
                self._sight.roots["helm", chart] = ""
                found.extend(self._helm(helm_job(self._files, chart), _Root(chart)))
        found = self._renamed(self._owned(found))
        # 4. One set, without the values files that only an object named and that are no objects by themselves.
        values = self._values | self._sight.values
        found = [item for item in found if item.location.file not in values or item.rendering or _is_object(item)]
        return as_declarations(with_rooms(found, self._namespace), self._namespace, targets=self.targets)

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
            yield from self._jsonnet(jsonnet_job(self._files, replace(entry, path=path)), _Root(path))
        elif posixpath.join(path, CHART) in self._files:
            self._pinned.add(("helm", path))
            self._sight.roots["helm", path] = ""
            job = helm_job(self._files, path, release=entry.release, namespace=entry.namespace, values=entry.values)
            yield from self._helm(job, _Root(path))
        elif kustomization_in(path, self._files) is not None:
            self._pinned.add(("kustomize", path))
            self._sight.roots["kustomize", path] = ""
            overrides = {"namespace": entry.namespace} if entry.namespace else None
            yield from self._kustomize(kustomize_job(self._forest, self._files, path, overrides=overrides), _Root(path))
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
            owners = [item for item in found if _kind(item) in OWNERS]
            if not owners:
                return found
            declared = as_declarations(owners, self._namespace, so_far=True, targets=self.targets)
            more = list(self._made(declared))
            # Applications first: they say to which namespace the files belong that others refer to.
            for item in owned(declared, self._tree, self._sight, ("Application",), self._outside):
                more.extend(self._render_owned(item, found))
            others = [item for item in [*found, *more] if _kind(item) in (*HELPERS, *OWNERS)]
            declared = as_declarations(others, self._namespace, so_far=True, targets=self.targets)
            for item in owned(declared, self._tree, self._sight, ("HelmRelease", "Kustomization"), self._outside):
                more.extend(self._render_owned(item, found))
            if not more:
                return found
            found = [*found, *more]
        raise DeclarationError(
            f"objects name folders that hold objects that name folders, {_ROUNDS} levels deep", where="."
        )

    def _made(self, declared: Sequence[Declaration]) -> Iterator[Found]:
        for item, one in made(declared, self._files, self._sight):
            owner = replace(item.ref, scene=item.scene)
            key = (f"{one.manifest['metadata'].get('name')} of a set", owner, item.scene)
            if key not in self._done:
                self._done.add(key)
                how = Rendering(item.location.file, "ApplicationSet", "", "")
                yield Found(one.manifest, item.location, one.marks, item.ref.namespace, how, owner, item.scene)

    def _render_owned(self, item: Owned, found: list[Found]) -> list[Found]:
        root = _Root(item.path, item)
        if item.tool == "plain":
            return self._claimed(item, root, found)
        job = self._job(item)
        key = (item.tool, item.path)
        self._pinned.add(key)
        changed = item.tool == "helm" or item.overrides or item.components or item.synthetic is not None
        changed = changed or item.substitute is not None
        self._sight.roots.setdefault(key, str(item.owner.ref) if changed else "")
        self._values |= set(self._named_by(item))
        if (job.digest, root.owner, item.scene) in self._done:
            return []
        if item.synthetic is not None:
            # These were read as plain files; what runs is what Flux makes of them.
            found[:] = [one for one in found if one.rendering is not None or not inside(one.location.file, item.path)]
        if item.tool == "jsonnet":
            return [*self._jsonnet(job, root)]
        return [*(self._helm(job, root) if item.tool == "helm" else self._kustomize(job, root))]

    def _job(self, item: Owned) -> Job:
        files, forest = self._files, self._forest
        if item.mount is not None:
            # What was fetched refers to nothing of the tree; the values files of its owner may lie there.
            files, forest = item.mount.files, Forest(item.mount.files)
        if item.tool == "jsonnet":
            entry = RenderEntry(item.path, namespace=item.namespace, libraries=item.libraries)
            return jsonnet_job(files, entry, item.arguments)
        if item.tool == "helm":
            if item.mount is not None:
                named = (name for name in self._named_by(item) if name not in files and not lies_in(name, FETCHED))
                files = {**{name: self._files[name] for name in named}, **files}
            return helm_job(
                files,
                item.path,
                release=item.release,
                namespace=item.namespace,
                values=item.values,
                inline=item.inline,
                parameters=item.parameters,
                file_parameters=item.file_parameters,
                crds=item.crds,
                defaults=item.defaults,
                # As the one does who applies it: Flux hands Helm the archive, Argo CD a folder that it unpacked.
                archive=item.mount is not None and item.owner.ref.kind == "HelmRelease",
            )
        return kustomize_job(
            forest,
            files,
            item.path,
            overrides=item.overrides,
            components=item.components,
            synthetic=item.synthetic,
            namespace=item.namespace,
        )

    @staticmethod
    def _named_by(item: Owned) -> tuple[str, ...]:
        """The files that an object adds to a chart."""
        return (*item.values, *(path for _, path in item.file_parameters))

    def _claimed(self, item: Owned, root: _Root, found: list[Found]) -> list[Found]:
        """Plain files that an object has applied: theirs is its namespace where they name none, and its cluster."""
        more: list[Found] = []
        gone: set[int] = set()
        for name in item.files:
            key = (name, root.owner, item.scene)
            if key in self._done or not self._is_plain(name):
                continue
            self._done.add(key)
            scene = item.scene or self._scenes.of(name) or "in-cluster"
            if (scene, item.namespace) in self._claims.setdefault(name, set()):
                continue  # of a folder within the folder of another one: applied twice, and alike
            if not self._claims[name]:
                gone |= {id(one) for one in self._plain[name]}
            self._claims[name].add((scene, item.namespace))
            for one in self._plain[name]:
                theirs = replace(one, namespace=item.namespace, owner=root.owner, scene=scene)
                if _kind(one) in OWNERS:
                    self._note_name(one, theirs)
                more.append(theirs)
        if gone:
            found[:] = [one for one in found if id(one) not in gone]
        return more

    def _is_plain(self, name: str) -> bool:
        if name not in self._plain and name not in self._known:  # nothing but who has it applied looks there
            read, complete = read_one(self._files, name)
            self._plain[name], self._sight.files = list(read), self._sight.files | ({name} if complete else set())
        return name in self._plain

    def _note_name(self, before: Found, after: Found) -> None:
        """An object that owns others gets its namespace from the one that owns it: what it owned knows its old name."""
        old, new = (
            as_declarations([replace(one, owner=None)], self._namespace, targets=self.targets)[0].ref
            for one in (before, after)
        )
        old, new = replace(old, scene=before.scene), replace(new, scene=after.scene)
        if old != new and self._names_now.setdefault(old, new) != new:
            raise DeclarationError(
                f"two objects {old} without a namespace of their own are applied to two namespaces",
                where=str(before.location),
                hint="write metadata.namespace in each",
            )

    def _renamed(self, found: list[Found]) -> list[Found]:
        """With the names that owners have now; what a program rendered was rendered again for them."""
        result = []
        for one in found:
            new = None if one.owner is None else self._names_now.get(one.owner)
            if new is None:
                result.append(one)
            elif one.rendering is None:
                result.append(replace(one, owner=new))
        return result

    def _run(self, job: Job, root: _Root) -> tuple[Output, Rendering] | None:
        key = (job.digest, root.owner, root.scene)
        if key in self._done:
            return None
        self._done.add(key)
        self._sight.files |= job.files.keys() if job.tool != "helm" else set(files_of_chart(job))
        if job.digest not in self._outputs:
            self._outputs[job.digest] = self._renderer.run(job)
        output = self._outputs[job.digest]
        program = output.program
        return output, Rendering(job.root, program.name, program.version, program.digest)

    def _kustomize(self, job: Job, root: _Root) -> Iterator[Found]:
        ran = self._run(job, root)
        if ran is None:
            return
        output, rendering = ran
        folder, mount = root.path, None if root.item is None else root.item.mount
        files, forest = (self._files, self._forest) if mount is None else (mount.files, Forest(mount.files))
        closure = () if kustomization_in(folder, files) is None else forest.closure(folder)
        for value in objects_in(root.finished(output.data, job), job):
            origin = take_origin(value)
            file = in_tree(origin.get("path")) or in_tree(origin.get("configuredIn")) or job.file
            plain = in_tree(origin.get("path")) or ""
            places = KustomizePlaces(self._sources, value, plain, closure)
            yield self._found(root, Found(value, self._begin(file, value), places, job.namespace, rendering))

    def _found(self, root: _Root, found: Found) -> Found:
        """With the owner, and the scene: that of the owner, of the folder, else of the root itself."""
        scene = root.scene or self._scenes.of(joined(root.path, "x"))
        own = "in-cluster" if root.owner is not None else root.path or "."
        return replace(found, owner=root.owner, scene=scene or own)

    def _begin(self, file: str, value: Mapping[str, Any]) -> Location:
        metadata = value.get("metadata")
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        return self._sources.begin(file, str(value.get("kind")), str(name))

    def _helm(self, job: Job, root: _Root) -> Iterator[Found]:
        ran = self._run(job, root)
        if ran is None:
            return
        output, rendering = ran
        for part in re.split(r"(?m)^---[ \t]*$", output.data.decode("utf-8", "replace")):
            sources = _SOURCE.findall(part)
            template = posixpath.join(root.path, sources[-1].partition("/")[2]) if sources else job.file
            template = template if template in self._files or template in self._outside.files else job.file
            for value in objects_in(part.encode(), job):
                places = TemplatePlaces(self._sources, template)
                yield self._found(root, Found(value, Location(template), places, job.namespace, rendering))

    def _jsonnet(self, job: Job, root: _Root) -> Iterator[Found]:
        ran = self._run(job, root)
        if ran is None:
            return
        output, rendering = ran
        try:
            document = json.loads(output.data)
        except (ValueError, RecursionError) as error:
            raise DeclarationError("jsonnet wrote no JSON", where=f"{job.file}:1:1") from error
        for value in declared_in(document, job.file, 0):
            yield self._found(root, Found(value, Location(job.file), nowhere(job.file), job.namespace, rendering))


def _is_object(item: Found) -> bool:
    return isinstance(item.value, dict) and {"apiVersion", "kind"} <= item.value.keys()


def _kind(item: Found) -> Any:
    return item.value.get("kind") if isinstance(item.value, dict) else None


def _in_any(path: str, folders: Collection[str]) -> bool:
    return any(inside(path, folder) for folder in folders)
