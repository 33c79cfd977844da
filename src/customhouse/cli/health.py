"""`customhouse health`: the health of objects in files."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@formats("json")
@common
def health(paths: tuple[str, ...], output: str, settings: Settings) -> None:  # noqa: ARG001 - as every command
    """Tell the health of the objects in files, one row per object, in the order of the arguments."""
    from customhouse.app.healthcheck import health_of

    rows = health_of(paths)
    if output == "json":
        write_json({"objects": rows})
        return
    shown = [[f"{r['resource']['kind']} {r['resource']['name']}", r["status"], r["message"]] for r in rows]
    write_table("", ["Object", "Status", "Message"], shown)
