"""`customhouse model pull`: a model from a registry, an address or a folder, verified."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_text


@click.command()
@click.argument("reference")
@click.argument("out", metavar="FOLDER")
@click.option(
    "--digest", metavar="DIGEST", help="What an https:// address or a path must have; of oci:// say …@sha256:…."
)
@click.option("--lock", metavar="FILE", help="Record what was resolved; where it is there, give the same or nothing.")
@click.option("--platform", metavar="OS/ARCH", help="Of an image for several platforms, this one.")
@formats("json")
@common
def pull(
    reference: str,
    out: str,
    digest: str | None,
    lock: str | None,
    platform: str | None,
    output: str,
    settings: Settings,
) -> None:
    """Fetch a model into FOLDER, from where REFERENCE says that it lies, and verify it.

    oci:// (ORAS, KitOps, KServe modelcars), s3://, mlflow:// or models:/, sagemaker://, hf://, https://…@sha256:…, or a
    path. A tag, an alias or a branch is resolved once; every byte is checked. Nothing is loaded or run. Exit status: 0,
    3 when it cannot be had, 5 when what came is not what was pinned.
    """
    from customhouse.app.model_pull import pull as pulled

    done = pulled(settings, reference, out, digest=digest, lock=lock, platform=platform)
    if output == "json":
        write_json(done.to_json())
        return
    write_text(f"{done.tree}  {out}")
    talk(settings, f"from {done.reference}")
