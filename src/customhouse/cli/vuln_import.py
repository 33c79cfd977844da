"""`customhouse vuln import`: advisories into the store."""

from __future__ import annotations

from datetime import datetime

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import shown
from customhouse.cli.output import common, formats, talk, write_json, write_table


@click.command(name="import")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--db", metavar="FILE", help="Where they are kept (default: advisories.sqlite of the state).")
@click.option("--as-of", metavar="TIME", help="When the copies were made (default: the newest date in them).")
@click.option("--changes", is_flag=True, help="They are all that changed since the last import, not a whole copy.")
@click.option(
    "--allow-broken", is_flag=True, help="Leave records out that cannot be read, instead of importing nothing."
)
@formats("json")
@common
def bring(
    paths: tuple[str, ...],
    db: str | None,
    as_of: str | None,
    changes: bool,
    allow_broken: bool,
    output: str,
    settings: Settings,
) -> None:
    """Bring advisories in from folders of OSV records, their archives (zip, tar, gzip), and lists of them (jsonl).

    Each path is imported whole or not at all. Of two copies of a record the newer one stays; withdrawn records are
    kept, and never match. Exit status: 0 imported, 3 when a record is broken (nothing is imported then).
    """
    from customhouse.app.advisory_import import import_advisories

    with shown(settings):
        rows = import_advisories(settings, paths, db=db, as_of=_time(as_of), allow_broken=allow_broken, changes=changes)
    for row in rows:
        for text in row["problems"]:
            talk(settings, f"left out: {text}")
        if row["partial"]:
            parts = ", ".join(row["partial"])
            talk(settings, f"{row['source']}: too few of {parts} to make the rest newer (all changes? --changes)")
        if row["as_of"] is None:
            talk(settings, f"{row['source']}: no record has a date; say --as-of, or every verdict is stale")
    if output == "json":
        write_json({"imports": rows})
    else:
        columns = ["Source", "Records", "New", "Changed", "As before", "Left out", "As of"]
        keys = ("source", "records", "added", "changed", "kept", "broken", "as_of")
        write_table("", columns, [[row[key] if row[key] is not None else "unknown" for key in keys] for row in rows])


def _time(text: str | None) -> datetime | None:
    from customhouse._kit.clock import from_rfc3339

    if text is None:
        return None
    try:
        return from_rfc3339(f"{text}T00:00:00Z" if len(text) == 10 else text)
    except ValueError as error:
        raise click.UsageError(f"--as-of: {error}") from error
