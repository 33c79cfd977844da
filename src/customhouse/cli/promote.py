"""`customhouse promote`: a release goes from one environment to the next, as a commit."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, talk, write_text


@click.command()
@click.argument("name")
@click.option("--to", required=True, help="The environment it goes to, as customhouse.yaml calls it.")
@click.option("--from", "since", default="", help="Where it comes from; without it the environment before.")
@click.option("--unproved", is_flag=True, help="Also what was never seen promoted where it comes from.")
@click.option("--repo", default=".", show_default=True, help="Repository: a path or a URL.")
@click.option("--branch", default="main", show_default=True, help="The deployed branch.")
@common
def promote(name: str, to: str, since: str, unproved: bool, repo: str, branch: str, settings: Settings) -> None:
    """Write the commit that puts what NAME runs into the next environment, on a branch to be reviewed and merged.

    NAME is the workload's name, or KIND/NAME. Carried are images, models and their digests, with them the evidence;
    what an environment has of its own stays. What was rolled back is not carried.
    """
    from customhouse.app.promoting import promote as write

    found = write(settings, repo, branch, name, to, since=since, unproved=unproved)
    if found.refused:
        talk(settings, f"not carried: {found.refused}")
        click.get_current_context().exit(1)
    if not found.commit:
        talk(settings, f"{found.target.ref} runs that already")
        return
    for item in found.edits:
        talk(settings, f"{found.target.location.file}: {item.pointer} is {item.value}")
    write_text(found.commit)
    if found.pull_request is not None:
        word = "opened" if found.pull_request.opened else "is open"
        talk(settings, f"pull request {found.pull_request.number} {word}: {found.pull_request.url}")
        return
    if found.unopened:
        talk(settings, found.unopened)
    talk(settings, f"merge {found.branch} into {branch}; `customhouse gate --head {found.branch}` says what it meets")
