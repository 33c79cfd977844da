"""Whether the branches of a repository on this machine may have moved, without starting git."""

from __future__ import annotations

import os
from pathlib import Path

_MOST = 10_000
"""Branches; with more of them git is asked instead."""

Picture = tuple[tuple[str, int, int, int], ...]
"""Name, inode, time of change (ns) and size of each file that says where a branch is."""


def picture(location: str) -> Picture | None:
    """Where the branches of the repository at a path stand; None when that cannot be told from files.

    Git replaces these files by renaming, so each move gives another inode or time. Two pictures that are equal and
    not None mean that no branch moved between them.
    """
    folder = _folder(location)
    if folder is None:
        return None
    found: list[tuple[str, int, int, int]] = []
    try:
        for name in ("HEAD", "packed-refs", "reftable/tables.list"):
            _add(found, folder / name)
        for place, _, files in os.walk(folder / "refs" / "heads"):
            for name in files:
                if not name.endswith(".lock"):
                    _add(found, Path(place) / name)
            if len(found) > _MOST:
                return None
    except OSError:
        return None
    return tuple(sorted(found))


def _folder(location: str) -> Path | None:
    if "://" in location:
        return None
    root = Path(location)
    for folder in (root / ".git", root):
        # A linked work tree (a `.git` file, a `commondir`) keeps its branches elsewhere.
        if (folder / "HEAD").is_file() and (folder / "objects").is_dir() and not (folder / "commondir").exists():
            return folder
    return None


def _add(found: list[tuple[str, int, int, int]], place: Path) -> None:
    try:
        status = place.stat()
    except FileNotFoundError:
        return
    found.append((str(place), status.st_ino, status.st_mtime_ns, status.st_size))
