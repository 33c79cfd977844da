"""What a scan says: findings, the verdict of a file, the verdict of a folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """Of a file or a folder. `clean` is said only of what was understood whole."""

    CLEAN = "clean"
    SUSPICIOUS = "suspicious"
    MALICIOUS = "malicious"
    UNSCANNABLE = "unscannable"


class ScanSeverity(StrEnum):
    """What one finding makes of its file; a NOTE leaves the verdict alone."""

    MALICIOUS = "malicious"
    SUSPICIOUS = "suspicious"
    UNSCANNABLE = "unscannable"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class ScanFinding:
    """One complaint. `offset` counts bytes from the start of `member` (the file itself when that is empty)."""

    rule: str
    severity: ScanSeverity
    message: str
    offset: int = 0
    member: str = ""
    """Path inside an archive, levels joined by `!/`."""

    def to_json(self) -> dict[str, Any]:
        """The row of DESIGN section 5, with the place added."""
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "message": self.message,
            "offset": self.offset,
            "member": self.member,
        }


@dataclass(frozen=True, slots=True)
class FileScan:
    """The scan of one file. `path` is as asked for, or relative to the scanned folder; `size` in bytes."""

    path: str
    format: str
    verdict: Verdict
    findings: tuple[ScanFinding, ...]
    size: int = 0
    digest: str | None = None
    """`sha256:…` of the bytes that were scanned, from the same open file; None when they could not all be read."""

    added: frozenset[str] = frozenset()
    """Names that it rests on and that only the organisation vouches for."""

    def to_json(self) -> dict[str, Any]:
        """One row of `model scan`."""
        return {
            "path": self.path,
            "format": self.format,
            "verdict": self.verdict.value,
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class TreeScan:
    """The scans of a folder's files, sorted by path (or of several arguments, in their order)."""

    files: tuple[FileScan, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the files; a folder without files has nothing that was understood, so it is unscannable."""
        return worst(scan.verdict for scan in self.files)

    def to_json(self) -> dict[str, Any]:
        """The JSON of `model scan` (DESIGN section 5)."""
        return {"files": [scan.to_json() for scan in self.files], "verdict": self.verdict.value}

    @property
    def exit_status(self) -> int:
        """1 if any file is suspicious or malicious, else 3 if any is unscannable, else 0 (DESIGN section 5)."""
        return {Verdict.CLEAN: 0, Verdict.UNSCANNABLE: 3}.get(self.verdict, 1)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Malicious before suspicious before unscannable before clean; unscannable when there is none."""
    found = set(verdicts)
    for verdict in (Verdict.MALICIOUS, Verdict.SUSPICIOUS, Verdict.UNSCANNABLE, Verdict.CLEAN):
        if verdict in found:
            return verdict
    return Verdict.UNSCANNABLE


def verdict_of(findings: Iterable[ScanFinding]) -> Verdict:
    """The verdict that findings add up to: clean when there are only notes or none."""
    severities = {finding.severity for finding in findings} - {ScanSeverity.NOTE}
    return worst([Verdict(severity.value) for severity in severities] or [Verdict.CLEAN])
