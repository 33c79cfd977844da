"""Evidence: signed statements about a subject digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from customhouse._kit.frozen import quickly_made


class EvidenceKind(StrEnum):
    """What a statement is about; each has one predicate type (`trust.attestation`)."""

    SIGNATURE = "signature"
    SCAN = "scan"
    BOM = "bom"
    PROVENANCE = "provenance"
    EVALUATION = "evaluation"
    DATA_VALIDATION = "data-validation"
    PRICE_ESTIMATE = "price-estimate"
    FORECAST = "forecast"
    POLICY_BUNDLE = "policy-bundle"
    VULNERABILITIES = "vulnerabilities"
    VEX = "vex"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One statement as read and checked.

    `verified` is True only when the signature verifies under a trust root of the base revision that may sign this
    kind; `problem` says why not. `predicate` is what it says, bounded; `digest` is that of the stored bundle's bytes.
    """

    subject: str
    kind: EvidenceKind
    predicate_type: str
    predicate: Mapping[str, Any]
    issued_at: datetime | None
    signer: str | None
    verified: bool
    digest: str
    problem: str = ""


@quickly_made
@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """An artifact that a Declaration uses. `pointer` is the JSON pointer of the reference in the manifest.

    `digest` is the pinned or resolved digest, None when the reference pins none.
    """

    role: str
    reference: str
    digest: str | None
    pinned: bool
    pointer: str
    """`role` is `model`, `image`, `dataset` or `code`."""
