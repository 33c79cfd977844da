"""`customhouse cost`: what workloads will cost, have cost, and what the month comes to."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table, write_text


@click.group()
def cost() -> None:
    """Estimate, report and forecast what workloads cost."""


@cost.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@formats("json")
@common
def estimate(paths: tuple[str, ...], output: str, settings: Settings) -> None:
    """Price the workloads in files or folders for a month of 730 hours."""
    from customhouse.app.costing import estimate as price

    report = price(settings, paths)
    if output == "json":
        write_json(report.to_json())
        return
    rows = [
        [str(work.resource), str(row["item"]), f"{row['quantity']} {row['unit']}", row["rate"], row["monthly"]]
        for work in report.workloads
        for row in work.breakdown
    ]
    write_table("", ["Workload", "Item", "Quantity", f"{report.currency}/h", f"{report.currency}/month"], rows)
    write_text(
        f"after: {report.after.rounded()} {report.currency} a month, {report.low.rounded()} to {report.high.rounded()}"
    )
    write_text(f"price book {report.book.digest} of {report.book.as_of}")
    for item in report.unpriced:
        write_text(f"unpriced, not free: {item}")


@cost.command()
@formats("json")
@common
def report(output: str, settings: Settings) -> None:
    """Show what was charged this month, per workload and release, and what the month will come to."""
    from customhouse.app.costing import month

    found = month(settings)
    if output == "json":
        write_json(found)
        return
    columns = ["Workload", "Release", "Category", "USD"]
    write_table("", columns, [[r["resource"], r["release"], r["category"], r["amount"]] for r in found["rows"]])
    write_text(f"charged this month: {found['month_to_date']} {found['currency']}")
