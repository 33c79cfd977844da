"""What the layers leave, one upon the other: whiteouts, opaque folders, links and replacements applied as runtimes do.

OCI Image Specification v1.1, layer.md. Links are followed inside of the image alone. What runtimes do differently from
one another is named (`odd`), and then the reading that hides less is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from customhouse.trust.images.bounds import LayerError
from customhouse.trust.images.layer import Layer
from customhouse.trust.images.tar_entries import Entry

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
_MAX_LINKS = 40
"""As the kernel: more links in one path are a circle."""
_MAX_ODD = 100
STEPS, FOLDERS = 300_000_000, 2_000_000

Mark = tuple[int, int]
"""A layer's number and an entry's number in it: where the bytes of a file come from."""


@dataclass(slots=True)
class Node:
    """A file, folder or link of the whole image. `inside` is set for folders; `mark` of where its bytes are."""

    kind: str
    mark: Mark
    link: str = ""
    inside: dict[str, Node] | None = None
    mode: int = 0


@dataclass(slots=True)
class Merged:
    """The image as it starts."""

    root: Node
    hidden: dict[Mark, int] = field(default_factory=dict)
    """Files that a later layer hides, to that layer's number."""
    odd: list[str] = field(default_factory=list)
    steps: int = STEPS
    """Parts of paths that may still be walked: links can make a short path a long way."""
    folders: int = FOLDERS
    """Folders that may still be made: of one long name there are many."""

    def spend(self) -> None:
        """Raises LayerError when the way is too long."""
        self.steps -= 1
        if self.steps < 0:
            raise LayerError("its paths and links lead further than is followed", hint="no builder makes such an image")

    def find(self, path: str, *, follow: bool = True) -> Node | None:
        """The node at a path, links followed (the last one too, with `follow`)."""
        found = _walk(self, path.split("/"), follow=follow)
        return None if found is None else found[0]

    def canonical(self, path: str) -> str:
        """The path without links; empty when nothing is there."""
        found = _walk(self, path.split("/"), follow=True)
        return "" if found is None else "/".join(found[1])

    def files(self) -> Iterator[tuple[str, Node]]:
        """Every node that is no folder, with its path, in the order of names."""
        stack: list[tuple[str, Node]] = [("", self.root)]
        while stack:
            path, node = stack.pop()
            if node.inside is None:
                yield path, node
                continue
            start = f"{path}/" if path else ""
            stack.extend((start + name, node.inside[name]) for name in sorted(node.inside, reverse=True))


def merged(layers: Sequence[Layer | None], *, steps: int = STEPS, folders: int = FOLDERS) -> Merged:
    """Apply layers in their order; None stands for one that could not be read.

    Raises LayerError for paths and links that no image has.
    """
    image = Merged(_folder((-1, -1)), steps=steps, folders=folders)
    for number, layer in enumerate(layers):
        if layer is not None:
            _Applied(image, number).apply(layer.entries)
    return image


