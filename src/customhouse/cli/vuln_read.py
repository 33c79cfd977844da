"""`customhouse vuln show` and `vuln status`: what is in the store of advisories."""

from __future__ import annotations

from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table, write_text
from customhouse.cli.report_rows import one_line, printable
from customhouse.core.vulnerability import MAX_AGE_DAYS

_MAX_RANGES = 40


@click.command()
@click.argument("name", metavar="ID")
@click.option("--db", metavar="FILE", help="Advisories (default: advisories.sqlite of the state).")
@formats("json")
@common
def show(name: str, db: str | None, output: str, settings: Settings) -> None:
    """Show the advisories that are called ID, or have it as an alias (CVE-2024-22195, GHSA-…, PYSEC-…, GO-…)."""
    from customhouse.app.vulnerabilities import show as found

    records = found(settings, name, db)
    if output == "json":
        write_json({"records": records})
        return
    write_text("\n\n".join(_told(record) for record in records))


def _told(record: dict[str, Any]) -> str:
    lines = [f"{record['id']}  {one_line(str(record.get('summary', '')))}".rstrip()]
    if record.get("aliases"):
        lines.append(f"  also called {', '.join(map(str, record['aliases']))}")
    dates = ", ".join(f"{key} {record[key]}" for key in ("published", "modified", "withdrawn") if record.get(key))
    lines.append(f"  {dates}")
    lines += [f"  {row.get('type')}: {row.get('score')}" for row in record.get("severity") or ()]
    for item in record.get("affected") or ():
        package = item.get("package") or {}
        lines.append(f"  {package.get('ecosystem', 'commits')} {package.get('name', '')}".rstrip())
        for one in (item.get("ranges") or ())[:_MAX_RANGES]:
            events = ", ".join(
                f"{kind} {version}" for event in one.get("events") or () for kind, version in event.items()
            )
            lines.append(f"    {one.get('type')}: {events}")
    details = printable(str(record.get("details", ""))).strip()
    if details:
        lines += ["", details]
    lines += ["", *(f"  {row.get('type')}: {row.get('url')}" for row in record.get("references") or ())]
    return printable("\n".join(lines))


@click.command()
@click.option("--db", metavar="FILE", help="Advisories (default: advisories.sqlite of the state).")
@click.option(
    "--max-age-days", type=click.IntRange(0), default=MAX_AGE_DAYS, show_default=True, metavar="N",
    help="Advisories that are older are stale.",
)  # fmt: skip
@formats("json")
@common
@click.pass_context
def status(ctx: click.Context, db: str | None, max_age_days: int, output: str, settings: Settings) -> None:
    """Say which advisories are here, of which ecosystems, how old they are, and where they came from.

    Exit status: 3 when those of an ecosystem are older than --max-age-days, or there are none, else 0.
    """
    from customhouse.app.vulnerabilities import status as found

    said = found(settings, db, max_age_days=max_age_days)
    if output == "json":
        write_json(said)
    else:
        rows = [
            [
                row["ecosystem"],
                row["records"],
                row["as_of"] or "unknown",
                "" if row["age_days"] is None else row["age_days"],
                "stale" if row["stale"] else "",
                ", ".join(f"{group['group']} {group['records']}" for group in row["groups"]),
            ]
            for row in said["freshness"]
        ]
        write_table("", ["Ecosystem", "Records", "As of", "Days old", "", "Databases"], rows)
        imports = [
            [row["imported_at"], row["source"], row["records"], row["added"], row["changed"], row["broken"]]
            for row in said["imports"][:20]
        ]
        write_table("", ["Imported", "From", "Records", "New", "Changed", "Left out"], imports)
        write_text(f"{said['records']} records, {said['digest'] or 'nothing'}")
    ctx.exit(3 if said["stale"] or not said["freshness"] else 0)
