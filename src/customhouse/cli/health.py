"""`customhouse health`: the health of objects in files."""

from __future__ import annotations

import sys
from collections import Counter

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--lua",
    metavar="PATH",
    help="Argo CD's health customisations: its ConfigMap, or a folder of GROUP/KIND/health.lua. They come first.",
)
@click.option("--check", is_flag=True, help="Exit status 1 when an object is neither Healthy nor Suspended.")
@formats("json")
@common
@click.pass_context
def health(
    ctx: click.Context, paths: tuple[str, ...], lua: str | None, check: bool, output: str, settings: Settings
) -> None:
    """Tell the health of the objects in files, one row per object, in the order of the arguments.

    A PATH is a file, a folder, or `-` for standard input (`kubectl get -A -o json ... | customhouse health -`). Exit
    status: 0, also when objects are not healthy (1 with --check); 3 when a file cannot be read.
    """
    from customhouse.app.healthcheck import FINE, health_of
    from customhouse.app.wiring_health import health_rules

    with health_rules(lua) as rules:
        rows = health_of(paths, sys.stdin.buffer if "-" in paths else None, rules)
    if output == "json":
        write_json({"objects": rows})
    else:
        shown = [[_named(row["resource"]), row["status"], row["message"]] for row in rows]
        write_table("", ["Object", "Status", "Message"], shown)
        if not settings.quiet:
            counts = Counter(row["status"] for row in rows)
            click.echo(", ".join(f"{count} {status}" for status, count in sorted(counts.items())), err=True)
    if check and any(row["status"] not in FINE for row in rows):
        ctx.exit(1)


def _named(resource: dict[str, str]) -> str:
    place = f"{resource['namespace']}/" if resource["namespace"] else ""
    return f"{resource['kind']} {place}{resource['name']}".rstrip()
