"""What a person who was denied reads in the API server's answer: every reason, its fix, and where to ask further."""

from __future__ import annotations

from customhouse.core.decision import Decision, Severity
from customhouse.policy.explain import plain, verdict_text

_MOST = 20


def denial_text(decision: Decision, digest: str = "") -> str:
    """The message of a refusal: to the byte what `customhouse explain` says of the same Decision."""
    return verdict_text(str(decision.resource), decision.body(), digest or decision.digest)


def warnings_of(decision: Decision) -> tuple[str, ...]:
    """One line for each unwaived warning; kubectl prints them."""
    return tuple(
        f"{finding.rule}: {plain(finding.message)} Fix: {plain(finding.fix)}"
        for finding in decision.findings
        if finding.waiver is None and finding.severity is Severity.WARNING
    )[:_MOST]
