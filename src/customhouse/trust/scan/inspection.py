"""One look at one piece of bytes: where format readers put findings, what they may spend, how they look deeper."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from customhouse._kit.clock import Clock
from customhouse.trust.scan.names import Use
from customhouse.trust.scan.source import FileBacking, Source, UnreadableError
from customhouse.trust.scan.verdict import ScanFinding, ScanSeverity

BOMB = "decompression-bomb"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost. All but `seconds` are counts, so that a verdict is the same on every machine."""

    depth: int = 8
    """Containers in containers."""
    steps: int = 8_000_000
    """Opcodes, fields, nodes and members read, over all levels."""
    members: int = 100_000
    """Entries of archives, over all levels."""
    expanded: int = 4 << 30
    """Bytes that come out of decompression, over all levels."""
    ratio: int = 200
    """Bytes that may come out of decompression for each of the file, over all levels, past `free` bytes."""
    free: int = 64 << 20
    text: int = 64 << 20
    """Bytes of a text, JSON or YAML document, which must be held whole."""
    findings: int = 200
    seconds: float = 120.0
    """A backstop on the monotonic clock; the counts above are meant to end first."""
    names: Mapping[str, Use] = field(default_factory=dict)
    """Classes and functions (`module.name`) that the organisation vouches for: `scan.names` of customhouse.yaml."""


@dataclass(slots=True)
class Budget:
    """What is left of the limits; shared by all levels of one file."""

    limits: Limits
    clock: Clock
    steps: int = 0
    clock_at: int = 0
    """The count of steps at which the clock is looked at next: looking costs more than most steps."""
    members: int = 0
    expanded: int = 0
    size: int = 0
    """Bytes of the file itself; 0 while nothing was looked at."""
    started: float = 0.0
    findings: list[ScanFinding] = field(default_factory=list)
    references: dict[str, int] = field(default_factory=dict)
    """Files beside this one that it reads, and the bytes of each that it needs."""
    seen: set[tuple[str, str, str]] = field(default_factory=set)
    added: set[str] = field(default_factory=set)
    """Names met that only `limits.names` knows. Not a finding: those have an end, and this must be whole."""

    def spend(self, steps: int = 1) -> None:
        """Raises UnreadableError when steps or time are used up."""
        self.steps += steps
        if self.steps > self.limits.steps:
            raise UnreadableError(
                f"more than {self.limits.steps} steps are needed", rule="limit-steps", hint="raise limits.steps"
            )
        if self.steps < self.clock_at:
            return
        self.clock_at = self.steps + 1024
        if self.clock.monotonic() - self.started > self.limits.seconds:
            raise UnreadableError(
                f"not read within {self.limits.seconds:g} s", rule="limit-time", hint="raise limits.seconds"
            )

    def expand(self, count: int) -> None:
        """Raises UnreadableError when more has come out of decompression than may."""
        self.expanded += count
        if self.expanded > self.limits.free and self.expanded > self.limits.ratio * max(self.size, 1):
            raise UnreadableError(
                f"expands to more than {self.limits.ratio} times its size", rule=BOMB, hint="do not unpack it"
            )
        if self.expanded > self.limits.expanded:
            raise UnreadableError(
                f"expands to more than {self.limits.expanded} bytes",
                rule="limit-expansion",
                hint="a bomb, or raise limits.expanded",
            )


