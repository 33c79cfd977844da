"""Declared: the Declarations of a revision, rendered, and their labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias
from weakref import WeakKeyDictionary

from customhouse.app import wiring, wiring_outside
from customhouse.app.configuration import FILE, Configuration
from customhouse.app.governance import read_configuration, set_aside
from customhouse.app.sources import SourceTree
from customhouse.app.surroundings import surroundings
from customhouse.control.lockfile import LOCK, read_lock
from customhouse.control.outside import Outside
from customhouse.control.rendering import RenderEntry, Sight
from customhouse.control.rendering_memory import Readings
from customhouse.control.rendering_tree import render_tree
from customhouse.core.resource import Declaration

_READINGS: WeakKeyDictionary[SourceTree, Readings] = WeakKeyDictionary()
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_Last: TypeAlias = tuple[tuple[str, tuple[str, ...], tuple[RenderEntry, ...]], tuple[Declaration, ...]]
_LAST: WeakKeyDictionary[SourceTree, _Last] = WeakKeyDictionary()
"""What was declared by the commit that was asked about last, and by what it was asked: who judges a commit and who
takes it over ask the same."""


def declarations_of(
    tree: SourceTree,
    revision: str,
    paths: Sequence[str],
    entries: Sequence[RenderEntry] = (),
    sight: Sight | None = None,
    *,
    trusted: Sequence[str] | None = None,
    outside: Outside | None = None,
) -> tuple[Declaration, ...]:
    """The Declarations of a revision, in the folders that the base configuration names (none named: everywhere).

    Kustomizations, charts and what else customhouse.yaml names under `render` come as the real programs render them.
    `entries` are those of the base: a change cannot take a root out of sight by no longer naming it.
    `sight` is filled with what was looked at. What a registry has is what the revision names by digest, from registries
    that it trusts; `trusted` are those that who judges it trusts, and from no other one anything is fetched;
    `outside` is what there is instead.
    """
    files = surroundings(tree.files(revision))
    data = tree.read(revision, FILE)
    own = None if data is None else read_configuration(data)
    given, outside = outside, outside or _outside(tree, revision, own, trusted)
    every = _entries(() if own is None else own.render, entries, files)
    asked = (revision, tuple(paths), every) if _COMMIT.fullmatch(revision) and given is None else None
    if asked is not None and sight is None and (known := _last_of(tree)) is not None and known[0] == asked:
        return known[1]
    declared = render_tree(
        files,
        wiring.renderer(),
        folders=paths,
        aside=set_aside(tree, revision),
        entries=every,
        sight=sight,
        # Which folders are for which cluster is told by the revision itself: it is never less that is judged.
        scenes={} if own is None else own.scenes,
        targets=() if own is None else tuple(own.targets),
        readings=_readings_of(tree),
        outside=outside,
    )
    if sight is not None:
        sight.fetched = outside.fetched
    # What a registry has is asked for under the trust of who asks: only what asked for nothing is the same for all.
    if asked is not None and not outside.asked:
        with suppress(TypeError):
            _LAST[tree] = (asked, declared)
    return declared


def _last_of(tree: SourceTree) -> _Last | None:
    try:
        return _LAST.get(tree)
    except TypeError:  # one that nobody can refer to weakly
        return None


def _outside(tree: SourceTree, revision: str, own: Configuration | None, trusted: Sequence[str] | None) -> Outside:
    """What a revision has from elsewhere: by its own lock file, and from registries that it trusts itself.

    So it is the same whoever asks; that a change brings a registry along is found by who judges it.
    """
    lock = tree.read(revision, LOCK)
    known = {} if lock is None else read_lock(lock)
    return Outside(known, () if own is None else own.trusted_registries, wiring_outside.fetcher, trusted)


def require_placed(tree: SourceTree, revision: str, declared: Sequence[Declaration]) -> None:
    """Raise DeclarationError for what is for none of the several targets that a revision names."""
    data = tree.read(revision, FILE)
    if data is not None and b"targets" in data:
        read_configuration(data).placing.checked(declared)


def _readings_of(tree: SourceTree) -> Readings | None:
    """What a repository's files read to is kept as long as who reads it; what a folder holds may change under it."""
    try:
        return _READINGS.setdefault(tree, Readings())
    except TypeError:  # one that nobody can refer to weakly
        return None


def _entries(
    own: Sequence[RenderEntry], base: Sequence[RenderEntry], files: Mapping[str, bytes]
) -> tuple[RenderEntry, ...]:
    """Those of the revision, then those of the base at places that the revision still has and does not name."""
    named = {(entry.path, entry.release) for entry in own}
    left = [entry for entry in base if (entry.path, entry.release) not in named]
    present = tuple(files) if left else ()
    return (*own, *(entry for entry in left if _is_there(entry.path.strip("/"), present)))


def _is_there(path: str, names: Sequence[str]) -> bool:
    return path in ("", ".") or any(name == path or name.startswith(path + "/") for name in names)


def labels_of(declaration: Declaration) -> Mapping[str, str]:
    """The labels of a Declaration as text."""
    return {str(key): str(value) for key, value in (declaration.manifest["metadata"].get("labels") or {}).items()}
