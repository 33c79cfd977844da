"""What a kustomization refers to, read before any program sees it.

`kustomize` fetches what it does not find: a resource that is no file and no folder is taken for a repository and is
cloned. So every reference is resolved here, inside the tree, first; what does not resolve is refused with its line, and
the program is given a copy of exactly the files that are named, with nothing beside them.

Field names are those of kustomize.config.k8s.io/v1beta1 (kubectl.docs.kubernetes.io/references/kustomize).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse.control import yaml_nodes
from customhouse.control.yaml_nodes import LIMITS, Limits
from customhouse.control.yaml_values import Marks, Reader
from customhouse.core.errors import DeclarationError

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""In the order in which kustomize looks; a folder with two of them is an error there, and here."""

MAX_DEPTH = 32
"""How deep kustomizations may refer to one another; real trees go to six."""

_TARGETS = ("resources", "bases", "components")
_MIXED = ("generators", "transformers", "validators", "crds", "configurations", "patchesStrategicMerge")
_WITH_PATH = ("patches", "patchesJson6902", "replacements")
_GENERATORS = ("configMapGenerator", "secretGenerator")
_FETCHING = ("helmCharts", "helmChartInflationGenerator", "helmGlobals")
_REMOTE = re.compile(
    r"[a-zA-Z][a-zA-Z0-9+.-]*::?//|[^/]+@[^/]+:|(www\.)?(github|gitlab|bitbucket)\.[a-z]+[/:]|.*[?&](ref|version)=|.*\.git(/|$)"
)
_LOOKED_AT = 2_000
"""Characters of a reference: the pattern above takes the square of its length."""
_FUNCTION = "config.kubernetes.io/function"


@dataclass(frozen=True, slots=True)
class Kustomization:
    """One kustomization file: where it lies, what it says, and what it refers to."""

    file: str
    value: Mapping[str, Any]
    marks: Marks
    folders: tuple[str, ...]
    """Kustomizations that it builds on, by folder."""
    files: tuple[str, ...]
    """Plain files that it reads."""

    @property
    def folder(self) -> str:
        """Its folder; empty for the root of the tree."""
        return posixpath.dirname(self.file)

    @property
    def is_component(self) -> bool:
        """Whether it only makes sense in another one."""
        return self.value.get("kind") == "Component"


def is_kustomization(value: Any) -> bool:
    """Whether a document called kustomization.yaml is Kustomize's: Flux has a kind of that name in another group."""
    return not (isinstance(value, dict) and str(value.get("apiVersion", "")).startswith("kustomize.toolkit.fluxcd.io/"))


def read_kustomization(path: str, files: Mapping[str, bytes], limits: Limits = LIMITS) -> Kustomization | None:
    """Read and resolve one file; None when all its documents are Flux's own Kustomization objects.

    Raises DeclarationError (where = `file:line:column`): broken, remote or missing references, plugins that would run.
    """
    roots = yaml_nodes.compose(yaml_nodes.decode(files[path], path, limits), path, limits)
    reader = Reader(path, limits)
    reads = [reader.read(root) for root in roots]
    if reads and all(not is_kustomization(read.value) for read in reads):
        return None
    if not reads:
        return Kustomization(path, {}, Marks(path), (), ())
    if len(reads) != 1 or not isinstance(reads[0].value, dict):
        raise DeclarationError("a kustomization is one mapping", where=f"{path}:1:1", hint="see kustomize.io")
    value, marks = reads[0].value, reads[0].marks
    found = _References(path, value, marks, files)
    found.collect()
    return Kustomization(path, value, marks, tuple(found.folders), tuple(found.named))


