"""The local index of evidence that lies in registries: `<state>/evidence/<digest>/`, filled before anybody waits.

The gate and `customhouse image evidence` ask a registry and file what is attached there; the webhook only looks here.
It gives no trust either: what is read from it is verified each time, like what lies in Git.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from customhouse._kit.clock import Clock, from_rfc3339, to_rfc3339
from customhouse._kit.digest import bytes_digest, is_digest
from customhouse.app.trusting import TrustSpec
from customhouse.core.errors import ArtifactError, CannotDecideError, StateError, UsageError
from customhouse.core.evidence import ArtifactRef
from customhouse.trust.oci import Reference, Registry

FOLDER = "evidence"
ENTRY = "index.json"
STAMP = "stamp"
_USABLE = timedelta(hours=24)
"""How old an entry may be that stands in for a registry which does not answer."""
_NAME = re.compile(r"oci-[0-9a-f]{16}[.][a-z.]{3,20}")
_MAX_FILE = 96 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Indexed:
    """What is attached to one digest in one repository (`name`), when it was asked for, and what was left out."""

    name: str
    files: Mapping[str, bytes]
    at: datetime
    ignored: tuple[str, ...] = ()


class EvidenceIndex:
    """The index of one state directory. `ask` opens a registry by its host; None: only what is filed is known."""

    def __init__(
        self,
        folder: Path,
        spec: TrustSpec,
        clock: Clock,
        ask: Callable[[str], Registry] | None = None,
        *,
        keep: bool = True,
    ) -> None:
        """`keep`: what registries say is filed. A gate without a state of its own leaves nothing behind."""
        self._folder, self._spec, self._clock, self._ask, self._keep = folder, spec, clock, ask, keep

    def knows(self, artifact: ArtifactRef) -> bool:
        """Whether there may be something: its registry is one that is asked, or its digest is filed."""
        found = reference_of(artifact)
        if found is None or artifact.digest is None:
            return False
        asked = self._ask is not None and self._spec.asks(found.name)
        return asked or self._place(artifact.digest, found.name).is_dir()

    def files(self, artifact: ArtifactRef) -> Mapping[str, bytes]:
        """What is attached to an artifact: as its registry says now, or as it is filed.

        Raises CannotDecideError when the registry does not answer and nothing of today is filed.
        """
        found = reference_of(artifact)
        if found is None or artifact.digest is None:
            return {}
        filed = self.filed(artifact.digest, found.name)
        now = self._clock.now()
        if self._ask is None or not self._spec.asks(found.name):
            return {} if filed is None else filed.files
        try:
            return self.refresh(found, artifact.digest).files
        except ArtifactError as error:
            if filed is not None and timedelta() <= now - filed.at < _USABLE:
                return filed.files
            raise CannotDecideError(
                f"the evidence about {artifact.reference} cannot be asked for: {error.message}",
                where=error.where,
                hint=error.hint or "is the registry there? Evidence may also be committed below .evidence/",
            ) from error

    def refresh(self, reference: Reference, digest: str) -> Indexed:
        """Ask the registry, and file what it says. Raises ArtifactError, StateError, UsageError."""
        from customhouse.trust.oci_evidence import gather

        if self._ask is None:
            raise UsageError("registries are not asked here")
        found = gather(self._ask(reference.host), reference.repository, digest, f"{reference.name}@{digest[:19]}…")
        indexed = Indexed(reference.name, found.files, self._clock.now(), found.ignored)
        if self._keep:
            self._file(digest, indexed)
        return indexed

    def filed(self, digest: str, name: str) -> Indexed | None:
        """The entry of a digest in a repository; None when it was never asked for, or cannot be read: a miss."""
        if not is_digest(digest):
            return None
        found = _entry(self._place(digest, name))
        return found if found is not None and found.name == name else None

    def entries(self) -> Iterator[tuple[str, Indexed | None]]:
        """Every entry, with its digest; None for one that cannot be read."""
        if not self._folder.is_dir():
            return
        for item in sorted(self._folder.iterdir()):
            digest = f"sha256:{item.name}"
            if is_digest(digest):
                yield from ((digest, _entry(place)) for place in sorted(item.iterdir()) if (place / ENTRY).exists())

    def files_of(self, digest: str) -> Mapping[str, bytes]:
        """What is filed about a digest, wherever it lies."""
        folder = self._folder / digest.removeprefix("sha256:")
        return {name: data for entry in _entries(folder) for name, data in entry.files.items()}

    def _place(self, digest: str, name: str) -> Path:
        """The same image may lie in several registries, and something else be attached to it in each."""
        return self._folder / digest.removeprefix("sha256:") / bytes_digest(name.encode())[7:23]

    def _file(self, digest: str, indexed: Indexed) -> None:
        place = self._place(digest, indexed.name)
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, data in indexed.files.items():
                _write(place / name, data)
            entry = {
                "name": indexed.name,
                "at": to_rfc3339(indexed.at),
                "files": sorted(indexed.files),
                "ignored": [text[:500] for text in indexed.ignored[:100]],
            }
            # Written last: a reader sees the old entry or the new one, whose files are there.
            _write(place / ENTRY, json.dumps(entry, indent=1).encode())
            _write(self._folder / STAMP, to_rfc3339(indexed.at).encode())
        except OSError as error:
            raise StateError(f"cannot file evidence: {error.strerror}", where=str(place)) from error


def _entries(folder: Path) -> Iterator[Indexed]:
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        found = _entry(place)
        if found is not None:
            yield found


def _entry(place: Path) -> Indexed | None:
    try:
        entry = json.loads(_read(place / ENTRY))
        files = {name: _read(place / name) for name in entry["files"] if _NAME.fullmatch(name)}
        return Indexed(entry["name"], files, from_rfc3339(entry["at"]), tuple(str(item) for item in entry["ignored"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def reference_of(artifact: ArtifactRef) -> Reference | None:
    """The registry reference of an image, or of a model with `oci://`; None for other schemes, and for what is none."""
    text = artifact.reference
    if artifact.role != "image" and not text.startswith("oci://"):
        return None
    try:
        return Reference.of_image(text)
    except UsageError:
        return None


def _read(place: Path) -> bytes:
    with place.open("rb") as handle:
        data = handle.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise ValueError("larger than any evidence")
    return data


def _write(place: Path, data: bytes) -> None:
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    draft.write_bytes(data)
    os.replace(draft, place)
