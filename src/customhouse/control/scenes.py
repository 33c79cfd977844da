"""Scenes: which files of a tree belong to a cluster of their own, so that two of them may declare the same object.

1. A folder that customhouse.yaml names under `scenes`.
2. A folder that `flux bootstrap` wrote: its `flux-system` has gotk-sync.yaml or gotk-components.yaml.

Rendered roots and what Applications send to clusters get theirs from `rendering_tree`; whether scenes matter at all is
decided where all objects are known (`render.as_declarations`): only where two of them differ about an object.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration

_BOOTSTRAP = ("/flux-system/gotk-sync.yaml", "/flux-system/gotk-components.yaml")


class Scenes:
    """The scene of each file; `named` are folders with the names of their scenes."""

    def __init__(self, names: Iterable[str], named: Mapping[str, str]) -> None:
        folders = {name[: -len(end)]: name[: -len(end)] for name in names for end in _BOOTSTRAP if name.endswith(end)}
        self._folders = {**folders, **{folder.strip("/"): scene for folder, scene in named.items()}}

    def of(self, name: str) -> str:
        """The scene of a file: that of the innermost folder that has one; empty for none."""
        if not self._folders:
            return ""
        folder = posixpath.dirname(name)
        while folder:
            if folder in self._folders:
                return self._folders[folder]
            folder = posixpath.dirname(folder)
        return self._folders.get("", "")


def target_of(scene: str, targets: Collection[str]) -> str:
    """Which of several targets a scene belongs to: the cluster that it names (`…@cluster`), else the folder's."""
    folder, _, cluster = scene.rpartition("@")
    return next((name for name in (cluster, folder, scene) if name and name in targets), "")


def aligned(
    one: Collection[Declaration], other: Collection[Declaration]
) -> tuple[tuple[Declaration, ...], tuple[Declaration, ...]]:
    """Two states of one tree, with the scenes apart in both that are apart in either.

    An overlay that is new beside another one then is a new object, and the other one's objects stay what they were.
    """
    apart = {item.ref.scene for side in (one, other) for item in side if item.ref.scene}

    def placed(item: Declaration) -> Declaration:
        if item.scene not in apart or item.ref.scene:
            return item
        return replace(item, ref=replace(item.ref, scene=item.scene))

    if not apart:
        return tuple(one), tuple(other)
    return tuple(map(placed, one)), tuple(map(placed, other))


def by_scene(declared: Collection[Declaration], *, all_for_none: bool = False) -> Mapping[str, tuple[Declaration, ...]]:
    """What stands beside an object of each scene: the objects of the scene, and those that are in none.

    Beside an object that is in none stand the others of its kind; with `all_for_none` all there are (for prices: an
    autoscaler in a scene may be meant for it).
    """
    scenes = {item.ref.scene for item in declared} | {""}
    if len(scenes) == 1:
        return {"": tuple(declared)}
    found = {scene: tuple(item for item in declared if item.ref.scene in (scene, "")) for scene in sorted(scenes)}
    return {**found, "": tuple(declared)} if all_for_none else found


def of_one_scene(declared: tuple[Declaration, ...]) -> tuple[Declaration, ...]:
    """The same; a target has one object of a name. Raises DeclarationError where scenes are apart."""
    found = next((item for item in declared if item.ref.scene), None)
    if found is None:
        return declared
    names = sorted({item.ref.scene for item in declared if item.ref.scene})
    raise DeclarationError(
        f"{found.ref} is declared otherwise elsewhere: {', '.join(names[:5])} are scenes of their own, and a target "
        "has one of them",
        where=str(found.location),
        hint="name the folders of this target's cluster under `paths` in customhouse.yaml",
    )
