"""`customhouse policy`: the rules and their tests."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_table


@click.group()
def policy() -> None:
    """Test the rules that judge."""


@policy.command()
@click.argument("folder", required=False)
@formats("json")
@common
@click.pass_context
def test(ctx: click.Context, folder: str | None, output: str, settings: Settings) -> None:
    """Run the tests of the built-in rules, and with FOLDER of one's own beside them. Exit status: 1 if one fails."""
    from customhouse.app.policytests import run_bundle_tests

    found = run_bundle_tests(settings, folder)
    rows = [{"name": item.name, "file": item.file, "line": item.line} for item in found.failed]
    passed = len(found.tests) - len(rows)
    if output == "json":
        write_json({"bundle_digest": found.digest, "tests": len(found.tests), "passed": passed, "failed": rows})
    elif rows:
        write_table("", ["Failed test", "Where"], [[row["name"], f"{row['file']}:{row['line']}"] for row in rows])
    talk(settings, f"{passed} of {len(found.tests)} tests passed")
    ctx.exit(1 if rows else 0)
