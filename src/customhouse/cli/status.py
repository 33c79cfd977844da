"""`customhouse status` and `history`: what runs and what ran."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table, write_text


@click.command()
@formats("json")
@common
@click.pass_context
def status(ctx: click.Context, output: str, settings: Settings) -> None:
    """Show what the control plane last saw: releases, health, costs. Exit status 4 while a problem is open."""
    from customhouse.app.statusfile import read_status

    found = read_status(settings)
    if output == "json":
        write_json(found)
    else:
        rows = [
            [f"{r['namespace']}/{r['name']}", r["release"][7:19], r["phase"], r["health"], _percent(r["weight"])]
            for r in found["releases"]
        ]
        write_table("", ["Workload", "Release", "Phase", "Health", "Traffic"], rows)
        write_text(f"as of {found['at']}: {found['state']}, deployed {found['deployed'][:12]}")
        if found["problem"]:
            write_text(f"problem: {found['problem']}")
    ctx.exit(4 if found["problem"] else 0)


@click.command()
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at the most.")
@formats("json")
@common
def history(name: str | None, limit: int, output: str, settings: Settings) -> None:
    """Show the releases of a workload: commit, author, verdict, artifact, time and how it ended."""
    from customhouse.app.records import history as releases

    found = releases(settings, name, limit)
    if output == "json":
        write_json(found)
        return
    columns = ["Time", "Workload", "Release", "Phase", "Commit", "Author", "Verdict", "Reason"]
    rows = [
        [
            item["at"][:19],
            f"{item['resource']['namespace']}/{item['resource']['name']}",
            item["release"][7:19],
            item["phase"],
            item["revision"][:12],
            item["author"],
            item["verdict"],
            item["reason"],
        ]
        for item in found
    ]
    write_table("", columns, rows)


def _percent(weight: int | None) -> str:
    return "" if weight is None else f"{weight} %"
