"""Decisions as text for a terminal and as JSON (DESIGN section 5). Pure: values in, text out.

The other reports are `report_*`; what they share is `report_rows` and `report_cost`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from customhouse.app.stopwatch import CHECKS
from customhouse.cli.output import plural
from customhouse.cli.report_cost import budget_sentence, cost_rows, cost_sentence, least, shown, signed, span
from customhouse.cli.report_rows import SENTENCES, counts, joint, printable, rows, waived
from customhouse.core.cost import CostReport
from customhouse.core.decision import Decision, Finding, Severity, Verdict, overall
from customhouse.core.resource import Location

MAX_WORKLOADS = 20
"""Workloads that a terminal shows."""
_INDENT = " " * 8
_BOLD, _DIM, _RED, _GREEN, _YELLOW, _CYAN = "1", "2", "31", "32", "33", "36"
_STYLES = {Severity.ERROR: (_BOLD, _RED), Severity.WARNING: (_YELLOW,), Severity.NOTE: (_DIM,)}
_VERDICT_STYLES = {Verdict.DENY: (_BOLD, _RED), Verdict.WARN: (_BOLD, _YELLOW), Verdict.ALLOW: (_BOLD, _GREEN)}


def decisions_json(decisions: Sequence[Decision], cost_report: CostReport | None) -> dict[str, Any]:
    """The JSON of `gate`. With several decisions each digest is that of the sorted list of theirs."""
    return {
        "verdict": overall(decisions).value,
        "digest": joint([decision.digest for decision in decisions]),
        "facts_digest": joint([decision.facts_digest for decision in decisions]),
        "bundle_digest": joint(sorted({decision.bundle_digest for decision in decisions})),
        "findings": [_finding_json(finding, place) for finding, place in rows(decisions)],
        "cost": None if cost_report is None else cost_report.to_json(),
        "decisions": [
            {
                "resource": decision.resource.to_json(),
                "verdict": decision.verdict.value,
                "digest": decision.digest,
                "facts_digest": decision.facts_digest,
                "timings": dict(decision.timings),
                **({} if decision.canary is None else {"canary": dict(decision.canary)}),
            }
            for decision in decisions
        ],
        "timings": {
            check: round(sum(decision.timings.get(check, 0.0) for decision in decisions), 3) for check in CHECKS
        },
    }


def decisions_text(
    decisions: Sequence[Decision], cost_report: CostReport | None = None, *, width: int = 160, colour: bool = False
) -> str:
    """What a terminal shows: the verdict, three lines a finding (columns would be a word wide on 80), and the cost."""
    verdict = overall(decisions)
    found = rows(decisions)
    paint = _Paint(colour)
    said, number = SENTENCES[verdict], counts(found, len(decisions))
    break_or_blank = "\n" if len(said) + 1 + len(number) > width else " "
    lines = [f"{paint(said, *_VERDICT_STYLES[verdict])}{break_or_blank}{number}"]
    for finding, place in found:
        style = (_DIM,) if finding.waiver else _STYLES[finding.severity]
        title = f"{paint(f'{finding.severity.value:<8}', *style)}{paint(printable(finding.rule), _BOLD)}"
        lines += ["", f"{title}  {paint(printable(str(place or finding.resource)), _CYAN)}"]
        lines += _wrapped(f"{finding.resource}: {finding.message}", width)
        lines += [paint(line, _DIM) for line in _wrapped(waived(finding) or finding.fix, width)]
    if cost_report is not None:
        lines += ["", *_cost(cost_report, width)]
    return "\n".join([*lines, ""])


class _Paint:
    """Select Graphic Rendition (ECMA-48) around text, or nothing."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self._colour and text else text


def _wrapped(text: str, width: int) -> Iterator[str]:
    for part in printable(text).split("\n"):
        yield from textwrap.wrap(
            part, max(width, 40), initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False
        )


def _cost(report: CostReport, width: int) -> Iterator[str]:
    yield from textwrap.wrap(printable(cost_sentence(report)), max(width, 40), break_on_hyphens=False)
    workloads = list(cost_rows(report))
    for row in workloads[:MAX_WORKLOADS]:
        extent = "removed"
        if row.low is not None and row.high is not None:
            extent = f"range {span(row.low, row.high, known=row.priced)}"
        was, now = shown(row.before) or "new", least(row.after, known=row.priced) or "0.00"
        line = printable(f"{row.resource}: {was} → {now} ({signed(row.difference)}; {extent})")
        yield from textwrap.wrap(line, max(width, 40), initial_indent="  ", subsequent_indent="    ")
        for note in row.notes:
            yield from textwrap.wrap(printable(note), max(width, 40), initial_indent="    ", subsequent_indent="      ")
    if len(workloads) > MAX_WORKLOADS:
        yield f"  and {plural(len(workloads) - MAX_WORKLOADS, 'workload')} more"
    for budget in report.budgets:
        yield from textwrap.wrap(printable(budget_sentence(budget)), max(width, 40))


def _finding_json(finding: Finding, place: Location | None) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "category": finding.category.value,
        "severity": finding.severity.value,
        "resource": finding.resource.to_json(),
        "file": None if place is None else place.file,
        "line": None if place is None else place.line,
        "column": None if place is None else place.column,
        "message": finding.message,
        "fix": finding.fix,
        "waiver": finding.waiver,
        "pointer": finding.pointer,
        "cost_delta": None if finding.cost_delta is None else str(finding.cost_delta),
    }
