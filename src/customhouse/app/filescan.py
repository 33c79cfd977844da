"""The files of a change that are no Declarations: what they hold, and what of them nobody judges.

Only what differs from the base is looked at, and of a file no more than 4 MiB, of all of them no more than MAX_SCANNED.
What is found is one object (kind RepositoryFiles), judged like any other; nothing that is found is repeated.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

from customhouse._kit.digest import bytes_digest
from customhouse.app.configuration import FILE
from customhouse.control.owners import PLACES as OWNERS
from customhouse.control.render import is_visible
from customhouse.control.rendering import CHART, Sight, within
from customhouse.control.rendering_kustomize import NAMES, Forest
from customhouse.core.errors import CannotDecideError, DeclarationError, SourceError
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.policy.personal import MAX_TEXT
from customhouse.policy.repository_files import API_VERSION, KIND, NAME, FoundFile, as_manifest, inspect

MAX_SCANNED = 256 * 1024 * 1024
"""Bytes that are looked at in one question: half a minute of work."""
_COMMENT = re.compile(r"(?m)(?:^|\s)#.*$")
_OBJECT = (re.compile(rb"\bapiVersion[\"']?\s*:"), re.compile(rb"\bkind[\"']?\s*:"))
_DECLARING = (".yaml", ".yml", ".json", ".jsonnet")
_PROSE = (".md", ".rst", ".adoc", ".html", ".py", ".go", ".sh")


class _Entry(Protocol):
    @property
    def object_id(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def size(self) -> int: ...


@runtime_checkable
class _Addressed(Protocol):
    """Files of a Git revision: what they are is known without reading them."""

    def entry(self, path: str) -> _Entry: ...
    def only(self, paths: Collection[str]) -> Self: ...


@runtime_checkable
class _Sized(Protocol):
    """Files of a file system: how long they are is known without reading them; 0 for what is no plain file."""

    def size(self, path: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Before:
    """What the changes start from: its files, and what of them was judged how. None there for a first state."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    sight: Sight = field(default_factory=Sight)
    known: bool = False
    """Whether there is such a state at all."""


def repository_files(
    before: Before,
    files: Mapping[str, bytes],
    sight: Sight,
    *,
    paths: Collection[str] = (),
    governed: Collection[str] = (),
) -> Declaration | None:
    """One object for all that is wrong with the files that a change touches; None when nothing is.

    `paths` are the folders in which objects are declared (none: everywhere), `governed` the files that customhouse.yaml
    names. Raises CannotDecideError for more than can be looked at, SourceError for a file that cannot be read.
    """
    found = tuple(_Scan(before, files, sight, [path.strip("/") for path in paths], {FILE, *OWNERS, *governed}).found())
    manifest = as_manifest(found)
    if manifest is None:
        return None
    rows = manifest["spec"]["files"]
    marks = {f"/spec/files/{index}": _place(row["path"], found) for index, row in enumerate(rows)}
    return Declaration(ResourceRef(API_VERSION, KIND, "", NAME), manifest, next(iter(marks.values())), marks)


def _place(path: str, found: Collection[FoundFile]) -> Location:
    line = next((item.line for item in found if item.path == path and item.line), 1)
    return Location(path, line)


