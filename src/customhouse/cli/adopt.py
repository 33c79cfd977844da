"""`customhouse adopt`: from observing a cluster to managing it."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, talk, write_text


@click.command()
@click.option("--repo", default=".", show_default=True, help="Repository: a path or a URL.")
@click.option("--branch", default="main", show_default=True, help="The deployed branch.")
@click.option("--target", default="", metavar="NAME", help="One of several targets; without it all of them.")
@common
def adopt(repo: str, branch: str, target: str, settings: Settings) -> None:
    """Write the commit that lets Customhouse manage the cluster, on a branch to be reviewed and merged.

    Until then `customhouse up` observes: it applies nothing, deletes nothing, and tells what it would do.
    """
    from customhouse.app.adopting import adopt as write

    found = write(settings, repo, branch, target)
    if not found.commit:
        talk(settings, f"the cluster is managed already, as {branch} says")
        return
    write_text(found.commit)
    talk(
        settings, f"merge {found.branch} into {branch}; `customhouse plan --revision {found.branch}` says what follows"
    )
