"""`customhouse data`: datasets."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import shown
from customhouse.cli.output import common, formats, talk, write_json, write_text


@click.group()
def data() -> None:
    """Register datasets by digest."""


@data.command()
@click.argument("path")
@click.option("--name", required=True, metavar="NAME", help="What the dataset is called.")
@click.option("--by", metavar="WHO", help="Who registers it (default: GIT_AUTHOR_NAME and _EMAIL, else the user).")
@formats("json")
@common
def register(path: str, name: str, by: str | None, output: str, settings: Settings) -> None:
    """Record a file or folder in the ledger by its digest, which models are then trained on and traced to."""
    from customhouse.app.datasets import register as enter

    with shown(settings):
        found = enter(settings, path, name, by)
    if output == "json":
        write_json(found)
    else:
        write_text(f"{found['digest']}  {found['name']}: {found['files']} files, {found['size']} bytes")
    state = "entered" if found["registered"] else "was entered before"
    talk(settings, f"{state}: ledger entry {found['entry']}")
