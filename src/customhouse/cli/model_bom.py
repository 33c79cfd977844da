"""`customhouse model bom`: its bill of materials."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import cached, shown
from customhouse.cli.output import common, write_json


@click.command()
@click.argument("path")
@click.option("--name", metavar="NAME", help="What the model is called (default: the folder's name).")
@click.option("--version", "version", default="0", show_default=True, help="The model's version.")
@cached
@common
def bom(path: str, name: str | None, version: str, cache: bool, settings: Settings) -> None:
    """Write the CycloneDX 1.6 bill of materials of a model to stdout."""
    from customhouse.app.looks import looking
    from customhouse.app.modelbom import bill

    with shown(settings), looking(settings, [path], cache=cache) as wish:
        write_json(bill(path, name, version, wish))
