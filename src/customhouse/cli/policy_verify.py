"""`customhouse policy verify`: suites of Gatekeeper, and files under the packages of conftest."""

from __future__ import annotations

import gc

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import shown
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--conftest", metavar="DIR", help="Judge the files at PATH with conftest's packages in DIR instead.")
@click.option("--namespace", "namespaces", multiple=True, metavar="NAME", help="With --conftest: a package (main).")
@click.option("--all-namespaces", is_flag=True, help="With --conftest: every package that has rules.")
@click.option("--combine", is_flag=True, help="With --conftest: all documents as one input.")
@formats("json")
@common
@click.pass_context
def verify(
    ctx: click.Context,
    paths: tuple[str, ...],
    conftest: str | None,
    namespaces: tuple[str, ...],
    all_namespaces: bool,
    combine: bool,
    output: str,
    settings: Settings,
) -> None:
    """Run the suites of Gatekeeper (files of kind Suite) at or below PATH, with their templates and constraints.

    Exit status: 1 if a case gives another verdict (with --conftest: if a rule denies), 3 if one has none.
    """
    # Thousands of documents are trees without cycles: looking for garbage among them is a tenth of the time.
    gc.set_threshold(50_000, 50, 50)
    if conftest is not None:
        _judge(ctx, settings, conftest, paths, output, namespaces=namespaces, every=all_namespaces, combine=combine)
    if namespaces or all_namespaces or combine:
        raise click.UsageError("--namespace, --all-namespaces and --combine go with --conftest")
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


def _judge(
    ctx: click.Context,
    settings: Settings,
    folder: str,
    paths: tuple[str, ...],
    output: str,
    *,
    namespaces: tuple[str, ...],
    every: bool,
    combine: bool,
) -> None:
    from customhouse.app.foreign_conftest import judge_files

    # Thousands of documents are trees without cycles: looking for garbage among them is a tenth of the time.
    gc.set_threshold(50_000, 50, 50)
    with shown(settings):
        found = judge_files(settings, folder, paths, namespaces=namespaces, every=every, combine=combine)
    told = found.to_json()
    if output == "json":
        write_json(told)
    else:
        rows = [["deny", row["file"], f"{row['namespace']}.{row['rule']}", row["message"]] for row in told["failed"]]
        rows += [["warn", row["file"], f"{row['namespace']}.{row['rule']}", row["message"]] for row in told["warned"]]
        write_table("", ["", "Where", "Rule", "Message"], rows)
    counted = (("documents", "document"), ("failures", "failure"), ("warnings", "warning"))
    talk(settings, ", ".join(plural(told[name], word) for name, word in counted))
    ctx.exit(1 if found.failed else 0)
