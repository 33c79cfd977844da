"""What Facts ask of those who can read statements: the app answers, since planes do not import one another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from customhouse.core.evidence import ArtifactRef, Evidence


class ProvenanceFacts(Protocol):
    """What reviewed configuration says of provenance. Pure: the same statement gives the same answer."""

    def wanted(self, artifact: ArtifactRef) -> dict[str, Any] | None:
        """The expectation that covers an artifact (`name`, `place`, `max_age_days`); None: nothing is expected."""

    def said(self, artifact: ArtifactRef, evidence: Evidence) -> dict[str, Any]:
        """`level`, `level_reason`, `met` and `unmet` of one statement."""


class VulnerabilityFacts(Protocol):
    """What signed reports say of an artifact's vulnerabilities. Pure: the same statements give the same answer."""

    def known(
        self, artifact: ArtifactRef, evidence: Sequence[Evidence], as_of: datetime, vex_days: int | None
    ) -> dict[str, Any] | None:
        """Reports, and vulnerabilities by what they are called; bounded. None: nobody says anything of them.

        A statement older than `vex_days` that something is not affected counts for nothing.
        """
