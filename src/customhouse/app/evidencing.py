"""Evidencing: the statements about what a Change uses, and the files that they speak of.

Models are hashed and statements verified beside the rest of the gate's work, on threads; each artifact once a run,
however many Declarations use it. What a thread found out is looked at in the order of the Changes, so that the first
error is always the same one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from customhouse._kit.clock import Clock, to_rfc3339
from customhouse._kit.digest import Tree, tree
from customhouse.app.artifacts import Volumes, read_artifact
from customhouse.app.sources import SourceTree
from customhouse.app.stopwatch import Stopwatch
from customhouse.core.change import Change
from customhouse.core.errors import CannotDecideError
from customhouse.core.evidence import ArtifactRef, Evidence
from customhouse.core.workload import workload
from customhouse.policy.facts import ArtifactEvidence

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from customhouse.app.evidence_index import EvidenceIndex
    from customhouse.app.governance import Governance

WORKERS = 4
"""Threads: hashing lets the interpreter go; more than a few only take turns at the disk."""
_CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far clocks of two honest machines may stand apart."""

Hashing = Callable[[Path, Callable[[int], None]], Tree]
"""Gives the digests of the files at a path, telling the bytes read. Raises what `_kit.digest.tree` raises."""


_Key = tuple[Path | None, str | None, str]


class _StoppedError(Exception):
    """Nobody waits for this any more."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a thread found out about one artifact, and how long it took."""

    files: Tree | None
    statements: tuple[Evidence, ...]
    hashing: float
    verifying: float


