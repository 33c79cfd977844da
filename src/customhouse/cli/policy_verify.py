"""`customhouse policy verify`: suites of Gatekeeper, and files under the policies of conftest."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_table


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@formats("json")
@common
@click.pass_context
def verify(ctx: click.Context, paths: tuple[str, ...], output: str, settings: Settings) -> None:
    """Run the suites of Gatekeeper (files of kind Suite) at or below PATH, with their templates and constraints.

    Exit status: 1 if a case gives another verdict, 3 if one has none.
    """
    from customhouse.app.foreign_suites import verify as verify_suites

    found = verify_suites(settings, paths)
    if output == "json":
        write_json(found.to_json())
    else:
        rows = [[item.suite, item.test, item.case, item.reason] for item in found.failed]
        write_table("", ["Suite", "Test", "Case", "Why it failed"], rows)
    skipped = f", {found.skipped} skipped" if found.skipped else ""
    talk(
        settings,
        f"{found.passed} of {found.cases} cases passed in {found.tests} tests of {found.suites} suites{skipped}",
    )
    ctx.exit(found.exit_status)
