"""`customhouse gate`: the judgement of a change before it is merged."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import click

from customhouse.app.settings import Settings, terminal_columns
from customhouse.cli.long_work import shown
from customhouse.cli.output import common, formats, json_text, talk, write_json, write_text

if TYPE_CHECKING:
    from customhouse.app.clearance import Judgement
    from customhouse.app.gatekeeping import GateRequest
    from customhouse.core.ports import PolicyEngine

FORMATS = ("json", "markdown", "sarif", "junit", "github", "gitlab")


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--repo", default=".", show_default=True, help="Repository: a clone, a bare repository or a URL.")
@click.option("--base", metavar="REV", help="The revision whose rules judge (default: the head's first parent).")
@click.option("--head", metavar="REV", help="The revision that is judged (default: HEAD).")
@click.option("--worktree", is_flag=True, help="Judge the uncommitted files instead of a revision.")
@click.option("--before", metavar="PATH", help="Compare the one PATH with this: two folders, or two files.")
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FORMAT=FILE",
    help="Write a report to a file as well; may be given several times.",
)
@click.option(
    "--comment",
    type=click.IntRange(1),
    metavar="NUMBER",
    help="Write the report as our one comment on a pull request, at the `forge` of the rules that judge.",
)
@click.option("--fix-patch", is_flag=True, help="Print a patch for `git apply` with the fixes that are certain.")
@formats(*FORMATS)
@common
@click.pass_context
def gate(
    ctx: click.Context,
    paths: tuple[str, ...],
    repo: str,
    base: str | None,
    head: str | None,
    worktree: bool,
    before: str | None,
    reports: tuple[str, ...],
    comment: int | None,
    fix_patch: bool,
    output: str,
    settings: Settings,
) -> None:
    """Judge a change: security and cost together, by the rules of the base revision.

    A PATH is a file, a folder, or `-` for standard input. Exit status: 0 allowed, 1 denied, 3 could not decide (the
    gate stays shut), or allowed and the comment could not be written.
    """
    from customhouse.app import wiring

    # Nearly all that is made at the start stays until the end: looking for garbage among it costs a tenth of the start.
    gc.set_threshold(50_000, 50, 50)
    files = _report_files(reports)
    engine = wiring.started_engine(settings)
    from customhouse.app.gatekeeping import GateRequest, judge
    from customhouse.app.policywatch import misnamed, notices
    from customhouse.core.decision import Verdict
    from customhouse.core.errors import CustomhouseError

    request = GateRequest(repo, base, head, worktree, paths, before, sys.stdin.buffer if "-" in paths else None)
    try:
        with shown(settings):
            judgement = judge(settings, request, engine)
    except CustomhouseError as error:
        if output == "github":
            from customhouse.cli.report_annotations import undecided_github

            write_text(undecided_github(error.message, error.where, error.hint))
        if comment is not None:
            from customhouse.cli.report_markdown import undecided_markdown

            _comment(settings, request, None, comment, undecided_markdown(error.message, error.where, error.hint))
        raise
    for form, file in files:
        _write_file(file, rendered(judgement, form, None, False))
    if fix_patch:
        _print_patch(settings, judgement, engine)
    else:
        width = (terminal_columns() or _terminal_width()) if output == "table" else None
        if output == "json":
            from customhouse.cli.findings import decisions_json

            write_json(decisions_json(judgement.decisions, judgement.cost) | _fetched_json(judgement))
        else:
            write_text(rendered(judgement, output, width, settings.colour), coloured=settings.colour)
    governing = judgement.question.governing
    rules = [rule.id for rule in governing.bundle.rules] if governing.waivers else []  # reading them takes time
    slips = misnamed(governing.waivers, rules, judgement.decisions)
    fetched = _fetched_notes(judgement) if judgement.fetched else ()
    for line in (*fetched, *notices(governing.alerts, judgement.decisions), *slips):
        talk(settings, line)
    count = len(judgement.changes)
    talk(settings, f"{judgement.verdict.value}: {count} {'change' if count == 1 else 'changes'}")
    status = 1 if judgement.verdict is Verdict.DENY else 0
    if comment is not None:
        failed = _comment(settings, request, judgement, comment, rendered(judgement, "markdown", None, False))
        status = status or failed
    ctx.exit(status)


def rendered(judgement: Judgement, form: str, width: int | None, colour: bool) -> str:
    """A judgement in one of the formats, as text."""
    decisions, cost = judgement.decisions, judgement.cost
    if form == "markdown":
        from customhouse.cli.report_markdown import decisions_markdown

        commit = judgement.revision.id if judgement.revision else None
        return decisions_markdown(decisions, cost, commit, _fetched_notes(judgement) if judgement.fetched else ())
    if form == "sarif":
        from customhouse.app.gatekeeping import rules_of
        from customhouse.cli.report_sarif import decisions_sarif

        return json_text(decisions_sarif(decisions, rules_of(judgement)))
    if form == "junit":
        from customhouse.cli.report_junit import decisions_junit

        return decisions_junit(decisions)
    if form in ("github", "gitlab"):
        from customhouse.cli.report_annotations import decisions_github, decisions_gitlab

        return decisions_github(decisions) if form == "github" else json_text(decisions_gitlab(decisions))
    from customhouse.cli.findings import decisions_json, decisions_text

    if form == "json":
        return json_text(decisions_json(decisions, cost) | _fetched_json(judgement))
    return decisions_text(decisions, cost, width=width or 160, colour=colour)


def _fetched_notes(judgement: Judgement) -> tuple[str, ...]:
    from customhouse.app.fetchednotes import notes

    return notes(judgement)


def _fetched_json(judgement: Judgement) -> dict[str, Any]:
    """What came from registries, where anything did."""
    found = [
        {"name": one.name, "source": one.source, "version": one.version, "digest": one.digest}
        for one in judgement.fetched
    ]
    return {"fetched": found} if found else {}


def _report_files(reports: tuple[str, ...]) -> list[tuple[str, str]]:
    """`--report` as (format, file); wrong ones are said before anything is judged."""
    found = []
    for given in reports:
        form, equals, file = given.partition("=")
        if form not in FORMATS or not equals or not file:
            known = ", ".join(FORMATS)
            raise click.UsageError(f"--report {given!r} is not FORMAT=FILE; the formats are {known}")
        found.append((form, file))
    return found


def _write_file(file: str, text: str) -> None:
    """Whole or not at all: a CI that uploads the file must not upload half of it."""
    from pathlib import Path

    place, data = Path(file), text.encode("utf-8", "backslashreplace")
    if place.exists() and not place.is_file():  # a pipe, or /dev/stdout
        place.write_bytes(data)
        return
    draft = place.with_name(place.name + ".new")
    draft.write_bytes(data)
    draft.replace(place)


def _comment(settings: Settings, request: GateRequest, judgement: Judgement | None, number: int, text: str) -> int:
    """Write the comment; 0, or the status of what went wrong, which is told even with --quiet: it was asked for."""
    from customhouse.app.commenting import comment
    from customhouse.cli.report_rows import printable
    from customhouse.core.errors import CustomhouseError

    try:
        comment(settings, request, judgement, number, text)
    except CustomhouseError as error:
        sys.stdout.flush()  # where both go to one place, they come in the order in which they were said
        click.echo(f"error[{error.code}]: the comment was not written: {printable(str(error))}", err=True)
        return error.exit_status
    talk(settings, f"commented on pull request {number}")
    return 0


def _print_patch(settings: Settings, judgement: Judgement, engine: PolicyEngine) -> None:
    from customhouse.app.mending import mend

    mended = mend(settings, judgement, engine)
    if mended.patch:
        sys.stdout.write(mended.patch)
    for line in mended.notes:
        talk(settings, line)


def _terminal_width() -> int | None:
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
