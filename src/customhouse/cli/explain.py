"""`customhouse explain`: a rule, an error code, or a stored decision."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_text


@click.command()
@click.argument("identifier", metavar="ID")
@formats("json")
@common
def explain(identifier: str, output: str, settings: Settings) -> None:
    """Explain a rule (`evidence-missing`), an error (`CH010`) or a decision (the beginning of its digest)."""
    from customhouse.app.explaining import explanation

    found = explanation(settings, identifier)
    if output == "json":
        write_json(found)
    else:
        write_text(found["shown"])