class _Scan:
    def __init__(
        self,
        before: Before,
        files: Mapping[str, bytes],
        sight: Sight,
        paths: Collection[str],
        governed: Collection[str],
    ) -> None:
        self._before, self._files, self._sight = before, files, sight
        self._paths, self._governed = paths, governed
        self._read = 0

    def found(self) -> Iterator[FoundFile]:
        changed = [name for name in self._files if self._is_scanned(name) and self._differs(name)]
        content = self._files.only(changed) if isinstance(self._files, _Addressed) else self._files
        for name in changed:
            yield from self._file(name, content)
        yield from self._elsewhere(set(changed))
        yield from self._hidden(set(changed))

    def _is_scanned(self, name: str) -> bool:
        """All that a change touches; of a folder as it lies there what is visible, and is not judged anyway."""
        return self._before.known or (is_visible(name) and name not in self._sight.files)

    def _differs(self, name: str) -> bool:
        """Whether a file is not what it was before. Git's own names of contents are compared where there are any."""
        old = self._before.files
        if name not in old:
            return True
        if not isinstance(old, _Addressed):
            return self._bytes(old, name) != self._bytes(self._files, name)
        was = old.entry(name)
        if isinstance(self._files, _Addressed):
            now = self._files.entry(name)
            return (was.object_id, was.mode) != (now.object_id, now.mode)
        data = self._bytes(self._files, name)
        return data is None or _git_name(data, was.object_id) != was.object_id

    @staticmethod
    def _bytes(files: Mapping[str, bytes], name: str) -> bytes | None:
        try:
            return files[name]
        except (SourceError, OSError):
            return None

    def _file(self, name: str, content: Mapping[str, bytes]) -> Iterator[FoundFile]:
        data = self._bytes(content, name)
        if data is None:
            yield from self._unread(name)
            return
        self._read += len(data)
        if self._read > MAX_SCANNED:
            raise CannotDecideError(
                f"more than {MAX_SCANNED // 1024 // 1024} MiB of files are new or changed",
                where=name,
                hint="split the change; data belong to a data store",
            )
        if name in self._sight.files:
            # All else that a Declaration says is judged with it.
            comments = "\n".join(_COMMENT.findall(data.decode("utf-8", "replace")))
            yield from inspect(name, comments.encode()) if comments else ()
            return
        yield from inspect(name, data, own=name in self._governed)
        if self._may_declare(name) and all(pattern.search(data) for pattern in _OBJECT):
            yield FoundFile(name, "unjudged", _why(name), bytes_digest(data))

    def _unread(self, name: str) -> Iterator[FoundFile]:
        """Links, submodules, and files of more than 4 MiB."""
        mode, size, digest = "", 0, bytes_digest(name.encode())
        if isinstance(self._files, _Addressed):
            entry = self._files.entry(name)
            mode, size = entry.mode, 0 if entry.mode == "120000" else entry.size
            digest = bytes_digest(entry.object_id.encode())
        elif isinstance(self._files, _Sized):
            size = self._files.size(name)
        if size > MAX_TEXT:
            yield FoundFile(name, "data", f"a file of {size} bytes, more than can be looked at", digest)
        elif size:  # of Git alone: a backslash, a control character, or what is not UTF-8
            yield FoundFile(name, "data", "a file whose name no program shows safely, so that it is not read", digest)
        elif is_visible(name) and within(name, self._paths) and mode == "160000":
            yield FoundFile(name, "unjudged", "a submodule, whose files are not in this repository", digest)
        elif is_visible(name) and self._may_declare(name):
            yield FoundFile(name, "unjudged", "a link, or what else is no plain file; it is not followed", digest)

    def _may_declare(self, name: str) -> bool:
        """Whether somebody could take a file for a Declaration, though nobody judges it."""
        base = posixpath.basename(name)
        if not within(name, self._paths) or name in self._governed or base in (*NAMES, CHART):
            return False
        lower = base.lower()
        plain = lower.endswith(_DECLARING) or "." not in lower or ".yaml." in lower or ".yml." in lower
        return plain and not lower.endswith(_PROSE)

    def _elsewhere(self, changed: Collection[str]) -> Iterator[FoundFile]:
        """What Argo CD and Flux objects have rendered that is not here."""
        for place, what in self._sight.elsewhere:
            # What a change of another file takes away (a line of the lock file) is new too.
            new = (place, what) not in self._before.sight.elsewhere
            if not self._before.known or place.file in changed or new:
                said = f"named at line {place.line} and is not in these files: it is neither rendered nor judged"
                yield FoundFile(
                    place.file, "unjudged", f"{what[:200]} is {said}", bytes_digest(what.encode()), place.line
                )

    def _hidden(self, changed: Collection[str]) -> Iterator[FoundFile]:
        """What was judged as it stands, is still there, and is now judged with another's changes on top, or not at all.

        Whoever applies it as it stands is not asked: what then changes in it is refused.
        """
        for (tool, folder), by in self._before.sight.roots.items():
            mark = next((name for name in _marks_of(tool, folder) if name in self._files), None)
            if by or mark is None or self._sight.roots.get((tool, folder)) == "":
                continue
            owner = self._sight.roots.get((tool, folder))
            how = f"is judged only with what {owner} puts on top" if owner else "no longer is"
            touched = any(name in changed for name in self._parts(tool, folder))
            yield FoundFile(
                mark,
                "hidden" if touched else "unjudged",
                f"was judged as it stands, and {how}",
                bytes_digest(f"{tool} {folder}".encode()),
            )
        for name in sorted(self._before.sight.files - self._sight.files):
            data = self._bytes(self._files, name) if name in self._files else None
            if data is not None and name.endswith(_DECLARING) and all(one.search(data) for one in _OBJECT):
                problem = "hidden" if name in changed else "unjudged"
                yield FoundFile(name, problem, "was judged, and no longer is", bytes_digest(data))

    def _parts(self, tool: str, folder: str) -> Iterator[str]:
        """The files that a root is made of now; what cannot be read will say so where it is judged."""
        yield from (name for name in self._files if within(name, [folder]))
        if tool == "kustomize":
            with suppress(DeclarationError):
                for item in Forest(self._files).closure(folder):
                    yield from (item.file, *item.files)


def _marks_of(tool: str, folder: str) -> Iterator[str]:
    for name in NAMES if tool == "kustomize" else (CHART,):
        yield posixpath.join(folder, name)


def _why(name: str) -> str:
    if not is_visible(name):
        return "an object in a hidden folder, where none are looked for"
    if name.endswith((".yaml", ".yml", ".json")):
        return "an object that nothing here reads or refers to"
    if name.endswith(".jsonnet"):
        return "a Jsonnet file that `render` in customhouse.yaml does not name"
    return "an object in a file whose name does not end in .yaml, .yml or .json"


def _git_name(data: bytes, like: str) -> str:
    hasher = hashlib.sha1(usedforsecurity=False) if len(like) == 40 else hashlib.sha256()
    hasher.update(b"blob %d\0" % len(data))
    hasher.update(data)
    return hasher.hexdigest()
