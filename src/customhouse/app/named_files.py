"""Files that a person names on the command line, as a source of Declarations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from customhouse.app.configuration import FILE
from customhouse.core.errors import SourceError, UsageError

MAX_FILE = 4 * 1024 * 1024
MAX_FILES = 100_000
STDIN = "-"
STDIN_NAME = "stdin.yaml"
"""What findings in standard input are said to be in; JSON is read as the YAML that it is."""
_SUFFIXES = (".yaml", ".yml", ".json")
_OTHERS = ("Kustomization",)


class NamedFiles(Mapping[str, bytes]):
    """Files and folders of the file system as a SourceTree. Bytes are read when asked for.

    Names are relative to the working directory. What a person names is meant, also where it is hidden or lies elsewhere
    (`../models`, `/srv/.checkout/models`): only below it are hidden files left out. Raises UsageError when there is
    nothing at a path, or two paths give files of the same name; asking for a link or a large file raises SourceError.
    """

    def __init__(self, paths: Sequence[str], stdin: BinaryIO | None = None) -> None:
        self._places: dict[str, Path] = {}
        self._given: dict[str, bytes] = {}
        for given in paths:
            if given == STDIN:
                self._read(stdin)
                continue
            place = Path(given)
            if not place.exists():
                raise UsageError(f"there is nothing at {given}")
            shown = _shown(place)
            if place.is_file():
                if place.suffix not in _SUFFIXES and place.name not in _OTHERS:
                    raise UsageError(
                        f"{given} would not be read: Declarations are in {', '.join(_SUFFIXES)} files",
                        hint="rename it, or pipe it in: `customhouse gate -` reads YAML and JSON",
                    )
                self._add(shown or place.name.lstrip("."), place)
                continue
            if not place.is_dir():  # a pipe (`<(helm template .)`), a device: walked like a folder it would be empty
                raise UsageError(f"{given} is neither a file nor a folder", hint="pipe it in: `customhouse gate -`")
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

    @classmethod
    def rooted(cls, folder: str) -> NamedFiles:
        """A folder that stands for a whole repository: names are relative to it, its customhouse.yaml is the root's."""
        root = Path(folder)
        files = cls(())
        for file in sorted(_below(root)):
            name = file.relative_to(root).as_posix()
            if name == FILE or file.name != FILE:
                files._add(name, file)
        return files

    def _read(self, stdin: BinaryIO | None) -> None:
        if stdin is None:
            raise UsageError("standard input is not read here")
        if STDIN_NAME in self._given:
            raise UsageError("standard input can be read once")
        data = stdin.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise SourceError("more than 4 MiB are not read", where="stdin", hint="write files, and name their folder")
        if not data.strip():
            # A pipe whose first program failed gives nothing, and nothing would be allowed.
            raise SourceError("standard input is empty", where="stdin", hint="look at the program before the pipe")
        self._given[STDIN_NAME] = data

    def bases(self) -> Iterator[tuple[Path, Path]]:
        """Each folder that holds a named file, and the folder in which that file's name begins."""
        seen = set()
        for name, place in self._places.items():
            whole = os.path.abspath(place)
            if (folder := os.path.dirname(whole)) not in seen and whole.endswith("/" + name):
                seen.add(folder)
                yield Path(folder), Path(whole[: -len(name)])

    def __iter__(self) -> Iterator[str]:
        return iter((*self._given, *self._places))

    def __len__(self) -> int:
        return len(self._given) + len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._given or name in self._places  # Mapping's own would read the file

    def __getitem__(self, name: str) -> bytes:
        if name in self._given:
            return self._given[name]
        place = self._places[name]
        if place.is_symlink():
            raise SourceError("a link is not read", where=name, hint="name the file that it leads to")
        with place.open("rb") as handle:
            data = handle.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise SourceError("a file over 4 MiB is not read", where=name, hint="split it, or move it elsewhere")
        return data

    def size(self, path: str) -> int:
        """How many bytes a file has; 0 for a link."""
        place = self._places.get(path)
        return 0 if place is None or place.is_symlink() else place.stat().st_size

    # A SourceTree of one state
    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        """Those whose names begin with `prefix`."""
        if not prefix:
            return self
        return {name: self[name] for name in self if name.startswith(prefix)}

    def read(self, rev: str, path: str) -> bytes | None:
        """One file, None when it was not named."""
        return self[path] if path in self._places or path in self._given else None


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
