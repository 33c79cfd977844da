"""What is said of a release's model, as the Decision that let it in has it: scan, signature, bill, provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.app.overview import EvidenceRow
from customhouse.core.ports import DecisionLog
from customhouse.core.resource import ResourceRef

_ROWS = 200
_ORDER = ("scan", "signature", "bom", "provenance", "evaluation")
_TITLES = {"bom": "bill of materials", "vulnerabilities": "report of vulnerabilities", "vex": "VEX statement"}


class ReleaseEvidence:
    """Reads the Decision of each release once: neither ever changes."""

    def __init__(self, decisions: DecisionLog) -> None:
        self._decisions = decisions
        self._known: dict[tuple[ResourceRef, str, str], tuple[EvidenceRow, ...]] = {}

    def of(self, ref: ResourceRef, revision: str, artifact: str) -> tuple[EvidenceRow, ...]:
        """One row a statement; empty where no Decision of this commit about this object is kept."""
        key = (ref, revision, artifact)
        if key not in self._known:
            self._known[key] = tuple(self._read(ref, revision, artifact))
        return self._known[key]

    def _read(self, ref: ResourceRef, revision: str, artifact: str) -> Iterator[EvidenceRow]:
        wanted = ref.to_json()
        for item in self._decisions.recent(_ROWS):
            if item["envelope"]["revision"] == revision and item["envelope"]["resource"] == wanted:
                facts = self._decisions.find(item["digest"])[0]["facts"]
                found = [a for a in facts["artifacts"] if a["role"] == "model" and a["digest"] == artifact]
                rows = [_row(said) for a in found for said in a["evidence"]]
                yield from sorted(rows, key=lambda row: (_ORDER.index(row.kind) if row.kind in _ORDER else 9, row.kind))
                return


def vulnerable(remembered: Mapping[str, Any] | None, ref: ResourceRef, release: str) -> str:
    """What the watch knows of a release's vulnerabilities now (`app.vulnwatch_loop`); empty where it knows of none."""
    texts = []
    for row in (remembered or {}).get("releases", {}).values():
        if row["release"] == release and row["resource"] == ref.to_json() and row["count"]:
            many = f"{row['count']} known vulnerabilities" if row["count"] > 1 else "a known vulnerability"
            said = {"deny": "; it would be denied now", "warn": "", "allow": ""}.get(row["verdict"], "; not judged")
            texts.append(f"{many}: {'; '.join(row['worst'])}{said}")
    return ". ".join(dict.fromkeys(texts))[:500]


def _row(said: Mapping[str, Any]) -> EvidenceRow:
    kind = str(said["kind"])
    title = _TITLES.get(kind, kind)
    signer = str(said["signer"] or "")
    if not said["verified"]:
        return EvidenceRow(kind, False, signer, f"{title} not verified: {said['problem']}"[:300])
    summary = said["summary"] or {}
    if kind == "scan":
        title = f"scan {summary.get('verdict', '')}"
    elif kind == "provenance" and summary.get("level") is not None:
        title = f"provenance, SLSA Build L{summary['level']}"
    return EvidenceRow(kind, True, signer, f"{title}, by {signer}")
