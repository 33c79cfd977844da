"""`customhouse rollback`: the commit that undoes a release."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, talk, write_text


@click.command()
@click.argument("name")
@click.option("--repo", default=".", show_default=True, help="Repository: a path or a URL.")
@click.option("--branch", default="main", show_default=True, help="The deployed branch.")
@click.option("--reason", default="asked for by hand", show_default=True, help="Why; goes into the commit.")
@common
def rollback(name: str, repo: str, branch: str, reason: str, settings: Settings) -> None:
    """Write the commit that undoes the latest release of a workload; `customhouse up` does the rest.

    NAME is the workload's name; where several have it, NAMESPACE/NAME or KIND/NAMESPACE/NAME.
    """
    from customhouse.app.rollingback import rollback as undo

    commit = undo(settings, repo, branch, name, reason)
    write_text(commit)
    talk(settings, f"{branch} is now at {commit[:12]}")
