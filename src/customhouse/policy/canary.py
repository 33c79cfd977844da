"""A bundle on trial: judged beside the one in force for a share of namespaces, told, and never decisive.

Who is on trial depends on the namespace and the candidate's digest alone, so that every point and every machine asks
the same objects, and another candidate meets others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse.core.decision import Decision, Finding, Verdict
from customhouse.policy.bundle import Bundle
from customhouse.policy.waiver import Waiver

_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Canary:
    """A candidate, for a `share` (percent) of namespaces or those that a pattern names. `mode`: `dryrun` or `warn`.

    `dryrun` is recorded and counted; `warn` is shown to the author as well. `waivers` are those in force.
    """

    bundle: Bundle
    mode: str = "dryrun"
    share: int = 0
    namespaces: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()

    def covers(self, namespace: str) -> bool:
        """Whether objects of a namespace (empty: of none) are judged with the candidate too."""
        if any(fnmatchcase(namespace, pattern) for pattern in self.namespaces):
            return True
        bucket = int(bytes_digest(f"{self.bundle.digest}\0{namespace}".encode())[7:23], 16) % _BUCKETS
        return bucket * 100 < self.share * _BUCKETS


@dataclass(frozen=True, slots=True)
class Trial:
    """What the candidate says of one Decision. `verdict` is None when it could not decide, and `problem` says why."""

    bundle_digest: str
    mode: str
    verdict: Verdict | None
    added: tuple[Finding, ...] = ()
    """Unwaived findings that the Decision in force has not."""
    removed: tuple[str, ...] = ()
    """Rules that find something in the Decision in force alone."""
    would_deny: bool = False
    """It denies what is not denied now."""
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """What the envelope of the Decision in force carries."""
        return {
            "bundle_digest": self.bundle_digest,
            "mode": self.mode,
            "verdict": None if self.verdict is None else self.verdict.value,
            "would_deny": self.would_deny,
            "added": [
                {"rule": item.rule, "severity": item.severity.value, "message": item.message, "fix": item.fix}
                for item in self.added
            ],
            "removed": list(self.removed),
            "problem": self.problem,
        }


def compare(mode: str, in_force: Decision, candidate: Decision) -> Trial:
    """The Trial of two Decisions on the same Facts."""
    now, then = _standing(in_force.findings), _standing(candidate.findings)
    known = {(item.rule, item.pointer, item.message) for item in now}
    denies = candidate.verdict is Verdict.DENY and in_force.verdict is not Verdict.DENY
    return Trial(
        bundle_digest=candidate.bundle_digest,
        mode=mode,
        verdict=candidate.verdict,
        added=tuple(item for item in then if (item.rule, item.pointer, item.message) not in known),
        removed=tuple(sorted({item.rule for item in now} - {item.rule for item in then})),
        would_deny=denies,
    )


def _standing(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(item for item in findings if item.waiver is None)