class Desk:
    """The evidence of one revision. Belongs to one judgement; `close` ends what nobody waits for any more."""

    def __init__(
        self,
        source: SourceTree,
        head: str,
        governing: Governance,
        volumes: Volumes,
        clock: Clock,
        stopwatch: Stopwatch,
        hashing: Hashing = tree,
        *,
        index: EvidenceIndex | None = None,
    ) -> None:
        self._source, self._head, self._governing, self._index = source, head, governing, index
        self._volumes, self._clock, self._stopwatch, self._hashing = volumes, clock, stopwatch, hashing
        self._pool: ThreadPoolExecutor | None = None
        self._stop = threading.Event()
        self._begun: dict[_Key, Future[_Seen] | _Seen] = {}
        self._told: set[_Key] = set()

    def begin(self, changes: Iterable[Change]) -> None:
        """Start on everything that `of` will be asked for. What cannot be read is said by `of`, not here."""
        for change in changes:
            for artifact in _artifacts(change):
                try:
                    self._future(artifact)
                except CannotDecideError:
                    continue

    def of(self, change: Change) -> tuple[ArtifactEvidence, ...]:
        """The artifacts that a Change uses with all that is said of them, in the order of the manifest.

        Raises ArtifactError, at its place, for files that are not what was declared; EvidenceError for a statement
        that cannot be read; CannotDecideError for one from the future.
        """
        return tuple(found for artifact in _artifacts(change) for found in self._one(change, artifact))

    @property
    def busy(self) -> bool:
        """Whether threads were started."""
        return self._pool is not None

    def close(self) -> None:
        """Threads that still read stop at their next block."""
        self._stop.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, change: Change, artifact: ArtifactRef) -> Iterable[ArtifactEvidence]:
        begun = self._future(artifact)
        if begun is None:
            return
        key = self._key(artifact)
        declaration = change.after
        assert declaration is not None  # noqa: S101 - `_artifacts` gives none without one

        def hashed(_: Path) -> Tree:
            files = _seen(begun).files
            assert files is not None  # noqa: S101 - asked for a place only, and then there are files or an error
            return files

        if artifact.role == "model":
            read_artifact(artifact, declaration, self._volumes, hashed)
        seen = _seen(begun)
        if key not in self._told:  # counted where it was first waited for
            self._told.add(key)
            self._stopwatch.add(change.ref, "artifacts", seen.hashing)
            self._stopwatch.add(change.ref, "evidence", seen.verifying)
        if artifact.digest is None:
            return
        for item in seen.statements:
            if item.verified and item.issued_at is not None:
                what = f"the {item.kind.value} of {artifact.reference} was issued"
                require_past(item.issued_at, self._clock.now(), what)
        yield ArtifactEvidence(artifact, seen.statements)

    def _place(self, artifact: ArtifactRef) -> Path | None:
        return self._volumes.locate(artifact.reference) if artifact.role == "model" else None

    def _future(self, artifact: ArtifactRef) -> Future[_Seen] | _Seen | None:
        """What is being found out about an artifact; None when there is nothing to look at."""
        place = self._place(artifact)
        if place is None and artifact.digest is None:
            return None
        key = self._key(artifact)
        if key not in self._begun:
            # Bytes are read from Git here: one conversation with one program belongs to one thread.
            stored = {} if artifact.digest is None else self._stored(artifact.digest)
            self._begun[key] = self._submit(place, artifact, stored)
        return self._begun[key]

    def _key(self, artifact: ArtifactRef) -> _Key:
        """One digest may lie in several registries, and each is asked what is attached to it there."""
        return (self._place(artifact), artifact.digest, self._name(artifact))

    def _name(self, artifact: ArtifactRef) -> str:
        """`host/repository` of what lies in a registry that may matter; empty for all else."""
        from customhouse.app.evidence_index import reference_of

        if self._index is None and self._governing.configuration.trust.notary_policy is None:
            return ""
        found = reference_of(artifact)
        return "" if found is None else found.name

    def _stored(self, digest: str) -> Mapping[str, bytes]:
        from customhouse.trust.attestation import FOLDER

        folder = f"{FOLDER}/{digest.removeprefix('sha256:')}/"
        found = self._source.files(self._head, folder)
        return {name: found[name] for name in found}

    def _submit(self, place: Path | None, artifact: ArtifactRef, stored: Mapping[str, bytes]) -> Future[_Seen] | _Seen:
        attached = self._index is not None and self._index.knows(artifact)
        if place is None and not stored and not attached:
            return _Seen(None, (), 0.0, 0.0)
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(WORKERS, "evidence")
        return self._pool.submit(self._look, place, artifact, stored)

    def _look(self, place: Path | None, artifact: ArtifactRef, stored: Mapping[str, bytes]) -> _Seen:
        digest = artifact.digest
        start = self._stopwatch.moment()
        files = None if place is None else self._hashing(place, self._progress)
        hashed = self._stopwatch.moment()
        # Of other files than were declared nothing is asked: `read_artifact` refuses them.
        if digest is None or (files is not None and files.digest != digest):
            return _Seen(files, (), hashed - start, 0.0)
        attached = {} if self._index is None else self._index.files(artifact)
        if not attached and not stored:
            return _Seen(files, (), hashed - start, self._stopwatch.moment() - hashed)
        from customhouse.trust.attestation import FOLDER

        folder = f"{FOLDER}/{digest.removeprefix('sha256:')}/"
        known = {**{f"{folder}{name}": data for name, data in attached.items()}, **stored}
        found = self._governing.statements(known, digest, self._clock.now(), files, self._name(artifact))
        return _Seen(files, found, hashed - start, self._stopwatch.moment() - hashed)

    def _progress(self, _: int) -> None:
        if self._stop.is_set():
            raise _StoppedError


def _seen(begun: Future[_Seen] | _Seen) -> _Seen:
    return begun if isinstance(begun, _Seen) else begun.result()


def _artifacts(change: Change) -> Iterable[ArtifactRef]:
    if change.after is None:
        return ()
    work = workload(change.after.manifest, change.ref)
    return () if work is None else work.artifacts


def require_past(at: datetime, now: datetime, what: str) -> None:
    """A clock that stepped back makes old evidence young and this month's spend another month's: the gate shuts."""
    if at > now + _CLOCK_TOLERANCE:
        raise CannotDecideError(
            f"{what} at {to_rfc3339(at)}, and this machine's clock says {to_rfc3339(now)}",
            where="clock",
            hint="set the clock right (NTP), then ask again",
        )
