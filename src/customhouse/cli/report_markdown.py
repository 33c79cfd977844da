"""Decisions as the one comment of a pull request. Pure; no text of a manifest can bend the Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from customhouse._kit.money import Money
from customhouse.cli.report_cost import CostRow, cost_rows, least, signed, span
from customhouse.cli.report_rows import SENTENCES, counts, joint, rows, waived
from customhouse.core.comment import MARKER
from customhouse.core.cost import CostReport
from customhouse.core.decision import Decision, Finding, overall
from customhouse.core.resource import Location

MAX_COMMENT = 40_000
"""Characters of finding rows in the Markdown: GitHub refuses a comment of more than 65,536 in all."""
MAX_ROWS = 20
"""Workloads and budgets that the Markdown shows."""
MAX_NOTES = 4
MAX_CELL = 500
# What CommonMark, GitHub's and GitLab's extensions give a meaning inside a table cell.
_MARKUP = re.compile(r"([\\`*_{}\[\]~!$^])|([<>&|])")
# Forges turn these into mentions, references and links after the Markdown is HTML, where no escape helps any more; an
# invisible word joiner between the two halves does.
_REFERENCES = re.compile(r"([@#])|(:)(?=//)|(\bwww)(?=\.)", re.IGNORECASE)
_WORD_JOINER = "\u2060"


def undecided_markdown(message: str, where: str, hint: str) -> str:
    """The comment when nothing could be decided: it takes the place of one that says "allow" of an older commit."""
    place = f"`{_code(where)}`: " if where else ""
    fix = [f"What to do: {escaped(hint)}", ""] if hint else []
    lines = [MARKER, "## Customhouse: could not decide", "", f"**The gate stays shut.** {place}{escaped(message)}", ""]
    return "\n".join([*lines, *fix])


def decisions_markdown(
    decisions: Sequence[Decision],
    cost_report: CostReport | None = None,
    commit: str | None = None,
    fetched: Sequence[str] = (),
) -> str:
    """The comment of a pull request. Text from the repository is escaped: it can bring no link, image or mention.

    `commit` is the one that was judged, so that a reader sees whether the comment is about what is there now; `fetched`
    are sentences about charts of registries.
    """
    verdict = overall(decisions)
    found = rows(decisions)
    lines = [
        MARKER,
        f"## Customhouse: {verdict.value}",
        "",
        f"**{SENTENCES[verdict]}** {counts(found, len(decisions))}",
        "",
    ]
    if found:
        lines += ["| severity | rule | where | finding | what to do |", "|---|---|---|---|---|"]
        shown = [_markdown_row(finding, place) for finding, place in found]
        size, kept = 0, 0
        while kept < len(shown) and size + len(shown[kept]) <= MAX_COMMENT:
            size += len(shown[kept])
            kept += 1
        lines += shown[:kept]
        if kept < len(shown):
            lines.append(f"| | | | {len(shown) - kept} more findings: run `customhouse gate` | |")
        lines.append("")
    if fetched:
        lines += [*(f"- {escaped(sentence[:MAX_CELL])}" for sentence in fetched[:MAX_ROWS]), ""]
    if cost_report is not None:
        lines += _markdown_cost(cost_report)
    digests = {
        "decision": [decision.digest for decision in decisions],
        "facts": [decision.facts_digest for decision in decisions],
        "bundle": sorted({decision.bundle_digest for decision in decisions}),
    }
    lines += [
        "<details><summary>Digests</summary>",
        "",
        *([f"- commit `{_code(commit)}`"] if commit else []),
        *(f"- {name} `{joint(said)}`" for name, said in digests.items()),
    ]
    if cost_report is not None:
        lines.append(f"- price book `{_code(cost_report.book.digest)}`, prices of {escaped(cost_report.book.as_of)}")
    return "\n".join([*lines, "", "</details>", ""])


def _markdown_row(finding: Finding, place: Location | None) -> str:
    pardon = waived(finding)
    cells = (
        f"~~{finding.severity.value}~~" if pardon else finding.severity.value,
        f"`{_code(finding.rule)}`",
        "" if place is None else f"`{_code(str(place))}`",
        f"{escaped(str(finding.resource))}: {escaped(finding.message)}",
        escaped(pardon or finding.fix),
    )
    return f"| {' | '.join(cells)} |"


def _markdown_cost(report: CostReport) -> list[str]:
    currency = report.currency
    lines = [
        "| cost a month | before | after | difference | range |",
        "|---|---|---|---|---|",
        f"| all changes | {report.before.rounded()} {currency} | {_amount(report.after, known=not report.unpriced)} "
        f"| {signed(report.after - report.before)} {currency} "
        f"| {span(report.low, report.high, known=not report.unpriced, currency=currency)} |",
    ]
    workloads = list(cost_rows(report))
    lines += [
        f"| {escaped(str(row.resource))} | {_amount(row.before)} | {_amount(row.after, known=row.priced)} "
        f"| {signed(row.difference)} {currency} | {_range(row)} |"
        for row in workloads[:MAX_ROWS]
    ]
    if len(workloads) > MAX_ROWS:
        lines.append(f"| {len(workloads) - MAX_ROWS} more workloads are in the totals | | | | |")
    lines.append("")
    if report.budgets:
        lines += ["| budget | limit | spent this month | forecast | left |", "|---|---|---|---|---|"]
        lines += [
            f"| {escaped(item.name)} | {item.limit.rounded()} | {item.month_to_date.rounded()} "
            f"| {item.forecast.rounded()} | {item.left.rounded()} |"
            for item in report.budgets[:MAX_ROWS]
        ]
        lines.append("")
    if report.unpriced:
        lines += [f"No price is known for {escaped(', '.join(report.unpriced))}: the cost is not known, not zero.", ""]
    return lines


def _range(row: CostRow) -> str:
    """The range of a workload's cost, and under it what the figures rest on."""
    if row.low is None or row.high is None:
        return "removed"
    notes = [escaped(note) for note in row.notes[:MAX_NOTES]]
    return "<br>".join([span(row.low, row.high, known=row.priced, currency=row.low.currency), *notes])


def _amount(amount: Money | None, *, known: bool = True) -> str:
    if amount is None or not (known or amount.pico):
        return least(amount, known=known)
    return f"{least(amount, known=known)} {amount.currency}"


def escaped(text: str) -> str:
    """One line of plain text in Markdown: control characters dropped, markup neutralised, length bounded."""
    plain = " ".join("".join(character for character in text if character.isprintable() or character.isspace()).split())
    if len(plain) > MAX_CELL:
        plain = plain[: MAX_CELL - 1] + "…"
    plain = _REFERENCES.sub(lambda match: match[0] + _WORD_JOINER, plain)
    return _MARKUP.sub(lambda match: f"\\{match[1]}" if match[1] else f"&#{ord(match[2])};", plain)


def _code(text: str) -> str:
    """Text inside a code span of a table: no backtick, no bar, one line."""
    return "".join(character for character in text if character.isprintable()).replace("`", "'").replace("|", "¦")[:200]
