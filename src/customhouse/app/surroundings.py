"""What lies around the files that a person names: an overlay alone is nothing, its bases are part of it.

Only inside the same Git work tree, only what is asked for by name, no links and nothing hidden. Where there is no work
tree, nothing lies around.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from customhouse._kit.reading import open_regular
from customhouse.app.named_files import MAX_FILE, NamedFiles


def surroundings(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The files of a tree; of named files also those that they may refer to, which are found but not listed."""
    return _Surroundings(files) if isinstance(files, NamedFiles) else files


class _Surroundings(Mapping[str, bytes]):
    def __init__(self, named: NamedFiles) -> None:
        self._named = named
        self._bases: dict[Path, Path | None] | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def __contains__(self, name: object) -> bool:
        return name in self._named or (isinstance(name, str) and self._place(name) is not None)

    def __getitem__(self, name: str) -> bytes:
        if name in self._named:
            return self._named[name]
        place = self._place(name)
        if place is None:
            raise KeyError(name)
        with open_regular(place) as handle:
            return handle.read(MAX_FILE + 1)

    def _place(self, name: str) -> Path | None:
        if self._bases is None:
            self._bases = {}
            for folder, base in self._named.bases():
                if base not in self._bases:
                    self._bases[base] = _work_tree(folder)
        for base, root in self._bases.items():
            place = base / name
            if root is None or not name or ".." in place.parts or not place.is_relative_to(root):
                continue
            inner = place.relative_to(root)
            if any(part.startswith(".") for part in inner.parts):
                continue
            if any((root / parent).is_symlink() for parent in (inner, *inner.parents)) or not place.is_file():
                continue
            return place
        return None


def _work_tree(folder: Path) -> Path | None:
    return next((above for above in (folder, *folder.parents) if (above / ".git").exists()), None)
