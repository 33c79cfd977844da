"""`customhouse network`: NetworkPolicies from declared callers."""

from __future__ import annotations

import sys

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, talk, write_json, write_text


@click.group()
def network() -> None:
    """Make NetworkPolicies of the callers that workloads declare."""


@network.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="Format of the data on stdout.",
)
@common
def generate(paths: tuple[str, ...], output: str, settings: Settings) -> None:
    """Print the NetworkPolicies that let in the declared callers and nobody else.

    A workload declares them by the annotation customhouse.dev/callers. The same files give the same bytes; commit them,
    and the gate holds them against the annotations.
    """
    from customhouse.app.callernetwork import generate as made_of

    made, silent = made_of(paths, sys.stdin.buffer if "-" in paths else None)
    for name in silent:
        talk(settings, f"{name} declares no callers: nobody will reach it")
    if output == "json":
        write_json({"policies": made})
        return
    import yaml

    texts = (yaml.safe_dump(item, sort_keys=False, allow_unicode=True, width=120) for item in made)
    write_text("---\n".join(texts))
