"""`customhouse bom`: compare and measure bills of materials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table, write_text


@click.group()
def bom() -> None:
    """Compare and measure bills of materials (`model bom` writes them)."""


@bom.command()
@click.argument("before")
@click.argument("after")
@formats("json", "markdown")
@common
@click.pass_context
def diff(ctx: click.Context, before: str, after: str, output: str, settings: Settings) -> None:  # noqa: ARG001
    """Say what differs between two CycloneDX bills: model, weights, datasets, code, libraries, image, licences.

    Files of evidence that hold a bill are read too. Exit status: 0 when nothing differs, else 1.
    """
    from customhouse.app.modelbom import differences

    found = differences(before, after)
    if output == "json":
        write_json({"differences": found})
    elif output == "markdown":
        write_text(_markdown(found))
    elif found:
        write_table("", ["What", "Name", "Change", "Before", "After"], [list(row.values()) for row in found])
    else:
        write_text("no differences")
    ctx.exit(1 if found else 0)


@bom.command()
@click.argument("file")
@click.option("--min", "least", type=click.IntRange(0, 50), metavar="N", help="Fail below so many elements.")
@formats("json")
@common
@click.pass_context
def score(ctx: click.Context, file: str, least: int | None, output: str, settings: Settings) -> None:  # noqa: ARG001
    """Say which of the G7's 50 minimum elements of an SBOM for AI a CycloneDX bill has, and where to add the others.

    A file of evidence counts as signed; whether the signature is a trusted one, the gate says. Exit status: 1 below
    --min, else 0.
    """
    from customhouse.app.modelbom import measured

    found = measured(file)
    if output == "json":
        write_json(found)
    else:
        title = (
            f"{found['standard']} ({found['edition']}): {found['met']} of {found['of']} met, {found['partly']} partly"
        )
        rows = [[row["id"], row["cluster"], row["name"], row["state"], row.get("add", "")] for row in found["elements"]]
        write_table(title, ["Id", "Cluster", "Element", "State", "Where to add it"], rows)
    ctx.exit(1 if least is not None and found["met"] < least else 0)


_MARKS = {"added": "+", "removed": "−", "changed": "~"}


def _markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table for a pull request; one sentence when nothing differs."""
    from customhouse.cli.report_markdown import escaped

    if not rows:
        return "No differences."
    lines = ["| | what | name | before | after |", "|---|---|---|---|---|"]
    for row in rows:
        cells = " | ".join(escaped(cell) for cell in (row["kind"], row["name"], row["before"], row["after"]))
        lines.append(f"| {_MARKS[row['change']]} | {cells} |")
    return "\n".join(lines)
