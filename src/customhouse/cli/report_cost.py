"""What a change costs, in the words and rows that all reports share. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from customhouse._kit.money import Money
from customhouse.core.cost import BudgetState, CostReport
from customhouse.core.resource import ResourceRef


@dataclass(frozen=True, slots=True)
class CostRow:
    """One workload: before and after a month (None: not there), the range after, and what is said beside it."""

    resource: ResourceRef
    before: Money | None
    after: Money | None
    low: Money | None = None
    high: Money | None = None

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
        yield CostRow(work.resource, report.workloads_before.get(work.resource), work.monthly, work.low, work.high)
    for ref, amount in report.removed.items():
        yield CostRow(ref, amount, None)


def cost_sentence(report: CostReport) -> str:
    """The totals on one line."""
    sentence = (
        f"Cost a month: {report.before.rounded()} → {report.after.rounded()} {report.currency} "
        f"({signed(report.after - report.before)}; range {report.low.rounded()} to {report.high.rounded()}; "
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


def signed(amount: Money) -> str:
    """Two places with the sign of what is added."""
    return f"+{amount.rounded()}" if amount.pico > 0 else amount.rounded()
