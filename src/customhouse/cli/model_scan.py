"""`customhouse model scan`: may its files be loaded."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import cached, shown
from customhouse.cli.output import common, formats, talk, write_json, write_table


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@cached
@formats("json")
@common
@click.pass_context
def scan(
    ctx: click.Context,
    paths: tuple[str, ...],
    cache: bool,
    output: str,
    settings: Settings,
) -> None:
    """Say whether files may be loaded.

    Exit status: 1 if any file is suspicious or malicious, else 3 if any is unscannable, else 0.
    """
    from customhouse.app.looks import looking
    from customhouse.app.models import scan as look

    with shown(settings), looking(settings, paths, cache=cache) as wish:
        found = look(paths, wish)
    for file in found.files:
        talk(settings, f"{file.path}: {file.verdict.value}")
    if not found.files:
        talk(settings, f"{', '.join(paths)}: no file is there; name the folder that the model's files are in")
    if output == "json":
        write_json(found.to_json())
    else:
        rows = [
            [file.path, file.format, file.verdict.value, "; ".join(f"{f.rule}: {f.message}" for f in file.findings)]
            for file in found.files
        ]
        write_table("", ["File", "Format", "Verdict", "Findings"], rows)
    verdicts = {file.verdict.value for file in found.files}
    ctx.exit(1 if verdicts & {"suspicious", "malicious"} else 3 if "unscannable" in verdicts else 0)
