"""The words of Decisions. Apart from them, since who asks one question needs no Decision to put the answer in."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is. Only ERROR denies."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Category(StrEnum):
    """What a finding is about."""

    SECURITY = "security"
    COST = "cost"
    RELIABILITY = "reliability"
    COMPLIANCE = "compliance"


class Verdict(StrEnum):
    """What the gate says of a change."""

    ALLOW = "allow"
    WARN = "warn"
    DENY = "deny"


class Point(StrEnum):
    """Where a Decision was made."""

    GATE = "gate"
    ADMISSION = "admission"
    AUDIT = "audit"
