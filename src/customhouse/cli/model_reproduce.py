"""`customhouse model reproduce`: train again from the provenance, and compare."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import shown
from customhouse.cli.output import common, formats, write_json, write_table, write_text


@click.command()
@click.argument("what", metavar="MODEL|DIGEST|BUNDLE")
@click.option("--repo", default=".", show_default=True, help="Repository that declares the Job and holds its code.")
@click.option("--commit", default="", metavar="REV", help="The commit that declares the Job (default: looked for).")
@click.option(
    "--tolerance", multiple=True, metavar="METRIC=NUMBER", help="How far a metric may be off where bytes differ."
)
@click.option("--limit", default=3600.0, show_default=True, metavar="SECONDS", help="How long the Job may run.")
@formats("json")
@common
@click.pass_context
def reproduce(
    ctx: click.Context,
    what: str,
    repo: str,
    commit: str,
    tolerance: tuple[str, ...],
    limit: float,
    output: str,
    settings: Settings,
) -> None:
    """Run the declared Job that made a model again, from what its provenance names, and compare digest or metrics.

    The Job runs in a scratch folder, as the local target runs it: a program of the repository under this account. Only
    provenance that is signed by somebody whom customhouse.yaml trusts is run. Exit status: 0 the same (or within every
    tolerance), 1 not the same, 3 it could not be run as declared.
    """
    from customhouse.app.reproducing import Request, parse_tolerance
    from customhouse.app.reproducing import reproduce as reproduced

    asked = Request(what, repo, commit, dict(parse_tolerance(text) for text in tolerance), limit)
    with shown(settings):
        done = reproduced(asked, settings)
    if output == "json":
        write_json(done.to_json())
        ctx.exit(0 if done.ok else 1)
    write_text(f"{done.job} of {done.commit[:12]}, {done.seconds:.1f} s")
    write_text(f"  first  {done.expected}\n  again  {done.digest}")
    for name in done.files:
        write_text(f"  differs: {name}")
    if done.metrics:
        rows = [
            (
                item.name,
                "-" if item.before is None else repr(item.before),
                "-" if item.after is None else repr(item.after),
                "-" if item.tolerance is None else repr(item.tolerance),
                {None: "not asked", True: "within", False: "NOT within"}[item.within],
            )
            for item in done.metrics
        ]
        write_table("metrics", ("metric", "first", "again", "tolerance", ""), rows)
    write_text("identical" if done.identical else "within every tolerance" if done.ok else "NOT reproduced")
    ctx.exit(0 if done.ok else 1)
