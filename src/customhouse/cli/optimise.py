"""`customhouse optimise`: recommendations and proposals."""

from __future__ import annotations

from decimal import Decimal

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_table


@click.group()
def optimise() -> None:
    """Recommend and propose right sizes from observed usage."""


@optimise.command()
@click.option("--repo", default=".", show_default=True, help="Repository: a clone, a bare repository or a URL.")
@formats("json")
@common
def recommend(repo: str, output: str, settings: Settings) -> None:
    """Show what should be declared otherwise, with the saving and the risk. Writes nothing."""
    from customhouse.app.optimising import recommend as advice

    found = advice(settings, repo)
    if output == "json":
        write_json({"recommendations": found})
        return
    if not found:
        talk(settings, "nothing to recommend: the declared sizes fit, or too little was seen yet")
    write_table(
        "", ["Proposal", "Saving a month", "Risk"], [[r["title"], _cents(r["saving"]), r["risk"]] for r in found]
    )


@optimise.command()
@click.option("--repo", default=".", show_default=True, help="Repository: a path or a URL.")
@click.option("--branch", default="main", show_default=True, help="The deployed branch.")
@formats("json")
@common
def propose(repo: str, branch: str, output: str, settings: Settings) -> None:
    """Write every recommendation to a branch of its own, as `customhouse up` does by itself."""
    from customhouse.app.optimising import propose as write

    found = write(settings, repo, branch)
    if output == "json":
        write_json({"proposals": found})
        return
    if not found:
        talk(settings, "nothing to propose: the declared sizes fit, or too little was seen yet")
    write_table(
        "", ["Branch", "Title", "Saving a month"], [[r["branch"], r["title"], _cents(r["saving"])] for r in found]
    )


def _cents(amount: str) -> str:
    return f"{Decimal(amount):.2f} USD"
