"""`customhouse model register`: a model that scanned clean into a registry, with its evidence."""

from __future__ import annotations

from pathlib import Path

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import cached, shown
from customhouse.cli.model_bom import named, sourced
from customhouse.cli.output import common, formats, talk, write_json, write_text


@click.command()
@click.argument("source", metavar="PATH|REFERENCE")
@click.option(
    "--to",
    required=True,
    metavar="REFERENCE",
    help="oci://HOST/NAME:TAG, oci-layout://FOLDER:TAG, s3://BUCKET/PREFIX, models:/NAME, or "
    "sagemaker://GROUP?files=s3://BUCKET/PREFIX&image=IMAGE.",
)
@named
@click.option("--lock", metavar="FILE", help="What `model pull --lock` wrote of it: digests, and claims for the bill.")
@click.option("--by", metavar="WHO", help="Who registers it (default: GIT_AUTHOR_NAME and _EMAIL, else the user).")
@click.option("--renew", is_flag=True, help="Send new evidence even where the same lies there already.")
@click.option("--probe", is_flag=True, help="Try whether a stranger may write there (an upload is begun and given up).")
@sourced
@cached
@formats("json")
@common
@click.pass_context
def register(
    ctx: click.Context,
    source: str,
    to: str,
    key: str,
    name: str | None,
    version: str,
    evaluation: str | None,
    dataset: tuple[str, ...],
    lock: str | None,
    by: str | None,
    renew: bool,
    probe: bool,
    card: str | None,
    libraries: tuple[str, ...],
    environment: str | None,
    images: tuple[str, ...],
    cache: bool,
    output: str,
    settings: Settings,
) -> None:
    """Scan, describe and sign a model, and send it with its evidence to a registry; the ledger keeps where it went.

    All evidence is made before anything is sent, and what is not clean is not sent. What is there already is never
    written over; run again, it finishes what ended in the middle. Exit status: 0, 1 when it is not clean, 3 when the
    registry cannot be had, 5 when there is something else already.
    """
    from customhouse.app.looks import looking
    from customhouse.app.model_places import told
    from customhouse.app.model_register import RegisterRequest
    from customhouse.app.model_register import register as registered
    from customhouse.app.modelbom import Sources

    asked = RegisterRequest(
        source, to, key, name, version, evaluation, dataset, lock, by, renew, probe,
        Sources(card, libraries, environment, images),
    )  # fmt: skip
    paths = [source] if Path(source).is_dir() else []
    with shown(settings), looking(settings, paths, cache=cache) as wish:
        done = registered(settings, asked, wish)
    if output == "json":
        write_json(done)
    else:
        write_text(f"{done['digest']}  {done['name']} {done['version']}  scan: {done['verdict']}")
    for row in done["findings"]:
        talk(settings, f"{row['path']}: {row['rule']}: {row['message']}")
    if done["abandoned"]:
        talk(settings, f"removed what {done['abandoned']} registrations that were killed had left in the state")
    if not done["registered"]:
        talk(settings, f"not registered: the scan says {done['verdict']}; nothing was sent")
        ctx.exit(1)
    if output != "json":
        write_text(done["reference"])
    talk(settings, f"{done['sent']} sent, {done['there']} there before; evidence: {', '.join(done['evidence'])}")
    talk(settings, f"ledger entry {done['entry']}; {told(done['exposure'])}")
