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
    """Check programs, packages, the state directory, the registries of customhouse.yaml, and the scheduler's extender.

    A registry is asked whether it answers over TLS and what strangers may do there: an upload is begun without a login
    and given up. Exit status: 3 when something that is needed is missing, or whoever reaches a registry may write.
    """
    from customhouse.app.checkup import checkup

    rows = checkup(settings)
    if output == "json":
        write_json({"checks": rows})
    else:
        write_table("", ["Check", "State", "Detail"], [[r["name"], r["state"], r["detail"]] for r in rows])
    ctx.exit(3 if any(row["state"] == "missing" for row in rows) else 0)
