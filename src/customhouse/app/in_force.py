"""Which revision is in force: the last one that was allowed, never merely the newest.

Who judges beside `up` (admission, its registration, an audit) learns it, in this order,

1. from a note: the file that CUSTOMHOUSE_ALLOWED (`webhook --allowed`) names. Where it is named and is not there,
   nothing is in force: what was not allowed must not rule for want of a word;
2. from the state that `up` keeps: the deployed revision, before the first one the founding revision;
3. else it is not known. Then the head counts, and that is told (`Standing.unsure`): whoever can push there rules.

The note is what `up` writes into each cluster that it follows a branch into: the ConfigMap of `customhouse-system` that
CUSTOMHOUSE_ALLOWED_IN names. A pod mounts it as a file, so that a webhook needs no right in the API to read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from customhouse.app import wiring
from customhouse.app.memory import FOUNDING, Memory
from customhouse.app.settings import Settings
from customhouse.control.source import Commits
from customhouse.core.errors import ConfigError, SourceError, StateError

if TYPE_CHECKING:
    from customhouse.store.database import Store

SCHEMA = "customhouse.dev/allowed/v1"
KEY = "allowed.json"
"""The key of the ConfigMap, and so the name of the file that a pod mounts."""
_MAX_BYTES = 256 * 1024
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
UNSURE = (
    "nobody says which commit was allowed, so the head of the branch rules, allowed or not: "
    "name the state of `up` (--state) or its note (--allowed)"
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """The note: the last allowed revision, the folders that it was judged with, whose it is, and for which target."""

    revision: str
    paths: tuple[str, ...]
    repository: str = ""
    """`BRANCH@FIRST_COMMIT`; empty where nobody said it."""
    target: str = ""
    """Which of several targets stands where the note lies."""

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "schema": SCHEMA,
            "repository": self.repository,
            "revision": self.revision,
            "paths": list(self.paths),
            "target": self.target,
        }

    def text(self) -> str:
        """The same note is the same text."""
        return json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class InForce:
    """What rules. `revision` None: no commit does, but `--config` or the defaults."""

    revision: str | None
    paths: tuple[str, ...] | None = None
    """The folders whose Declarations count; None: those that the revision names itself, () and not `declares`: none."""
    declares: bool = True
    """Whether its Declarations were allowed; of a founding revision that is still to be judged only the rules count."""
    unsure: str = ""
    """Why nobody knows whether it was allowed; empty where that is known."""
    target: str = ""


def read_note(place: Path) -> Allowed:
    """The note in a file. Raises StateError where there is none, ConfigError for one that cannot be believed."""
    where = str(place)
    try:
        with place.open("rb") as handle:
            data = handle.read(_MAX_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise StateError(
            "no commit is known to be allowed yet: the note is not there",
            where=where,
            hint="`customhouse up` with CUSTOMHOUSE_ALLOWED_IN writes it when it has allowed the first commit "
            "(docs/admission.md)",
        ) from error
    except OSError as error:
        raise StateError(f"the note cannot be read: {error.strerror}", where=where) from error
    try:
        return _read(data)
    except (ValueError, RecursionError) as error:  # JSON's and Unicode's errors are such
        raise ConfigError(
            f"it is no note of an allowed commit: {error}"[:300],
            where=where,
            hint="`customhouse up` with CUSTOMHOUSE_ALLOWED_IN writes it; nobody else should",
        ) from error


def _read(data: bytes) -> Allowed:
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES >> 10} KiB")
    value = json.loads(data)
    if not isinstance(value, Mapping) or value.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    revision, paths = value.get("revision"), value.get("paths")
    if not isinstance(revision, str) or not _COMMIT.fullmatch(revision):
        raise ValueError("its revision is no whole commit id")
    repository, target = value.get("repository", ""), value.get("target", "")
    folders = paths if isinstance(paths, list) else [paths]
    if folders is not paths or not all(isinstance(item, str) for item in (*folders, repository, target)):
        raise ValueError("its paths are no list of folders, or another part of it is no text")
    return Allowed(revision, tuple(folders), repository, target)


def in_force(settings: Settings, objects: Commits, opened: Store | None) -> InForce:
    """What rules in a repository. `opened` is the store of `--state`, if there is one.

    Raises StateError and ConfigError for a note that is named and not there, or not of this repository; SourceError.
    """
    if settings.allowed is not None:
        return _by_note(settings, settings.allowed, objects)
    if opened is not None:
        memory = Memory(opened.state)
        deployed = memory.deployed
        if deployed is not None:
            return InForce(deployed.revision, deployed.paths, target=settings.target)
        founding = memory.get(FOUNDING)
        if founding is not None or memory.judged is not None:
            # `up` follows it, and has allowed nothing yet: as there, the founding revision's rules hold.
            return InForce(None if founding is None else str(founding), (), declares=False, target=settings.target)
    return InForce(objects.resolve("HEAD"), unsure=UNSURE, target=settings.target)


def _by_note(settings: Settings, place: Path, objects: Commits) -> InForce:
    note = read_note(place)
    try:
        revision = objects.resolve(note.revision)
        first = objects.first_commit(revision)
    except SourceError as error:
        raise ConfigError(
            f"the note names the commit {note.revision[:12]}, which this repository does not have",
            where=str(place),
            hint="is --repo the repository that `up` follows, and up to date?",
        ) from error
    if note.repository and note.repository.rpartition("@")[2] != first:
        raise ConfigError(
            f"the note is of another repository ({note.repository[:80]}); this one began with {first[:12]}",
            where=str(place),
            hint="is --repo the repository that `up` follows?",
        )
    if settings.target and note.target and settings.target != note.target:
        raise ConfigError(
            f"the note is for the target {note.target!r}, and --target says {settings.target!r}", where=str(place)
        )
    return InForce(revision, note.paths, target=settings.target or note.target)


def ruling_revision(settings: Settings, repo: str) -> tuple[Commits, InForce]:
    """A repository, and what rules in it. Raises SourceError, StateError and ConfigError."""
    objects = wiring.commits(settings, repo)
    if settings.allowed is not None or not wiring.has_store(settings):
        return objects, in_force(settings, objects, None)
    with wiring.store(settings) as opened:
        return objects, in_force(settings, objects, opened)


__all__ = ["KEY", "SCHEMA", "Allowed", "InForce", "in_force", "read_note", "ruling_revision"]
