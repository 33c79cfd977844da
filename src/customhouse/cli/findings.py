"""Decisions as a table, as JSON (DESIGN section 5) and as the comment of a pull request. Pure: values in, text out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from customhouse._kit.digest import json_digest
from customhouse._kit.money import Money
from customhouse.core.cost import BudgetState, CostReport
from customhouse.core.decision import Decision, Finding, Severity, Verdict, overall
from customhouse.core.resource import Location

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_COMMENT = 40_000
"""Characters of finding rows in the Markdown: GitHub refuses a comment of more than 65,536 in all."""
MAX_ROWS = 20
"""Workloads and budgets that the Markdown shows."""
MAX_CELL = 500
_SEVERITY_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}
_VERDICT_STYLES = {Verdict.DENY: "bold red", Verdict.WARN: "bold yellow", Verdict.ALLOW: "bold green"}
_SENTENCES = {
    Verdict.ALLOW: "Cleared: nothing stands against this change.",
    Verdict.WARN: "Cleared with warnings.",
    Verdict.DENY: "Denied: this change does not enter production.",
}
# What CommonMark, GitHub's and GitLab's extensions give a meaning inside a table cell.
_MARKUP = re.compile(r"([\\`*_{}\[\]~!$^])|([<>&|])")
# Forges turn these into mentions, references and links after the Markdown is HTML, where no escape helps any more; an
# invisible word joiner between the two halves does.
_REFERENCES = re.compile(r"([@#])|(:)(?=//)|(\bwww)(?=\.)", re.IGNORECASE)
_WORD_JOINER = "\u2060"


def decisions_json(decisions: Sequence[Decision], cost_report: CostReport | None) -> dict[str, Any]:
    """The JSON of `gate`. With several decisions each digest is that of the sorted list of theirs."""
    return {
        "verdict": overall(decisions).value,
        "digest": _joint([decision.digest for decision in decisions]),
        "facts_digest": _joint([decision.facts_digest for decision in decisions]),
        "bundle_digest": _joint(sorted({decision.bundle_digest for decision in decisions})),
        "findings": [_finding_json(finding, place) for finding, place in _rows(decisions)],
        "cost": None if cost_report is None else cost_report.to_json(),
    }


def decisions_table(decisions: Sequence[Decision], cost_report: CostReport | None = None) -> RenderableType:
    """What a terminal shows: the verdict, three lines a finding (columns would be a word wide on 80), and the cost."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    verdict = overall(decisions)
    rows = _rows(decisions)
    head = Text(_SENTENCES[verdict], style=_VERDICT_STYLES[verdict])
    head.append(f" {_counts(rows, len(decisions))}", style="not bold default")
    parts: list[RenderableType] = [head]
    for finding, place in rows:
        # Text, not markup: a message may hold square brackets, which rich would take for styles.
        style = "dim" if finding.waiver else _STYLES[finding.severity]
        title = Text(f"\n{finding.severity.value:<8}", style=style)
        title.append(f"{_printable(finding.rule)}  ", style="bold")
        title.append(f"{_printable(str(place or finding.resource))}", style="cyan")
        parts.append(title)
        parts.append(Padding(Text(_printable(f"{finding.resource}: {finding.message}")), (0, 0, 0, 8)))
        parts.append(Padding(Text(_printable(_waived(finding) or finding.fix), style="dim"), (0, 0, 0, 8)))
    if cost_report is not None:
        parts.append(Text(_printable(f"\n{_cost_sentence(cost_report)}")))
        parts.extend(Text(_printable(_budget_sentence(budget))) for budget in cost_report.budgets)
    return Group(*parts)


def decisions_markdown(decisions: Sequence[Decision], cost_report: CostReport | None = None) -> str:
    """The comment of a pull request. Text from the repository is escaped: it can bring no link, image or mention."""
    verdict = overall(decisions)
    rows = _rows(decisions)
    lines = [f"## Customhouse: {verdict.value}", "", f"**{_SENTENCES[verdict]}** {_counts(rows, len(decisions))}", ""]
    if rows:
        lines += ["| severity | rule | where | finding | what to do |", "|---|---|---|---|---|"]
        shown = [_markdown_row(finding, place) for finding, place in rows]
        size, kept = 0, 0
        while kept < len(shown) and size + len(shown[kept]) <= MAX_COMMENT:
            size += len(shown[kept])
            kept += 1
        lines += shown[:kept]
        if kept < len(shown):
            lines.append(f"| | | | {len(shown) - kept} more findings: run `customhouse gate` | |")
        lines.append("")
    if cost_report is not None:
        lines += _markdown_cost(cost_report)
    body = decisions_json(decisions, None)
    lines += [
        "<details><summary>Digests</summary>",
        "",
        f"- decision `{body['digest']}`",
        f"- facts `{body['facts_digest']}`",
        f"- bundle `{body['bundle_digest']}`",
    ]
    if cost_report is not None:
        lines.append(f"- price book `{_code(cost_report.book.digest)}`, prices of {_escaped(cost_report.book.as_of)}")
    return "\n".join([*lines, "", "</details>", ""])


