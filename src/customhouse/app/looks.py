"""Remembered looks: a model that was inspected is not read again while its files are what they were.

For whoever makes evidence (`model scan|sign|bom|attest`): the second run after a change reads what changed, and a run
that was killed goes on where it was. Kept in the state (`cache/looks.json`), never in the model's folder, sealed by a
key of the state. A record is of one file's device, inode, size and both times; a scan is of the scanner's own source
and its limits too. What changed within two seconds of being read is not remembered, as Git does it.

What lies in memory alone (tmpfs) is not remembered: written through a mapping it never gets another time. On a disk it
gets one when the page is stored, seconds later.

Not for whoever believes evidence: the gate and the serving process read the bytes.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from customhouse._kit.clock import Clock
from customhouse._kit.progress import Meter
from customhouse._kit.reading import Digests, Stamp, devices_in_memory
from customhouse.app import wiring
from customhouse.app.configuration import FILE as CONFIGURATION
from customhouse.app.inspection import size_of
from customhouse.app.sealedfile import SealedFile
from customhouse.app.settings import Settings
from customhouse.core.errors import ConfigError
from customhouse.trust.scan import (
    Description,
    FileScan,
    Limits,
    Look,
    ScanFinding,
    ScanSeverity,
    Verdict,
    Wish,
    rules_digest,
)
from customhouse.trust.scan.additions import digest_of
from customhouse.trust.scan.names import Use

FILE = "looks.json"
FOLDER = "cache"
MAX_BYTES = 64 * 1024 * 1024
MAX_FILES = 100_000
MAX_FINDINGS = 20
"""A scan with more is not remembered: such a file is not scanned often."""
_MAX_CONFIGURATION = 4 * 1024 * 1024
_RACY_NS = 2_000_000_000
_PAUSE_S = 2.0
"""How long what was found out may be lost when the run is killed; longer only where writing takes long."""

_WORTH = 256 * 1024 * 1024
"""Bytes: less is read again as quickly as a state is made."""

_Record = dict[str, Any]


class Looks:
    """The memory of a state (`trust.scan.onepass.Memory`). Threads may share it; `save` at the end."""

    def __init__(self, state: Path, keys: Path, clock: Clock, rules: str = "") -> None:
        """`rules` names what else than the scanner's source and its limits a verdict rests on, if anything does."""
        self._file = SealedFile(state / FOLDER / FILE, keys, MAX_BYTES)
        self._clock, self._rules = clock, rules
        self._in_memory = devices_in_memory()
        self._lock = threading.Lock()
        self._known = self._load()
        self._new = False
        self._saved = clock.monotonic()
        self._pause = _PAUSE_S
        self.reused = 0
        """Bytes that were not read again."""

    def recall(self, path: Path, stamp: Stamp, limits: Limits) -> Look | None:
        """As the port says; None too for a record that cannot be understood."""
        record = self._known.get(os.path.abspath(path))
        if record is None or record.get("stamp") != list(astuple(stamp)):
            return None
        with suppress(KeyError, ValueError, TypeError, AttributeError):
            look = _look(record, stamp.size, self._ruling(limits))
            with self._lock:
                self.reused += stamp.size
            return look
        return None

    def keep(self, path: Path, stamp: Stamp, limits: Limits, look: Look) -> None:
        """As the port says; written to the state every few seconds."""
        now = int(self._clock.now().timestamp() * 1_000_000_000)
        if stamp.device in self._in_memory or now - max(stamp.changed, stamp.modified) < _RACY_NS:
            return
        record = _record(stamp, look, self._ruling(limits))
        with self._lock:
            name = os.path.abspath(path)
            self._known.pop(name, None)
            self._known[name] = record
            self._new = True
            if self._clock.monotonic() - self._saved >= self._pause:
                self._write()

    def save(self) -> None:
        """Write what was learned, if anything was. A memory that cannot be written is no error: it is only slower."""
        with self._lock:
            if self._new:
                self._write()

    def _write(self) -> None:
        begun = self._clock.monotonic()
        with suppress(OSError, ValueError):
            self._file.save(json.dumps(dict(list(self._known.items())[-MAX_FILES:])))
            self._new = False
        self._saved = self._clock.monotonic()
        self._pause = max(_PAUSE_S, 20 * (self._saved - begun))

    def _load(self) -> dict[str, _Record]:
        with suppress(ValueError, RecursionError):
            known = json.loads(self._file.load() or "{}")
            if isinstance(known, dict):
                return {name: record for name, record in known.items() if isinstance(record, dict)}
        return {}

    def _ruling(self, limits: Limits) -> str:
        # The names in one order and by their digest: there may be a thousand, and each record repeats this.
        names = digest_of("", limits.names)
        return f"{rules_digest()} {replace(limits, names={})} {names} {self._rules}"


