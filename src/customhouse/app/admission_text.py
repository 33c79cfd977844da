"""What a person who was denied reads in the API server's answer: every reason, its fix, and where to ask further."""

from __future__ import annotations

from collections.abc import Iterator

from customhouse.core.decision import Decision, Finding, Severity

_MAX = 7 * 1024
_MOST = 20


def denial_text(decision: Decision) -> str:
    """The message of a refusal: the unwaived errors first, then how to see the rest."""
    lines = [f"Customhouse denies {decision.resource}:"]
    errors = [finding for finding in decision.findings if _denies(finding)]
    for finding in errors[:_MOST]:
        lines.extend(_finding(finding))
    if len(errors) > _MOST:
        lines.append(f"  … and {len(errors) - _MOST} more")
    lines.append(f"decision {decision.digest} (customhouse explain {decision.digest[7:19]})")
    text = "\n".join(lines)
    return text if len(text) <= _MAX else f"{text[:_MAX]}…\n{lines[-1]}"


def warnings_of(decision: Decision) -> tuple[str, ...]:
    """One line for each unwaived warning; kubectl prints them."""
    return tuple(
        f"{finding.rule}: {_plain(finding.message)} Fix: {_plain(finding.fix)}"
        for finding in decision.findings
        if finding.waiver is None and finding.severity is Severity.WARNING
    )[:_MOST]


def _denies(finding: Finding) -> bool:
    return finding.waiver is None and finding.severity is Severity.ERROR


def _finding(finding: Finding) -> Iterator[str]:
    yield f"  {finding.severity.value} {finding.rule}: {_plain(finding.message)}"
    if finding.fix:
        yield f"    fix: {_plain(finding.fix)}"


def _plain(text: str) -> str:
    """One line without control characters: a manifest must not drive the reader's terminal."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())[:600]
