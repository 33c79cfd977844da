"""Files of Gatekeeper and conftest: read as Kubernetes reads YAML, as documents with their place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from customhouse.app import wiring
from customhouse.app.settings import Settings
from customhouse.control.yaml_limits import decode
from customhouse.control.yaml_quick import quick_documents
from customhouse.core.errors import DeclarationError, PolicyError, SourceError, UsageError
from customhouse.policy.foreign_engine import RightEngine
from customhouse.policy.gatekeeper_template import Document

MAX_FILES = 20_000
MAX_FILE = 4 * 1024 * 1024
SUFFIXES = (".yaml", ".yml")
LIMIT_S = 30.0
"""Processor seconds of a suite, or of a slice of files; the kernel ends the process that a template holds up. They take
some milliseconds."""


def engine(settings: Settings) -> RightEngine:
    """The engine for policies of others, as `--engine` says."""
    return wiring.foreign_engine(settings)


def documents_of(data: bytes, name: str) -> tuple[Document, ...]:
    """The objects of a YAML (or JSON) file. Raises PolicyError with the place: no mapping, or not to be read."""
    found = []
    try:
        text = decode(data, name)
        quick = quick_documents(text)
        if quick is not None:
            return tuple(Document(item.value, f"{name}:{item.line}") for item in quick)
        from customhouse.control import yaml_nodes
        from customhouse.control.yaml_values import Reader  # few files need it

        reader = Reader(name)
        for root in yaml_nodes.compose(text, name):
            value = reader.read(root).value
            line = (root.target if isinstance(root, yaml_nodes.Alias) else root).line
            if value is None:
                continue
            if not isinstance(value, dict):
                raise PolicyError("this document is no mapping", where=f"{name}:{line}")
            found.append(Document(value, f"{name}:{line}"))
    except DeclarationError as error:
        raise PolicyError(error.message, where=error.where or name, hint=error.hint) from error
    return tuple(found)


def read_file(path: Path, shown: str) -> bytes:
    """The bytes of a regular file. Raises SourceError: none, no file, too large."""
    try:
        # Not to wait for whoever writes to a pipe: only a regular file is read.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(handle, "rb", buffering=0) as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise SourceError(f"{shown} is no regular file", where=shown)
            # One byte more than there is, or may be: it ends the reading, and tells of what grew meanwhile.
            data = file.read(min(found.st_size, MAX_FILE) + 1)
            while 0 < len(data) <= MAX_FILE and (more := file.read(MAX_FILE + 1 - len(data))):
                data += more
    except FileNotFoundError as error:
        raise SourceError(f"there is no file {shown}", where=shown) from error
    except OSError as error:
        raise SourceError(error.strerror or str(error), where=shown) from error
    if len(data) > MAX_FILE:
        raise SourceError(f"the file has more than {MAX_FILE} bytes", where=shown)
    return data


def files_below(paths: Sequence[str], suffixes: Sequence[str] = SUFFIXES) -> Iterator[tuple[str, Path]]:
    """The files that are named, and those below named folders, each with the name to show. Raises UsageError."""
    count = 0
    for given in paths:
        root = Path(given)
        if root.is_file():
            found: Iterable[Path] = [root]
        elif root.is_dir():
            found = _below(root, tuple(suffixes))
        else:
            raise UsageError(f"there is nothing at {given}")
        for item in found:
            count += 1
            if count > MAX_FILES:
                raise UsageError(f"more than {MAX_FILES} files", hint="name a smaller folder")
            yield item.as_posix(), item


def _below(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files below a folder by their names, part by part; no links: they may lead anywhere, and round in circles."""
    waiting = [_listed(root)]
    while waiting:
        if not waiting[-1]:
            waiting.pop()
            continue
        entry = waiting[-1].pop()
        if entry.is_dir(follow_symlinks=False):
            waiting.append(_listed(Path(entry.path)))
        elif entry.name.endswith(suffixes) and entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, the last first. What is hidden is Git's own, and the like."""
    try:
        with os.scandir(folder) as found:
            shown = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise SourceError(error.strerror or str(error), where=folder.as_posix()) from error
    return sorted(shown, key=lambda entry: entry.name, reverse=True)
