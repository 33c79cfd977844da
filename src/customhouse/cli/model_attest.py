"""`customhouse model attest`: all the evidence that the gate asks for."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import cached, shown
from customhouse.cli.model_bom import named, sourced
from customhouse.cli.output import common, formats, talk, write_json, write_text


@click.command()
@click.argument("path")
@click.option("--repo", default=".", show_default=True, help="Work tree that the evidence is written into.")
@named
@click.option("--job", metavar="FILE", help="The manifest of the Job that trained it: its provenance.")
@click.option("--lock", metavar="FILE", help="What `model pull --lock` wrote: its claims (licence, base models).")
@sourced
@cached
@formats("json")
@common
def attest(
    path: str,
    repo: str,
    key: str,
    name: str | None,
    version: str,
    evaluation: str | None,
    dataset: tuple[str, ...],
    job: str | None,
    lock: str | None,
    card: str | None,
    libraries: tuple[str, ...],
    environment: str | None,
    images: tuple[str, ...],
    cache: bool,
    output: str,
    settings: Settings,
) -> None:
    """Inspect a model and write the evidence that the gate asks for into a work tree, ready to be committed."""
    from customhouse.app.looks import looking
    from customhouse.app.modelbom import Sources
    from customhouse.app.models import AttestRequest
    from customhouse.app.models import attest as inspected

    sources = Sources(card, libraries, environment, images, lock)
    request = AttestRequest(path, repo, key, name, version, evaluation, dataset, job, sources)
    with shown(settings), looking(settings, [path], cache=cache, repo=repo) as wish:
        done = inspected(request, settings, wish)
    for hint in done["hints"]:
        talk(settings, f"hint ({hint['kind']}): {hint['message']}")
    if done["verdict"] != "clean":
        talk(settings, f"the scan says {done['verdict']}: the gate will deny this model")
    if output == "json":
        write_json(done)
        return
    write_text(f"{done['digest']}  scan: {done['verdict']}")
    for file in done["files"]:
        write_text(f"  {file}")