class _Applied:
    """One layer on top of what is there."""

    def __init__(self, image: Merged, number: int) -> None:
        self._image, self._number = image, number

    def apply(self, entries: Sequence[Entry]) -> None:
        """Whiteouts first: they are about the layers below, wherever in the archive they stand."""
        own: set[str] = set()
        for entry in entries:
            folder, _, name = entry.path.rpartition("/")
            if entry.odd:
                self._odd(f"{entry.path[:200]!r} {entry.odd}")
            elif name == OPAQUE:
                self._empty(folder)
            elif name.startswith(WHITEOUT) and not name.startswith(WHITEOUT + WHITEOUT):
                own.add(f"{folder}/{name.removeprefix(WHITEOUT)}".lstrip("/"))
                self._remove(folder, name.removeprefix(WHITEOUT))
        for index, entry in enumerate(entries):
            name = entry.path.rpartition("/")[2]
            if entry.odd or name.startswith(WHITEOUT):
                continue
            if entry.path in own and entry.kind != "d":
                self._odd(f"{entry.path[:200]!r} is brought and deleted by the same layer; runtimes differ")
            self._put(entry, (self._number, index))

    def _empty(self, folder: str) -> None:
        node = self._image.find(folder) if folder else self._image.root
        if node is not None and node.inside is not None:
            for child in node.inside.values():
                self._hide(child)
            node.inside.clear()

    def _remove(self, folder: str, name: str) -> None:
        node = self._image.find(folder) if folder else self._image.root
        if node is not None and node.inside is not None and name in node.inside:
            self._hide(node.inside.pop(name))

    def _put(self, entry: Entry, mark: Mark) -> None:
        if not entry.path:
            return  # the root itself
        *folders, name = entry.path.split("/")
        place = self._made(folders, mark)
        if place is None or place.inside is None:
            self._odd(f"{entry.path[:200]!r} lies below something that is no folder")
            return
        before = place.inside.get(name)
        node = self._node(entry, mark)
        if node is None:
            self._odd(f"{entry.path[:200]!r} is a second name of {entry.link[:200]!r}, which is not there")
            return
        if before is not None and before.inside is not None and node.inside is not None:
            before.mode = node.mode
            return
        if before is not None and before.mark != node.mark:
            self._hide(before)
        place.inside[name] = node

    def _node(self, entry: Entry, mark: Mark) -> Node | None:
        if entry.kind == "d":
            return _folder(mark, entry.mode)
        if entry.kind == "h":
            folder, _, name = entry.link.rpartition("/")
            place = self._image.find(folder) if folder else self._image.root
            target = None if place is None or place.inside is None else place.inside.get(name)
            if target is None or target.inside is not None:
                return None
            return Node(target.kind, target.mark, target.link, None, target.mode)
        return Node(entry.kind, mark, entry.link if entry.kind == "l" else "", None, entry.mode)

    def _made(self, folders: Sequence[str], mark: Mark) -> Node | None:
        """The folder, made where it is missing, as runtimes do; links on the way are followed."""
        node = self._image.root
        for index, name in enumerate(folders):
            if node.inside is None:
                return None
            self._image.spend()
            following = node.inside.get(name)
            if following is None:
                self._image.folders -= 1
                if self._image.folders < 0:
                    raise LayerError("it has more folders than are read", hint="no builder makes such an image")
                following = node.inside[name] = _folder(mark)
            if following.kind == "l":
                found = _walk(self._image, folders[: index + 1], follow=True)
                if found is None:
                    return None
                following = found[0]
            node = following
        return node

    def _hide(self, node: Node) -> None:
        stack = [node]
        while stack:
            one = stack.pop()
            if one.inside is not None:
                stack.extend(one.inside.values())
            elif one.kind == "f":
                self._image.hidden.setdefault(one.mark, self._number)

    def _odd(self, text: str) -> None:
        if len(self._image.odd) < _MAX_ODD:
            self._image.odd.append(f"layer {self._number + 1}: {text}")


def _folder(mark: Mark, mode: int = 0) -> Node:
    return Node("d", mark, "", {}, mode)


def _walk(image: Merged, parts: Sequence[str], *, follow: bool) -> tuple[Node, list[str]] | None:
    """The node at a path and the path without links."""
    pending = [part for part in reversed(parts) if part not in ("", ".")]
    way: list[tuple[str, Node]] = []
    root = image.root
    node, links = root, 0
    while pending:
        name = pending.pop()
        image.spend()
        if name == "..":
            if way:
                way.pop()
            node = way[-1][1] if way else root
            continue
        if node.inside is None or name not in node.inside:
            return None
        following = node.inside[name]
        if following.kind == "l" and (pending or follow):
            links += 1
            if links > _MAX_LINKS:
                return None
            if following.link.startswith("/"):
                way, node = [], root
            pending.extend(part for part in reversed(following.link.split("/")) if part not in ("", "."))
            continue
        way.append((name, following))
        node = following
    return node, [name for name, _ in way]


def live_marks(image: Merged) -> Mapping[Mark, str]:
    """Where the bytes of files that are there come from, to the first path that they have."""
    found: dict[Mark, str] = {}
    for path, node in image.files():
        if node.kind == "f":
            found.setdefault(node.mark, path)
    return found
