"""`customhouse cost`: what workloads will cost, have cost, and what comes next."""

from __future__ import annotations

from decimal import Decimal

import click

from customhouse._kit.clock import to_rfc3339
from customhouse.app.settings import Settings
from customhouse.cli.cost_serverless import serverless
from customhouse.cli.output import common, formats, talk, write_csv, write_json, write_table, write_text


@click.group()
def cost() -> None:
    """Estimate, report and forecast what workloads cost."""


cost.add_command(serverless)


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
    for work in report.workloads:
        if work.room:
            write_text(
                f"room, not in the total: {work.resource} for up to {work.high.rounded()} {report.currency} a month"
            )
    write_text(f"price book {report.book.digest} of {report.book.as_of}")
    for item in report.unpriced:
        write_text(f"unpriced, not free: {item}")


@cost.command()
@formats("json")
@common
def report(output: str, settings: Settings) -> None:
    """Show what was charged this month, per workload and release; `forecast` says what the month will come to."""
    from customhouse.app.costing import month

    found = month(settings)
    if output == "json":
        write_json(found)
        return
    columns = ["Workload", "Release", "Category", "USD"]
    write_table("", columns, [[r["resource"], r["release"], r["category"], r["amount"]] for r in found["rows"]])
    write_text(f"charged this month: {found['month_to_date']} {found['currency']}")


@cost.command()
@click.option("--series", metavar="FILE", help="Forecast a CSV (timestamp,value) instead of the month's cost.")
@click.option("--horizon", type=click.IntRange(1, 10_000), metavar="N", help="How many steps of the series.")
@click.option(
    "--level", type=click.IntRange(50, 99), default=90, show_default=True, help="Percentage that the interval covers."
)
@click.option(
    "--repo", metavar="REPO", help="Where the deployed revision is (default: the repository that `up` follows)."
)
@formats("json", "csv")
@common
def forecast(
    series: str | None, horizon: int | None, level: int, repo: str | None, output: str, settings: Settings
) -> None:
    """Forecast what this month will come to, or the next values of a series, with an interval."""
    if series is None:
        _month(settings, repo, output, horizon, level)
        return
    if horizon is None:
        raise click.UsageError("--series needs --horizon N")
    from customhouse.app.costing import forecast_series

    found = forecast_series(series, horizon, level)
    rows = [
        {"timestamp": to_rfc3339(at), "mean": mean, "lo": low, "hi": high}
        for at, mean, low, high in zip(found.times, found.mean, found.lo, found.hi, strict=True)
    ]
    if output == "csv":
        write_csv(["timestamp", "mean", "lo", "hi"], rows)
    elif output == "json":
        write_json({"level": level, "method": found.method, "season": found.season, "rows": rows})
    else:
        shown = [[row["timestamp"], *(f"{row[name]:g}" for name in ("mean", "lo", "hi"))] for row in rows]
        write_table("", ["Time", "Mean", "Low", "High"], shown)
    talk(settings, found.method)


def _month(settings: Settings, repo: str | None, output: str, horizon: int | None, level: int) -> None:
    if horizon is not None or output == "csv":
        raise click.UsageError("--horizon and -o csv are for --series FILE")
    if level != 90:
        raise click.UsageError("the month's interval covers 90 %; --level is for --series FILE")
    from customhouse.app.costing import forecast_month_of

    found = forecast_month_of(settings, repo)
    if output == "json":
        write_json(found)
        return
    columns = ["Charged so far", "Month", "Low", "High", "Rests on"]
    money = [f"{Decimal(found[key]):.2f} {found['currency']}" for key in ("mean", "low", "high")]
    so_far = f"{Decimal(found['month_to_date']):.6f} {found['currency']}"
    write_table("", columns, [[so_far, *money, found["method"]]])
