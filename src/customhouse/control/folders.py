"""A tree's files by folder: what thousands of Applications ask for must not be looked for among all files each time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

_SUBMODULE = "160000"


class _Named(Protocol):
    @property
    def path(self) -> str: ...

    @property
    def mode(self) -> str: ...


@runtime_checkable
class _OfGit(Protocol):
    @property
    def refused(self) -> Sequence[_Named]: ...


class Folders(Mapping[str, bytes]):
    """The same files; `below` finds those of a folder at once."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._sorted: list[str] | None = None
        self._submodules: tuple[str, ...] | None = None

    def __getitem__(self, name: str) -> bytes:
        return self._files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def below(self, folder: str) -> list[str]:
        """The files in a folder and below it, sorted; the root of the tree is the empty text."""
        if self._sorted is None:
            self._sorted = sorted(self._files)
        if not folder:
            return self._sorted
        start = bisect_left(self._sorted, folder + "/")
        end = bisect_left(self._sorted, folder + "0", start)  # the character after the slash
        found = self._sorted[start:end]
        return [folder, *found] if folder in self._files else found

    @property
    def submodules(self) -> tuple[str, ...]:
        """Folders that are other repositories, where the files are those of a commit."""
        if self._submodules is None:
            self._submodules = submodules(self._files)
        return self._submodules


def submodules(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The folders of a commit that are other repositories; none where that is not known (files of a folder)."""
    if isinstance(files, Folders):
        return files.submodules
    found = files.refused if isinstance(files, _OfGit) else ()
    return tuple(one.path for one in found if one.mode == _SUBMODULE)


def files_below(files: Mapping[str, bytes], folder: str) -> list[str]:
    """The files in a folder and below it, sorted."""
    if isinstance(files, Folders):
        return files.below(folder)
    return sorted(name for name in files if folder in ("", name) or name.startswith(folder + "/"))
