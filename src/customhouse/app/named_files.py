"""Files that a person names on the command line, as a source of Declarations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from customhouse.app.configuration import FILE
from customhouse.core.errors import SourceError, UsageError

MAX_FILE = 4 * 1024 * 1024
MAX_FILES = 100_000


class NamedFiles(Mapping[str, bytes]):
    """Files and folders of the file system as a SourceTree. Bytes are read when asked for.

    Names are relative to the working directory. What a person names is meant, also where it is hidden or lies elsewhere
    (`../models`, `/srv/.checkout/models`): only below it are hidden files left out. Raises UsageError when there is
    nothing at a path, or two paths give files of the same name; asking for a link or a large file raises SourceError.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._places: dict[str, Path] = {}
        for given in paths:
            place = Path(given)
            if not place.exists():
                raise UsageError(f"there is nothing at {given}")
            shown = _shown(place)
            if place.is_file():
                self._add(shown or place.name.lstrip("."), place)
                continue
            for file in sorted(_below(place)):
                name = "/".join([*([shown] if shown else []), file.relative_to(place).as_posix()])
                # The rules of another repository are no Declaration; `--config` names those that judge here.
                if name == FILE or file.name != FILE:
                    self._add(name, file)

    def _add(self, name: str, place: Path) -> None:
        known = self._places.setdefault(name, place)
        if known != place and not known.samefile(place):
            raise UsageError(
                f"{known} and {place} would both be called {name}", hint="name them in two runs, or their common folder"
            )
        if len(self._places) > MAX_FILES:
            raise UsageError(f"more than {MAX_FILES} files", hint="name fewer folders")

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: str) -> bytes:
        place = self._places[name]
        if place.is_symlink():
            raise SourceError("a link is not read", where=name, hint="name the file that it leads to")
        with place.open("rb") as handle:
            data = handle.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise SourceError("a file over 4 MiB is not read", where=name, hint="split it, or move it elsewhere")
        return data

    # A SourceTree of one state
    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        """Those whose names begin with `prefix`."""
        if not prefix:
            return self
        return {name: self[name] for name in self if name.startswith(prefix)}

    def read(self, rev: str, path: str) -> bytes | None:
        """One file, None when it was not named."""
        return self[path] if path in self._places else None


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        # .evidence is hidden from rendering and wanted by the gate; a repository and a state directory hold no source.
        folders[:] = sorted(name for name in folders if name not in (".git", ".customhouse"))
        yield from (Path(root, name) for name in files if Path(root, name).is_file())


def _shown(place: Path) -> str:
    """The name of an argument: relative to the working directory, cut after its last hidden part."""
    whole = Path(os.path.abspath(place))
    here = Path.cwd()
    parts = (whole.relative_to(here) if whole.is_relative_to(here) else whole.relative_to(whole.anchor)).parts
    hidden = [index for index, part in enumerate(parts) if part.startswith(".")]
    return "/".join(parts[hidden[-1] + 1 :] if hidden else parts)
