"""Models put where others fetch them: what is sent, in which order, and what a registry says when it is there.

The order is the same everywhere: the files, the evidence, and last the name by which people find it. So a registration
that ended in the middle is found by nobody, and the next one goes on where it ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from customhouse._kit.digest import FileEntry
from customhouse._kit.http import Sending
from customhouse.core.errors import TamperError
from customhouse.trust.remote import Exposure

EVIDENCE_TYPE = "application/vnd.customhouse.evidence.v1+json"
"""Type of the one artifact that holds a model's evidence, and of its layers: bundles as `model attest` writes them."""
MAX_EVIDENCE_FILE, MAX_EVIDENCE_FILES = 16 << 20, 200
DIGEST_TAG, VERDICT_TAG = "customhouse.digest", "customhouse.verdict"


@dataclass(frozen=True, slots=True)
class Parcel:
    """A model that scanned clean, with its evidence (name of the file → bytes), ready to be sent."""

    name: str
    version: str
    digest: str
    verdict: str
    folder: Path
    files: tuple[FileEntry, ...]
    evidence: Mapping[str, bytes]

    @property
    def hex(self) -> str:
        """The digest without its algorithm: the folder's name below `.evidence/`."""
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True)
class Published:
    """Where it is now: `reference` leads to these bytes and no others. `sent` counts files and evidence that went."""

    reference: str
    sent: int
    there: int


Settle = Callable[[Sequence[tuple[str, bytes]]], Mapping[str, bytes]]


class ModelRegistry(Protocol):
    """A place that models are registered in. Everything raises ArtifactError when it cannot be had."""

    def publish(self, target: str, parcel: Parcel, settle: Settle) -> Published:
        """Send what is not there; nothing that is there is ever written over. Raises TamperError, UsageError too.

        `settle` is given the evidence that lies there, and says which is to lie there: ours, or what says the same.
        """

    def evidence(self, reference: str, digest: str) -> tuple[tuple[str, bytes], ...]:
        """Evidence of the files with this digest that lies beside what a reference names: (name, bytes), bounded."""

    def exposure(self, reference: str, *, probe: bool = False) -> Exposure:
        """Who may write there. `probe`: whether a stranger may is tried, without leaving anything."""


class Watched:
    """The hash of a file while it is sent, which must be the one that was inspected. Raises TamperError."""

    def __init__(self, file: FileEntry) -> None:
        self._file, self._hasher, self._count = file, hashlib.sha256(), 0

    def __call__(self, piece: bytes) -> None:
        """The next piece; an empty one is the end."""
        self._hasher.update(piece)
        self._count += len(piece)
        file = self._file
        whole = self._count == file.size and f"sha256:{self._hasher.hexdigest()}" == file.digest
        if self._count > file.size or (not whole and (not piece or self._count == file.size)):
            raise TamperError(
                "it was changed while it was registered", where=file.path, hint="nothing names it; register it again"
            )


def watched(source: IO[bytes], file: FileEntry) -> Sending:
    """A body that ends the request rather than send another file than was inspected."""
    return Sending(source, file.size, lambda: Watched(file))


def is_there(file: FileEntry, fetch: Callable[[Callable[[bytes], object]], None]) -> bool:
    """Whether what a store gives is that file: all of its bytes are read, since a store may say anything of them."""
    hasher = hashlib.sha256()
    fetch(hasher.update)
    return f"sha256:{hasher.hexdigest()}" == file.digest
