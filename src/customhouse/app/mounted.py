"""Paths of volumes that a Job's command names: where its inputs are read from, and its outputs are written to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from customhouse.execution.objects import JobRun


@dataclass(frozen=True, slots=True)
class Named:
    """A path in a claim, by its parts below the claim's folder."""

    claim: str
    parts: tuple[str, ...]


def named_paths(run: JobRun) -> tuple[Named, ...]:
    """The paths below the mounts of claims that the words and the environment of a Job name, in that order.

    A path is found where the local target finds it when it translates words to folders: only where one begins.
    """
    return tuple(dict.fromkeys(_found(run)))


def _found(run: JobRun) -> Iterator[Named]:
    mounts = sorted((mount for mount in run.mounts if mount.claim), key=lambda mount: len(mount.path), reverse=True)
    for text in (*run.words, *run.environment.values()):
        for mount in mounts:
            pattern = rf"(?<![\w./-]){re.escape(mount.path)}(?=$|[/:;,\s\"'])((?:/[^/:;,\s\"']*)*)"
            for match in re.finditer(pattern, text):
                below = PurePosixPath(mount.sub_path.strip("/")) / match[1].strip("/")
                if ".." not in below.parts and mount.claim:
                    yield Named(mount.claim, below.parts)


def path_in(run: JobRun, path: str) -> Named | None:
    """A path as a Job writes it, in the claim that is mounted nearest above it; None when none is, or it climbs."""
    mounts = [mount for mount in run.mounts if mount.claim]
    for mount in sorted(mounts, key=lambda mount: len(mount.path), reverse=True):
        if path == mount.path or path.startswith(mount.path.rstrip("/") + "/"):
            below = PurePosixPath(mount.sub_path.strip("/")) / path[len(mount.path) :].strip("/")
            return Named(mount.claim, below.parts) if mount.claim and ".." not in below.parts else None
    return None
