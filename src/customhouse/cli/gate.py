"""`customhouse gate`: the judgement of a change before it is merged."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_rich, write_text


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--repo", default=".", show_default=True, help="Repository: a clone, a bare repository or a URL.")
@click.option("--base", metavar="REV", help="The revision whose rules judge (default: the head's first parent).")
@click.option("--head", metavar="REV", help="The revision that is judged (default: HEAD).")
@click.option("--worktree", is_flag=True, help="Judge the uncommitted files instead of a revision.")
@formats("json", "markdown")
@common
@click.pass_context
def gate(
    ctx: click.Context,
    paths: tuple[str, ...],
    repo: str,
    base: str | None,
    head: str | None,
    worktree: bool,
    output: str,
    settings: Settings,
) -> None:
    """Judge a change: security and cost together, by the rules of the base revision.

    Exit status: 0 allowed, 1 denied, 3 could not decide (the gate stays shut).
    """
    from customhouse.app.gatekeeping import GateRequest, judge
    from customhouse.cli.findings import decisions_json, decisions_markdown, decisions_table
    from customhouse.core.decision import Verdict

    judgement = judge(settings, GateRequest(repo, base, head, worktree, paths))
    if output == "json":
        write_json(decisions_json(judgement.decisions, judgement.cost))
    elif output == "markdown":
        write_text(decisions_markdown(judgement.decisions, judgement.cost))
    else:
        write_rich(decisions_table(judgement.decisions, judgement.cost), settings.colour)
    count = len(judgement.changes)
    talk(settings, f"{judgement.verdict.value}: {count} {'change' if count == 1 else 'changes'}")
    ctx.exit(1 if judgement.verdict is Verdict.DENY else 0)
