"""`customhouse doctor`: what this machine has and lacks."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table


@click.command()
@formats("json")
@common
@click.pass_context
def doctor(ctx: click.Context, output: str, settings: Settings) -> None:
    """Check programs, packages and the state directory. Exit status: 3 when something that is needed is missing."""
    from customhouse.app.checkup import checkup

    rows = checkup(settings)
    if output == "json":
        write_json({"checks": rows})
    else:
        write_table("", ["Check", "State", "Detail"], [[r["name"], r["state"], r["detail"]] for r in rows])
    ctx.exit(3 if any(row["state"] == "missing" for row in rows) else 0)