class _References:
    """Walks one kustomization and sorts what it names into folders and files."""

    def __init__(self, path: str, value: Mapping[str, Any], marks: Marks, files: Mapping[str, bytes]) -> None:
        self._path, self._value, self._marks, self._files = path, value, marks, files
        self._folder = posixpath.dirname(path)
        self.folders: dict[str, None] = {}
        self.named: dict[str, None] = {}

    def collect(self) -> None:
        """Fill `folders` and `named`."""
        for key in filter(self._value.get, _FETCHING):
            raise self._refused(
                f"/{key}",
                f"{key} makes Kustomize start Helm and fetch charts, which a gate does not do",
                "commit the chart and declare it as a chart of its own, or commit the output of `helm template`",
            )
        for key in _TARGETS:
            for index, item in self._items(key):
                self._target(f"/{key}/{index}", item)
        for key in _MIXED:
            for index, item in self._items(key):
                if isinstance(item, str) and "\n" not in item and ": " not in item:
                    self._mixed(f"/{key}/{index}", item, folders=key in ("generators", "transformers", "validators"))
        for key in _WITH_PATH:
            for index, item in self._items(key):
                self._named_by(f"/{key}/{index}", item)
        for key in _GENERATORS:
            for index, item in self._items(key):
                if isinstance(item, dict):
                    self._generator(f"/{key}/{index}", item)
        self._named_by("/openapi", self._value.get("openapi"))

    def _named_by(self, pointer: str, item: Any) -> None:
        if isinstance(item, dict) and isinstance(item.get("path"), str):
            self._file(f"{pointer}/path", item["path"])

    def _items(self, key: str) -> Iterator[tuple[int, Any]]:
        value = self._value.get(key)
        if value is not None and not isinstance(value, list):
            raise self._refused(f"/{key}", f"{key} is not a list")
        return enumerate(value or ())

    def _generator(self, pointer: str, item: Mapping[str, Any]) -> None:
        for key in ("files", "envs"):
            for index, entry in enumerate(item.get(key) or ()):
                if isinstance(entry, str):
                    self._file(
                        f"{pointer}/{key}/{index}", entry.partition("=")[2] or entry if key == "files" else entry
                    )
        if isinstance(item.get("env"), str):
            self._file(f"{pointer}/env", item["env"])

    def _target(self, pointer: str, item: Any) -> None:
        if not isinstance(item, str):
            raise self._refused(pointer, "this entry is not text")
        place = self._resolved(pointer, item)
        if place in self._files:
            self.named[place] = None
        elif kustomization_in(place, self._files) is not None:
            self.folders[place] = None
        else:
            raise self._unresolved(pointer, item, "neither a file nor a folder with a kustomization")

    def _mixed(self, pointer: str, item: str, *, folders: bool) -> None:
        place = self._resolved(pointer, item)
        if folders and place not in self._files and kustomization_in(place, self._files) is not None:
            self.folders[place] = None
            return
        self._file(pointer, item)
        if folders and _FUNCTION.encode() in self._files[place]:
            raise self._refused(
                pointer,
                f"{place} is a function: Kustomize would start a container or a program for it",
                "use a built-in generator or transformer, or commit what the function makes",
            )

    def _file(self, pointer: str, item: str) -> None:
        place = self._resolved(pointer, item)
        if place not in self._files:
            raise self._unresolved(pointer, item, "not a file")
        self.named[place] = None

    def _resolved(self, pointer: str, item: str) -> str:
        place = posixpath.normpath(posixpath.join(self._folder, item)) if item else ""
        if not item or item.startswith("/") or place == ".." or place.startswith("../"):
            if _REMOTE.match(item[:_LOOKED_AT]):
                raise self._unresolved(pointer, item, "")
            raise self._refused(pointer, f"{item[:200]!r} leads out of the tree", "refer to files of this repository")
        return "" if place == "." else place

    def _unresolved(self, pointer: str, item: str, what: str) -> DeclarationError:
        if _REMOTE.match(item[:_LOOKED_AT]):
            return self._refused(
                pointer,
                f"{item[:200]!r} is fetched from elsewhere: what is judged today could be another thing tomorrow",
                "commit a copy (`kustomize localize`) and refer to that",
            )
        return self._refused(
            pointer, f"{item[:200]!r} is {what} of this tree", "correct the path, or commit what is missing"
        )

    def _refused(self, pointer: str, message: str, hint: str = "") -> DeclarationError:
        while pointer and pointer not in self._marks:
            pointer = pointer.rpartition("/")[0]
        where = str(self._marks[pointer]) if pointer in self._marks else f"{self._path}:1:1"
        return DeclarationError(message, where=where, hint=hint)


def kustomization_in(folder: str, files: Collection[str]) -> str | None:
    """The kustomization file of a folder, None when it has none. Raises DeclarationError when it has two."""
    prefix = f"{folder}/" if folder else ""
    found = [prefix + name for name in NAMES if prefix + name in files]
    if len(found) > 1:
        raise DeclarationError(
            f"{found[1]} lies beside it: Kustomize refuses two kustomizations in one folder",
            where=f"{found[0]}:1:1",
            hint="keep one",
        )
    return found[0] if found else None


class Forest:
    """All kustomizations of a tree and how they refer to one another; each is read when it is asked for."""

    def __init__(self, files: Mapping[str, bytes], limits: Limits = LIMITS) -> None:
        self._files, self._limits = files, limits
        self._read: dict[str, Kustomization | None] = {}

    def at(self, folder: str) -> Kustomization | None:
        """The kustomization of a folder. Raises DeclarationError."""
        if folder not in self._read:
            path = kustomization_in(folder, self._files)
            self._read[folder] = None if path is None else read_kustomization(path, self._files, self._limits)
        return self._read[folder]

    def closure(self, folder: str) -> tuple[Kustomization, ...]:
        """A kustomization and all that it builds on, itself first, bases after what refers to them.

        Raises DeclarationError for a circle, and for more than MAX_DEPTH levels.
        """
        order: dict[str, Kustomization] = {}
        self._descend(folder, (), order)
        return tuple(order.values())

    def _descend(self, folder: str, above: tuple[str, ...], order: dict[str, Kustomization]) -> None:
        found = self.at(folder)
        if found is None:
            raise DeclarationError("there is no kustomization here", where=folder or ".")
        if folder in above or len(above) > MAX_DEPTH:
            raise DeclarationError(
                "kustomizations refer to one another in a circle or too deeply: " + " → ".join((*above, folder))[-400:],
                where=f"{found.file}:1:1",
            )
        if folder in order:
            return
        order[folder] = found
        for below in found.folders:
            self._descend(below, (*above, folder), order)


def roots_among(forest: Forest, folders: Iterable[str]) -> list[str]:
    """Of some folders with kustomizations: those that no other of them refers to; components are never roots."""
    found = {folder: item for folder in folders if (item := forest.at(folder)) is not None}
    referred = {below for item in found.values() for below in item.folders if below != item.folder}
    return sorted(folder for folder, item in found.items() if folder not in referred and not item.is_component)
