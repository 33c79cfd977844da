"""One folder that an Argo CD or Flux object has rendered, and how such objects are read: shared by both dialects."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse.control import yaml_nodes
from customhouse.control.folders import submodules
from customhouse.control.outside import FETCHED, Mount
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration


@dataclass(frozen=True, slots=True)
class Owned:
    """One folder that an object has rendered. `overrides` are fields of an outer kustomization.

    `tool` is kustomize, helm, jsonnet or plain: files (`files`) that are objects as they stand. `cluster` is where the
    owner sends them, empty for its own. `substitute` are Flux's variables; None: nothing is substituted.
    """

    owner: Declaration
    tool: str
    path: str
    namespace: str = ""
    release: str = ""
    values: tuple[str, ...] = ()
    inline: tuple[Mapping[str, Any], ...] = ()
    parameters: tuple[tuple[str, str, bool], ...] = ()
    file_parameters: tuple[tuple[str, str], ...] = ()
    crds: bool = True
    defaults: bool = True
    """Whether the chart's own values.yaml counts, below all others."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    components: tuple[str, ...] = ()
    synthetic: Mapping[str, Any] | None = None
    files: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    substitute: Mapping[str, str] | None = None
    cluster: str = ""
    mount: Mount | None = None
    """What was fetched and holds the folder; None for a folder of the tree."""

    @property
    def scene(self) -> str:
        """Where its objects belong: with the owner, or in the cluster that it names."""
        return "@".join(part for part in (self.owner.scene, self.cluster) if part)


def documents(item: Declaration, pointer: str, text: str) -> Iterator[Mapping[str, Any]]:
    """A text of values, read by our own rules: what is handed to Helm is a value and not a text of a stranger."""
    where = str(item.locate(pointer))
    try:
        for root in yaml_nodes.compose(text, where):
            value = Reader(where).read(root).value
            if isinstance(value, Mapping):
                yield value
    except DeclarationError as error:
        raise refused(item, pointer, f"these values cannot be read: {error.message}", error.hint) from error


def only(item: Declaration, pointer: str, given: Mapping[str, Any], known: set[str]) -> None:
    """Refuse what is said and not known: a picture that leaves out a patch is a wrong picture."""
    for name, value in given.items():
        if name not in known and value not in (None, "", [], {}, False):
            raise refused(
                item, f"{pointer}/{name}", f"{name} is not followed here", "say it in a kustomization or in values"
            )


def refused(item: Declaration, pointer: str, message: str, hint: str = "") -> DeclarationError:
    """The error at the place of a field."""
    return DeclarationError(f"{item.ref}: {message}", where=str(item.locate(pointer)), hint=hint)


def local(path: Any) -> str | None:
    """A path of the tree, normalised; None for one that leads out of it."""
    if not isinstance(path, str) or "://" in path:
        return None
    place = posixpath.normpath(path.lstrip("/") or ".")
    return None if place == ".." or place.startswith("../") else "" if place == "." else place


def is_whole(item: Declaration, pointer: str, folder: str, files: Mapping[str, bytes]) -> None:
    """That a folder is one of this tree: Argo CD goes where a link leads, and into submodules, and nobody judges that.

    Raises DeclarationError, at the field.
    """
    parts = folder.split("/") if folder else []
    for name in ("/".join(parts[:count]) for count in range(1, len(parts) + 1)):
        if name in files:
            raise refused(
                item, pointer, f"{name[:200]} is no folder of this tree, but a link, a submodule or a file", _AS_FILES
            )


_AS_FILES = "commit the files themselves, and name their folder"


def without_submodules(item: Declaration, pointer: str, folder: str, files: Mapping[str, bytes]) -> None:
    """That no folder below is a submodule, as far as that is known. Raises DeclarationError, at the field."""
    inner = [name for name in submodules(files) if lies_in(name, folder)]
    if inner:
        raise refused(item, pointer, f"{inner[0][:200]} is a submodule, and what it holds is not judged", _AS_FILES)


def of_tree(path: Any) -> str | None:
    """A path as `local` has it; None for where what was fetched is seen: no folder of the tree passes for it."""
    place = local(path)
    return None if place is not None and lies_in(place, FETCHED) else place


def joined(folder: str, name: str) -> str:
    """Two parts of a path, normalised."""
    return posixpath.normpath(posixpath.join(folder, name))


def lies_in(name: str, folder: str) -> bool:
    """Whether a file lies in a folder of the tree; the root is the empty text."""
    return folder in ("", name) or name.startswith(folder + "/")


def text(value: Any) -> str:
    """A text; empty for what is none."""
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping; empty for what is none."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """A list; empty for what is none."""
    return value if isinstance(value, list) else []
