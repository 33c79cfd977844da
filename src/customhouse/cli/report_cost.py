"""What a change costs, in the words and rows that all reports share. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from customhouse._kit.money import Money
from customhouse.core.cost import BudgetState, CostReport, WorkloadCost
from customhouse.core.resource import ResourceRef


@dataclass(frozen=True, slots=True)
class CostRow:
    """One workload: before and after a month (None: not there), the range after, and what is said beside it."""

    resource: ResourceRef
    before: Money | None
    after: Money | None
    low: Money | None = None
    high: Money | None = None
    notes: tuple[str, ...] = ()
    priced: bool = True
    """False: something in it has no price, so that its amounts are the least it can be."""

    @property
    def difference(self) -> Money:
        """After − before."""
        if self.after is None:
            assert self.before is not None  # noqa: S101 - a row has one side at least
            return Money.zero(self.before.currency) - self.before
        return self.after if self.before is None else self.after - self.before


def cost_rows(report: CostReport) -> Iterator[CostRow]:
    """A row a workload, those that are removed last; each column sums to the report's total exactly."""
    for work in report.workloads:
        was = report.workloads_before.get(work.resource)
        notes = tuple(_notes(work))
        yield CostRow(work.resource, was, work.monthly, work.low, work.high, notes, priced=not work.unpriced)
    for ref, amount in report.removed.items():
        yield CostRow(ref, amount, None)


def _notes(work: WorkloadCost) -> Iterator[str]:
    """What the figures rest on besides prices: runs, deadlines, autoscalers, spot; unit prices; what is left out."""
    if work.room:
        yield "room for what is priced by itself; not in the totals"
    told = [str(row["source"]).split("; ") for row in work.breakdown]
    # What every row says is about the workload, the rest is about one rate.
    shared = [part for part in told[0] if all(part in others for others in told[1:])] if told else []
    spot = [part for parts in told for part in parts if "spot" in part.lower()]
    yield from dict.fromkeys(part for part in (*shared, *spot) if "USD/h" not in part and "least squares" not in part)
    for amount, unit in (
        (work.per_million_tokens, "million tokens"),
        (work.per_thousand_predictions, "1,000 predictions"),
    ):
        if amount is not None:
            yield f"{amount.rounded(4)} {amount.currency} per {unit} at the declared throughput"
    yield from (f"not in the figures: {item}" for item in work.uncounted)


def cost_sentence(report: CostReport) -> str:
    """The totals on one line."""
    sentence = (
        f"Cost a month: {report.before.rounded()} → {least(report.after, known=not report.unpriced)} {report.currency} "
        f"({signed(report.after - report.before)}; range {span(report.low, report.high, known=not report.unpriced)}; "
        f"prices of {report.book.as_of})."
    )
    return f"{sentence} No price is known for {', '.join(report.unpriced)}." if report.unpriced else sentence


def budget_sentence(budget: BudgetState) -> str:
    """A budget on one line."""
    return (
        f"Budget {budget.name}: limit {budget.limit.rounded()}, spent {budget.month_to_date.rounded()}, "
        f"forecast {budget.forecast.rounded()}, left {budget.left.rounded()} {budget.limit.currency}."
    )


def shown(amount: Money | None) -> str:
    """Two places; empty for a workload that is not there."""
    return "" if amount is None else amount.rounded()


def least(amount: Money | None, *, known: bool) -> str:
    """As `shown`; where a price is missing the amount is a lower bound, and nothing at all is not known, never 0."""
    if known or amount is None:
        return shown(amount)
    return f"at least {amount.rounded()}" if amount.pico else "not known"


def span(low: Money, high: Money, *, known: bool, currency: str = "") -> str:
    """A range in words, with its currency where asked for; without a price for everything it has no upper end."""
    unit = f" {currency}" if currency else ""
    return f"{low.rounded()} to {high.rounded()}{unit}" if known else f"{low.rounded()}{unit} or more"


def signed(amount: Money) -> str:
    """Two places with the sign of what is added."""
    return f"+{amount.rounded()}" if amount.pico > 0 else amount.rounded()
