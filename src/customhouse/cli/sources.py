"""`customhouse sources`: what Argo CD's and Flux's objects have rendered from elsewhere, by digest."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table


@click.group()
def sources() -> None:
    """Charts and artifacts of registries that objects name: by which digest they are meant."""


@sources.command()
@click.argument("only", nargs=-1, metavar="[SOURCE]...")
@click.option("--repo", default=".", show_default=True, help="The work tree.")
@click.option("--update", is_flag=True, help="Ask again for what is locked already; SOURCE: parts of addresses.")
@click.option("--check", is_flag=True, help="Write nothing: exit status 1 when the file would be another.")
@click.option(
    "--base",
    metavar="REV",
    help="The revision whose policy.trustedRegistries count beside the work tree's (default: the one in force, where "
    "the state of `up` or a note says it, else the first parent of HEAD). A registry that it does not trust is asked "
    "without a login, and by --check not at all.",
)
@formats("json")
@common
def lock(
    only: tuple[str, ...], repo: str, update: bool, check: bool, base: str | None, output: str, settings: Settings
) -> int:
    """Write customhouse.lock.yaml: the digest of each version, range and tag that the objects of a work tree name.

    Only registries and chart repositories under policy.trustedRegistries are asked. Exit status: 0, or 1 when something
    could not be resolved: it is told, and stays as it was.
    """
    from customhouse.app.locking import lock as write

    found = write(settings, repo, update=update, only=only, check=check, base=base)
    if output == "json":
        write_json(
            {
                "sources": [row.to_json() for row in found.rows],
                "gone": [{"source": line.source, "chart": line.chart, "version": line.resolved} for line in found.gone],
                "changed": found.changed,
                "complete": found.complete,
            }
        )
    else:
        rows = []
        for row in found.rows:
            line, old = row.after, row.before
            moved = f"{old.resolved} → " if old is not None and line is not None and old != line else ""
            said = row.problem or (f"{moved}{line.resolved}" if line is not None else "by the object itself")
            digest = row.asked.digest if line is None else line.digest
            rows.append([str(row.asked), row.state, said, digest[:19]])
        write_table("", ["Source", "", "Version", "Digest"], rows)
    for line in found.gone:
        talk(settings, f"{line.source} {line.chart} {line.version or line.tag}: nothing names it any more")
    if found.changed:
        talk(
            settings,
            "customhouse.lock.yaml would be another" if check else "customhouse.lock.yaml is written: commit it",
        )
    wrong = [row for row in found.rows if row.problem]
    if wrong:
        talk(settings, f"{plural(len(wrong), 'source')} could not be locked")
    return 1 if wrong or (check and found.changed) else 0
