"""`customhouse model bom`: its bill of materials."""

from __future__ import annotations

from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import cached, shown
from customhouse.cli.output import common, talk, write_json


def sourced(command: Any) -> Any:
    """The options that say what a bill is made from besides the model's files."""
    for option in (
        click.option("--image-sbom", "images", multiple=True, metavar="FILE", help="Bill of an image that it runs in."),
        click.option("--environment", metavar="DIR", help="A Python environment whose packages are listed."),
        click.option("--libraries", multiple=True, metavar="FILE", help="A lock file whose libraries are listed."),
        click.option("--card", metavar="FILE", help="JSON with what people know of the model (docs/bom.md)."),
    ):
        command = option(command)
    return command


def named(command: Any) -> Any:
    """What evidence about a model says besides what is read from its files."""
    for option in (
        click.option("--dataset", metavar="NAME=DIGEST", multiple=True, help="A dataset that it was trained on."),
        click.option("--evaluation", metavar="FILE", help="JSON that an evaluation wrote."),
        click.option("--version", "version", default="0", show_default=True, help="The model's version."),
        click.option("--name", metavar="NAME", help="What the model is called (default: the folder's name)."),
        click.option("--key", required=True, metavar="FILE", help="Private key (PEM) that signs the evidence."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("path")
@click.option("--name", metavar="NAME", help="What the model is called (default: the folder's name).")
@click.option("--version", "version", default="0", show_default=True, help="The model's version.")
@sourced
@click.option(
    "--format",
    "form",
    type=click.Choice(["cyclonedx", "spdx"]),
    default="cyclonedx",
    show_default=True,
    help="CycloneDX ML-BOM, or SPDX 3 with its AI profile.",
)
@click.option("--spec-version", metavar="VERSION", help="1.6 (default) or 1.7 of CycloneDX; 3.0.1 of SPDX.")
@click.option(
    "--digests",
    type=click.Choice(["both", "sha256", "blake3"]),
    default="both",
    show_default=True,
    help="blake3 alone is about three times as fast, and is not what declarations pin.",
)
@cached
@common
def bom(
    path: str,
    name: str | None,
    version: str,
    card: str | None,
    libraries: tuple[str, ...],
    environment: str | None,
    images: tuple[str, ...],
    form: str,
    spec_version: str | None,
    digests: str,
    cache: bool,
    settings: Settings,
) -> None:  # fmt: skip
    """Write the bill of materials of a model to stdout: from one read of its files, and what is said besides."""
    from customhouse.app.looks import looking
    from customhouse.app.modelbom import BomRequest, Sources, bill

    sources = Sources(card, libraries, environment, images)
    with shown(settings), looking(settings, [path], cache=cache) as wish:
        document, hints = bill(BomRequest(path, name, version, sources, form, spec_version, digests), wish)
    for hint in hints:
        talk(settings, f"hint ({hint.kind}): {hint.message}")
    write_json(document)
