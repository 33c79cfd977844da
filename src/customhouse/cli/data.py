"""`customhouse data`: datasets."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import shown
from customhouse.cli.output import common, formats, talk, write_json, write_text


@click.group()
def data() -> None:
    """Register datasets by digest, and prepare them by declared Jobs."""


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


@data.command()
@click.argument("job")
@click.option("--key", required=True, metavar="FILE", help="Private key (PEM) that signs what was made of what.")
@click.option("--repo", default=".", show_default=True, help="Repository that declares the Job; evidence goes there.")
@click.option("--commit", default="HEAD", show_default=True, metavar="REV", help="The commit that declares the Job.")
@click.option("--replace", is_flag=True, help="Whether an output that is there already may be replaced.")
@click.option("--limit", default=3600.0, show_default=True, metavar="SECONDS", help="How long the Job may run.")
@formats("json")
@common
def prepare(
    job: str, key: str, repo: str, commit: str, replace: bool, limit: float, output: str, settings: Settings
) -> None:
    """Run a declared data-preparation JOB (NAME or NAMESPACE/NAME), and attest the digests of its inputs and outputs.

    Its annotations customhouse.dev/data-inputs and customhouse.dev/data-outputs name the data (NAME=/path). Exit
    status: 0, or 3 when it could not be run as declared.
    """
    from customhouse.app.preparing_data import Request
    from customhouse.app.preparing_data import prepare as prepared

    with shown(settings):
        done = prepared(Request(job, key, repo, commit, replace, limit), settings)
    if output == "json":
        write_json(done)
        return
    for side in ("inputs", "outputs"):
        for name, digest in done[side].items():
            write_text(f"{side[:-1]:7} {name}  {digest}")
    for file in done["files"]:
        write_text(f"  {file}")
    talk(settings, f"ledger entry {done['entry']}")
