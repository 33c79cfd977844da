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
@click.option("--pull-request", is_flag=True, help="On a branch to be merged, also where reverts are pushed.")
@common
def rollback(name: str, repo: str, branch: str, reason: str, pull_request: bool, settings: Settings) -> None:
    """Write the commit that undoes the latest release of a workload; `customhouse up` does the rest.

    NAME is the workload's name; where several have it, NAMESPACE/NAME or KIND/NAMESPACE/NAME, and @TARGET behind it for
    one of several clusters. Where customhouse.yaml says `forge.rollback: pull-request`, one is opened.
    """
    from customhouse.app.rollingback import rollback as undo

    found = undo(settings, repo, branch, name, reason, asked=pull_request)
    write_text(found.commit)
    if found.branch == branch:
        talk(settings, f"{branch} is now at {found.commit[:12]}")
    elif found.pull_request is not None:
        word = "opened" if found.pull_request.opened else "is open"
        talk(settings, f"pull request {found.pull_request.number} {word}: {found.pull_request.url}")
    else:
        talk(settings, "; ".join(filter(None, [found.unopened, f"merge {found.branch} into {branch}"])))
