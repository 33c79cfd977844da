"""`customhouse plan`: what the target needs."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table, write_text


@click.command()
@click.option("--repo", default=".", show_default=True, help="Repository: a clone, a bare repository or a URL.")
@click.option("--revision", default="HEAD", show_default=True, metavar="REV", help="The revision to reach.")
@formats("json")
@common
def plan(repo: str, revision: str, output: str, settings: Settings) -> None:
    """Show what the target needs to reach a revision, against what this state directory last applied."""
    from customhouse.app.planning import plan as planned

    found = planned(settings, repo, revision)
    if output == "json":
        write_json(found)
        return
    rows = [
        [item["action"], f"{item['resource']['kind']} {item['resource']['namespace']}/{item['resource']['name']}"]
        for item in found["actions"]
    ]
    write_table("", ["Action", "Resource"], rows)
    write_text(found["blocked"] or f"{len(rows)} actions to reach {found['revision'][:12]}")
