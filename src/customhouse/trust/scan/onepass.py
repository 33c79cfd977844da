"""One file, one read: its digests and its scan from the same bytes of the same open file, or from what is remembered.

A file up to WHOLE is held in memory, so that what is scanned is what was hashed, whatever happens to the file. A larger
one is hashed as a stream and its structure then read from the same descriptor; when the file's stamp (inode, size and
both times) is another one afterwards, nothing that was read counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from customhouse._kit.clock import Clock, SystemClock
from customhouse._kit.reading import Digests, Hasher, Stamp, Told, digests_of, read_digests
from customhouse.trust.scan.additions import note_of
from customhouse.trust.scan.description import Description, describe
from customhouse.trust.scan.detect import dispatch
from customhouse.trust.scan.files import RefusedError, open_source
from customhouse.trust.scan.inspection import Budget, Inspection, Limits
from customhouse.trust.scan.source import Source, UnreadableError
from customhouse.trust.scan.verdict import FileScan, ScanFinding, ScanSeverity, Verdict, verdict_of

WHOLE = 8 << 20
"""Bytes: above, a file is not held whole. Eight threads hold 64 MiB so."""
_NOTHING = Digests("", "", 0)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a file gave. Digests that were not asked for are empty, a scan that was not is None."""

    digests: Digests
    scan: FileScan | None = None
    references: Mapping[str, int] = field(default_factory=dict)
    """Files beside this one that it reads, and the bytes of each that it needs."""
    description: Description | None = None
    """What the file says of its model; None too where it was not asked for."""
    described: bool = False
    """Whether it was asked for."""


class Memory(Protocol):
    """What earlier looks found out. A convenience of whoever asks, never a proof for anybody else."""

    def recall(self, path: Path, stamp: Stamp, limits: Limits) -> Look | None:
        """What is remembered of exactly this state of the file, the scan only if it is by today's rules and limits."""

    def keep(self, path: Path, stamp: Stamp, limits: Limits, look: Look) -> None:
        """Remember it; called from several threads."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a look is to find out, within which limits, and who remembers."""

    sha256: bool = True
    blake3: bool = False
    scan: bool = True
    describe: bool = False
    """Also what the file says of its model; with a scan."""
    limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=SystemClock)
    memory: Memory | None = None
    told: Told | None = None
    """Told the bytes as they are read; of a remembered file all at once."""


def look_at(path: Path, name: str, wish: Wish) -> Look:
    """Look at one regular file; `name` is its path in the result.

    Links, devices and what may not be read are `unscannable`, as is a file that changes meanwhile: no digest then.
    Raises ArtifactError when nothing is there.
    """
    try:
        with open_source(path) as (source, descriptor):
            before = Stamp.of(os.fstat(descriptor))
            known = None if wish.memory is None else wish.memory.recall(path, before, wish.limits)
            look = _complete(source, descriptor, path.name, wish, known)
            if Stamp.of(os.fstat(descriptor)) != before:
                return _refused(name, "changed", "was changed while it was read; scan it when nobody writes it")
            if wish.memory is not None and look is not known:
                wish.memory.keep(path, before, wish.limits, look)
            return _named(look, name)
    except RefusedError as error:
        return _refused(name, error.rule, error.why)
    except UnreadableError:
        return _refused(name, "changed", "was cut short while it was read; scan it when nobody writes it")


def scan_source(
    source: Source, name: str, title: str, limits: Limits, clock: Clock
) -> tuple[FileScan, Mapping[str, int]]:
    """The scan of bytes, and what they refer to. Never raises for bad bytes."""
    budget = Budget(limits, clock, started=clock.monotonic())
    look = Inspection("", budget, dispatch, title=title)
    look.scan(source)
    findings = (*budget.findings, *note_of(budget.added, limits.names))
    scan = FileScan(name, look.format, verdict_of(findings), findings, source.size, added=frozenset(budget.added))
    return scan, dict(budget.references)


def _complete(source: Source, descriptor: int, title: str, wish: Wish, known: Look | None) -> Look:
    """What is known, and what of the wish is not known yet: read now, once."""
    had = _NOTHING if known is None else known.digests
    sha256, blake3 = wish.sha256 and not had.sha256, wish.blake3 and not had.blake3
    had_scan = known is not None and known.scan is not None
    had_words = known is not None and known.described
    to_scan, to_describe = wish.scan and not had_scan, wish.scan and wish.describe and not had_words
    if known is not None and not (sha256 or blake3 or to_scan or to_describe):
        _tell(wish, source.size)
        return known
    if source.size <= WHOLE:
        data = source.read(0, source.size)
        source = Source.of(data)
        read = digests_of(data, sha256=sha256, blake3=_hasher() if blake3 else None)
        _tell(wish, source.size)
    elif sha256 or blake3:
        read = read_digests(descriptor, sha256=sha256, blake3=_hasher() if blake3 else None, told=wish.told)
    else:
        read = _NOTHING
        _tell(wish, source.size)
    look = replace(
        known or Look(read), digests=Digests(had.sha256 or read.sha256, had.blake3 or read.blake3, source.size)
    )
    if to_scan:
        scan, references = scan_source(source, "", title, wish.limits, wish.clock)
        look = replace(look, scan=scan, references=references)
    if to_describe and look.scan is not None:
        words = describe(source, look.scan.format, title, wish.clock)
        look = replace(look, description=words, described=True)
    return look


def _hasher() -> Hasher:
    from blake3 import blake3

    return blake3()


def _tell(wish: Wish, size: int) -> None:
    if wish.told is not None:
        wish.told(size)


def _named(look: Look, name: str) -> Look:
    if look.scan is None:
        return look
    scan = replace(look.scan, path=name, digest=look.digests.sha256 or None)
    try:
        name.encode()
    except UnicodeEncodeError:
        why = "its name is not UTF-8, so nothing can be signed of it; rename it"
        findings = (*scan.findings, ScanFinding("file-name", ScanSeverity.UNSCANNABLE, why))
        scan = replace(scan, findings=findings, verdict=verdict_of(findings))
    return replace(look, scan=scan)


def _refused(name: str, rule: str, why: str) -> Look:
    finding = ScanFinding(rule, ScanSeverity.UNSCANNABLE, why)
    return Look(_NOTHING, FileScan(name, "unknown", Verdict.UNSCANNABLE, (finding,)))
