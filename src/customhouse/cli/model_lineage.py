"""`customhouse model lineage`: what other tools claim of where a model comes from."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import shown
from customhouse.cli.output import common, formats, talk, write_json, write_table, write_text


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--enter", is_flag=True, help="Enter them into the ledger as claims, which `trace` shows as such.")
@click.option("--by", metavar="WHO", default="unknown", show_default=True, help="With --enter: who passes them on.")
@formats("json")
@common
@click.pass_context
def lineage(ctx: click.Context, paths: tuple[str, ...], enter: bool, by: str, output: str, settings: Settings) -> None:
    """Read what MLflow, OpenLineage and DVC claim, and compare it with the bytes that are here.

    PATHS are run folders or REST answers of MLflow, OpenLineage events (JSON, JSON lines), dvc.lock, dvc.yaml and .dvc
    files. These are claims: nothing here is signed, and no rule believes them. Exit status: 0, or 1 when bytes differ.
    """
    from customhouse.app.lineage import lineage as read

    with shown(settings):
        found = read(paths)
    if enter:
        from customhouse.app.custody_claims import enter_claims

        entered = enter_claims(settings, found, by)
        talk(settings, f"{entered['new']} of {len(entered['entries'])} ledger entries are new")
    differ = any(claim.state == "bytes differ" for claim in found)
    if output == "json":
        write_json({"claims": [claim.to_json() for claim in found]})
        ctx.exit(1 if differ else 0)
    rows = [
        (item.state, item.direction, item.role, item.name, item.measured or item.commit or item.note, item.source)
        for item in found[:500]
    ]
    write_table("claims, and not proof", ("state", "", "role", "name", "digest, commit or note", "who says so"), rows)
    if len(found) > len(rows):
        write_text(f"… {len(found) - len(rows)} more; -o json has all")
    ctx.exit(1 if differ else 0)