def _record(stamp: Stamp, look: Look, ruling: str) -> _Record:
    record: _Record = {
        "stamp": list(astuple(stamp)),
        "sha256": look.digests.sha256,
        "blake3": look.digests.blake3,
    }
    scan = look.scan
    if scan is not None and len(scan.findings) <= MAX_FINDINGS:
        record["scan"] = {
            "ruling": ruling,
            "format": scan.format,
            "verdict": scan.verdict.value,
            "findings": [finding.to_json() for finding in scan.findings],
            "added": sorted(scan.added),
            "references": dict(look.references),
            "described": look.described,
            "description": None if look.description is None else look.description.to_json(),
        }
    return record


def _look(record: _Record, size: int, ruling: str) -> Look:
    digests = Digests(str(record["sha256"]), str(record["blake3"]), size)
    said = record.get("scan")
    if said is None or said["ruling"] != ruling:
        return Look(digests)
    findings = tuple(
        ScanFinding(row["rule"], ScanSeverity(row["severity"]), row["message"], int(row["offset"]), row["member"])
        for row in said["findings"]
    )
    added = frozenset(str(name) for name in said["added"])
    scan = FileScan("", said["format"], Verdict(said["verdict"]), findings, size, added=added)
    references = {str(name): int(need) for name, need in said["references"].items()}
    told = said["description"]
    words = None if told is None else Description.from_json(told)
    return Look(digests, scan, references, words, bool(said["described"]))


@contextmanager
def looking(settings: Settings, paths: Sequence[str], *, cache: bool = True, repo: str | None = None) -> Iterator[Wish]:
    """What a look at models needs: digests of both kinds, who remembers earlier looks, who is told how far it is.

    And the names that `scan.names` adds: of `--config`, else of the work tree `repo`. Beside what is scanned nothing is
    looked for: a stranger's folder would vouch for itself. Raises ConfigError.

    Nothing is remembered inside of what is looked at (that would change it), nor where nobody has a state and there is
    too little to read for it to matter.
    """
    places = [Path(path) for path in paths]
    size = sum(size_of(place) for place in places)
    inside = any(settings.state.resolve().is_relative_to(place.resolve()) for place in places)
    kept = settings.state_named or settings.state.is_dir() or size >= _WORTH
    memory = Looks(settings.state, settings.keys, wiring.clock()) if cache and kept and not inside else None
    try:
        limits = Limits(names=_names(settings, places, repo))
        yield Wish(blake3=True, limits=limits, clock=wiring.clock(), memory=memory, told=Meter("reading", size))
    finally:
        if memory is not None:
            memory.save()


def _names(settings: Settings, places: Sequence[Path], repo: str | None) -> Mapping[str, Use]:
    place = settings.config
    if place is None and repo is not None:
        root = Path(repo)
        # Evidence of a whole work tree would rest on what the tree says of itself.
        if not any(root.resolve().is_relative_to(item.resolve()) for item in places):
            place = root / CONFIGURATION
    if place is None or not place.is_file():
        return {}
    if place.stat().st_size > _MAX_CONFIGURATION:
        raise ConfigError("it is over 4 MiB", where=str(place), hint="split it, or name another with --config")
    from customhouse.app.governance import read_configuration  # only who has one needs what reads it

    return read_configuration(place.read_bytes(), place.name).scan.uses(wiring.clock().now())
