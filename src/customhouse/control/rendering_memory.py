"""What plain files read to, kept from one revision to the next: a revision costs as much as it changes.

A file is known by its path and by what names its content (`identity`: Git's blob id). Both say all that reading it
depends on; a tree that cannot name contents (bare files, a work tree) is read anew each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

from customhouse._kit import progress
from customhouse.control.render import Found, read_file
from customhouse.control.yaml_nodes import LIMITS

_SPARE = 1_000
"""Readings more than the last two revisions need that may lie around before they are looked through."""

Reading = tuple[tuple[Found, ...], bool]
"""The objects of a file as it stands, and whether all its documents are objects (`render.read_file`)."""

_Key = tuple[str, str]
"""Path, and what names the content."""


@runtime_checkable
class Identified(Protocol):
    """A tree whose contents have names."""

    def identity(self, path: str) -> str:
        """What names the content of a file; empty for what is not given out."""

    def only(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """Some of the files: what is asked for then fetches no others along."""


def read_one(files: Mapping[str, bytes], name: str) -> Reading:
    """What one file reads to. Raises DeclarationError."""
    found, complete = read_file(name, files[name], LIMITS, partial(files.__getitem__, name))
    return tuple(found), complete


class Readings:
    """Belongs to who renders revisions of one repository, one after another. What is kept is never altered."""

    def __init__(self) -> None:
        self._known: dict[_Key, Reading] = {}
        self._used: frozenset[_Key] = frozenset()

    def of(self, files: Mapping[str, bytes], names: Sequence[str]) -> Iterator[tuple[str, Reading]]:
        """What each of these files of a tree reads to, in their order. Raises DeclarationError for one that cannot be.

        It is kept when all could be read; what neither this tree nor the one before has is forgotten in time.
        """
        keys: dict[str, _Key] = {}
        if isinstance(files, Identified):
            keys = {name: (name, named) for name in names if (named := files.identity(name))}
            unknown = [name for name in names if keys.get(name) not in self._known]
            if len(unknown) < len(names):
                files = files.only(unknown)
        made: dict[_Key, Reading] = {}
        for number, name in enumerate(names):
            progress.tell("reading", number, len(names))
            key = keys.get(name)
            reading = None if key is None else self._known.get(key)
            if reading is None:
                reading = read_one(files, name)
                if key is not None:
                    made[key] = reading
            yield name, reading
        used = frozenset(keys.values())
        self._known = {**self._known, **made}
        if len(self._known) > len(used | self._used) + _SPARE:
            self._known = {key: self._known[key] for key in used | self._used if key in self._known}
        self._used = used