class Inspection:
    """The view of one level (a file, an archive's member, a decompressed stream)."""

    __slots__ = ("_dispatch", "budget", "depth", "format", "name", "title")

    def __init__(
        self,
        name: str,
        budget: Budget,
        dispatch: Callable[[Source, Inspection], None],
        depth: int = 0,
        title: str = "",
    ) -> None:
        self.name = name
        """Path inside the scanned file; empty for the file itself."""
        self.title = title or name
        """What the bytes call themselves: a file's or member's name. A hint at most, never a proof."""
        self.budget = budget
        self.depth = depth
        self.format = "unknown"
        self._dispatch = dispatch

    def report(self, severity: ScanSeverity, rule: str, message: str, offset: int = 0) -> None:
        """Add a finding, once per rule and message; past the limit only worse ones are kept."""
        budget = self.budget
        key = (self.name, rule, message)
        if key in budget.seen or len(budget.seen) > 10 * budget.limits.findings:
            return
        budget.seen.add(key)
        if len(budget.findings) >= budget.limits.findings:
            softer = next((i for i, f in enumerate(budget.findings) if _RANK[f.severity] < _RANK[severity]), None)
            if softer is None:
                return
            del budget.findings[softer]
        budget.findings.append(ScanFinding(rule, severity, message[:500], offset, self.name))

    def malicious(self, rule: str, message: str, offset: int = 0) -> None:
        """Loading this does harm, or could have no other purpose."""
        self.report(ScanSeverity.MALICIOUS, rule, message, offset)

    def suspicious(self, rule: str, message: str, offset: int = 0) -> None:
        """Not known to be safe."""
        self.report(ScanSeverity.SUSPICIOUS, rule, message, offset)

    def unscannable(self, rule: str, message: str, offset: int = 0) -> None:
        """Not understood; the message says why and what to do."""
        self.report(ScanSeverity.UNSCANNABLE, rule, message, offset)

    def note(self, rule: str, message: str, offset: int = 0) -> None:
        """Worth saying; no effect on the verdict."""
        self.report(ScanSeverity.NOTE, rule, message, offset)

    def unreadable(self, error: UnreadableError) -> None:
        """Turn what a reader raised into a finding."""
        hint = f"; {error.hint}" if error.hint else ""
        severity = ScanSeverity.SUSPICIOUS if error.rule == BOMB else ScanSeverity.UNSCANNABLE
        self.report(severity, error.rule, f"{error.reason}{hint}", error.offset)

    def inner(self, name: str) -> Inspection:
        """The look at something inside. Raises UnreadableError past the depth limit."""
        if self.depth + 1 > self.budget.limits.depth:
            raise UnreadableError(
                f"nested deeper than {self.budget.limits.depth} levels", rule="limit-depth", hint="unpack it first"
            )
        path = f"{self.name}!/{name}" if self.name else name
        return Inspection(path, self.budget, self._dispatch, self.depth + 1, name)

    def same(self) -> Inspection:
        """Another look at the same level, for a reader that would name a format of its own."""
        return Inspection(self.name, self.budget, self._dispatch, self.depth, self.title)

    def nested(self, source: Source, name: str) -> str:
        """Detect and scan something inside; its findings carry `name`. Gives the format found."""
        try:
            look = self.inner(name)
        except UnreadableError as error:
            self.unreadable(error)
            return "unknown"
        look.scan(source)
        return look.format

    def scan(self, source: Source) -> None:
        """Detect and scan `source` at this level. Never raises for bad bytes."""
        self.budget.size = self.budget.size or source.size
        self._dispatch(source, self)

    def quiet(self, source: Source, name: str, reader: Callable[[Source, Inspection], None]) -> list[ScanFinding]:
        """Try a reader without recording: the findings it would make (none when it cannot read the bytes)."""
        trial = Budget(self.budget.limits, self.budget.clock, self.budget.steps, started=self.budget.started)
        look = Inspection(name, trial, self._dispatch, self.depth, self.title)
        try:
            reader(source, look)
        except UnreadableError:
            pass
        finally:
            self.budget.steps = trial.steps
            self.budget.added |= trial.added
        return trial.findings

    def refer(self, name: str, size: int) -> None:
        """Say that the model reads `size` bytes of a file beside it; inside archives such files are scanned anyway."""
        if self.depth == 0:
            references = self.budget.references
            references[name] = max(references.get(name, 0), size)

    def member(self) -> None:
        """Count an archive's entry. Raises UnreadableError past the limit."""
        self.budget.members += 1
        if self.budget.members > self.budget.limits.members:
            raise UnreadableError(f"more than {self.budget.limits.members} entries", rule="limit-members")

    def spend(self, steps: int = 1) -> None:
        """Count work. Raises UnreadableError past the limits of steps and time."""
        self.budget.spend(steps)

    @contextmanager
    def expanded(self, pieces: Iterator[bytes]) -> Iterator[tuple[Source, UnreadableError | None]]:
        """Spool decompressed bytes (8 MiB in memory, the rest in an unnamed file); what came before an error is kept.

        The limit on expansion makes an error with the rule `limit-expansion`.
        """
        problem: UnreadableError | None = None
        with tempfile.SpooledTemporaryFile(max_size=8 << 20) as spool:
            size = 0
            try:
                for piece in pieces:
                    self.spend(1 + len(piece) // 4096)
                    self.budget.expand(len(piece))
                    spool.write(piece)
                    size += len(piece)
            except UnreadableError as error:
                problem = error
            yield _spooled(spool, size), problem


def _spooled(spool: tempfile.SpooledTemporaryFile[bytes], size: int) -> Source:
    if size <= 8 << 20:
        spool.seek(0)
        return Source.of(spool.read())
    spool.rollover()
    spool.flush()
    handle: IO[bytes] = spool
    return Source(FileBacking(handle.fileno()), 0, size)


_RANK = {
    ScanSeverity.NOTE: 0,
    ScanSeverity.UNSCANNABLE: 1,
    ScanSeverity.SUSPICIOUS: 2,
    ScanSeverity.MALICIOUS: 3,
}