def _rows(decisions: Sequence[Decision]) -> list[tuple[Finding, Location | None]]:
    """Findings of all decisions with their places: the worst first, then by place, so that the order is always one."""
    rows = [
        (finding, decision.locations[index] if index < len(decision.locations) else None)
        for decision in decisions
        for index, finding in enumerate(decision.findings)
    ]
    return sorted(
        rows,
        key=lambda row: (
            row[0].waiver is not None,
            _SEVERITY_ORDER[row[0].severity],
            row[0].resource,
            row[0].rule,
            row[1] or Location(""),
            row[0].message,
        ),
    )


def _joint(digests: Sequence[str]) -> str:
    return digests[0] if len(digests) == 1 else json_digest(sorted(digests))


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


def _waived(finding: Finding) -> str:
    return f"Waived by {finding.waiver}." if finding.waiver else ""


def _counts(rows: Sequence[tuple[Finding, Location | None]], changes: int) -> str:
    counts = {severity: sum(f.severity is severity and f.waiver is None for f, _ in rows) for severity in Severity}
    waived = sum(finding.waiver is not None for finding, _ in rows)
    parts = [_plural(changes, "change"), *(_plural(count, name.value) for name, count in counts.items() if count)]
    return ", ".join([*parts, *([f"{waived} waived"] if waived else [])]) + "."


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _markdown_row(finding: Finding, place: Location | None) -> str:
    waived = _waived(finding)
    cells = (
        f"~~{finding.severity.value}~~" if waived else finding.severity.value,
        f"`{_code(finding.rule)}`",
        "" if place is None else f"`{_code(str(place))}`",
        f"{_escaped(str(finding.resource))}: {_escaped(finding.message)}",
        _escaped(waived or finding.fix),
    )
    return f"| {' | '.join(cells)} |"


def _markdown_cost(report: CostReport) -> list[str]:
    currency = report.currency
    lines = [
        "| cost a month | before | after | difference | range |",
        "|---|---|---|---|---|",
        f"| all changes | {report.before.rounded()} {currency} | {report.after.rounded()} {currency} "
        f"| {_signed(report.after - report.before)} {currency} "
        f"| {report.low.rounded()} to {report.high.rounded()} {currency} |",
    ]
    lines += [
        f"| {_escaped(str(work.resource))} | | {work.monthly.rounded()} {currency} | "
        f"| {work.low.rounded()} to {work.high.rounded()} {currency} |"
        for work in report.workloads[:MAX_ROWS]
    ]
    lines.append("")
    if report.budgets:
        lines += ["| budget | limit | spent this month | forecast | left |", "|---|---|---|---|---|"]
        lines += [
            f"| {_escaped(item.name)} | {item.limit.rounded()} | {item.month_to_date.rounded()} "
            f"| {item.forecast.rounded()} | {item.left.rounded()} |"
            for item in report.budgets[:MAX_ROWS]
        ]
        lines.append("")
    if report.unpriced:
        lines += [f"No price is known for {_escaped(', '.join(report.unpriced))}: the cost is not known, not zero.", ""]
    return lines


def _cost_sentence(report: CostReport) -> str:
    sentence = (
        f"Cost a month: {report.before.rounded()} → {report.after.rounded()} {report.currency} "
        f"({_signed(report.after - report.before)}; range {report.low.rounded()} to {report.high.rounded()}; "
        f"prices of {report.book.as_of})."
    )
    return f"{sentence} No price is known for {', '.join(report.unpriced)}." if report.unpriced else sentence


def _budget_sentence(budget: BudgetState) -> str:
    return (
        f"Budget {budget.name}: limit {budget.limit.rounded()}, spent {budget.month_to_date.rounded()}, "
        f"forecast {budget.forecast.rounded()}, left {budget.left.rounded()} {budget.limit.currency}."
    )


def _signed(amount: Money) -> str:
    return f"+{amount.rounded()}" if amount.pico > 0 else amount.rounded()


def _printable(text: str) -> str:
    """Without control characters: an escape sequence in a manifest must not drive the reader's terminal."""
    return "".join(character for character in text if character.isprintable() or character == "\n")


def _escaped(text: str) -> str:
    """One line of plain text in Markdown: control characters dropped, markup neutralised, length bounded."""
    plain = " ".join("".join(character for character in text if character.isprintable() or character.isspace()).split())
    if len(plain) > MAX_CELL:
        plain = plain[: MAX_CELL - 1] + "…"
    plain = _REFERENCES.sub(lambda match: match[0] + _WORD_JOINER, plain)
    return _MARKUP.sub(lambda match: f"\\{match[1]}" if match[1] else f"&#{ord(match[2])};", plain)


def _code(text: str) -> str:
    """Text inside a code span of a table: no backtick, no bar, one line."""
    return "".join(character for character in text if character.isprintable()).replace("`", "'").replace("|", "¦")[:200]
