"""`customhouse sync`: one round of the control plane, to its end."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_text


@click.command()
@click.option("--repo", default=".", show_default=True, help="Repository to follow: a path or a URL.")
@click.option("--branch", default="main", show_default=True, help="The branch that is deployed.")
@click.option("--key", metavar="FILE", help="SSH private key that signs what Customhouse commits.")
@click.option(
    "--timeout", type=click.IntRange(1, 86_400), default=300, show_default=True, help="Seconds until it gives up."
)
@formats("json")
@common
@click.pass_context
def sync(
    ctx: click.Context, repo: str, branch: str, key: str | None, timeout: int, output: str, settings: Settings
) -> None:
    """Judge what is new, apply what is allowed, and end when nothing is left to be done.

    Exit status 0: all is as declared; 1: the head of the branch is denied; 3: it could not be done in time; 4:
    something is otherwise than declared and is left so.
    """
    from pathlib import Path

    from customhouse.app.identity import COMMIT_KEY
    from customhouse.app.syncing import sync as run

    own = Path(key) if key else settings.keys / COMMIT_KEY
    found = run(settings, repo, branch, float(timeout), own if own.exists() else None)
    if output == "json":
        write_json(found.to_json())
    else:
        write_text(f"{branch} is at {found.head[:12]}, deployed is {found.revision[:12] or 'nothing'}")
    if found.problem:
        talk(settings, f"problem: {found.problem}")
    if not found.settled:
        ctx.exit(3)
    if found.refused:
        ctx.exit(1)
    ctx.exit(4 if found.cluster.get("drift") else 0)
