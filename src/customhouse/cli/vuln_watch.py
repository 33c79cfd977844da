"""`customhouse vuln watch`: what is declared, held against the advisories, again whenever some are imported."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, plural, talk, write_json, write_text
from customhouse.cli.report_rows import printable


@click.command()
@click.option("--repo", default=".", show_default=True, help="Repository, or work tree, whose workloads are watched.")
@click.option("--revision", default="HEAD", show_default=True, metavar="REV", help="What is taken to be deployed.")
@click.option("--db", metavar="FILE", help="Advisories (default: advisories.sqlite of the state).")
@click.option("--kubeconfig", metavar="FILE", help="A cluster that is asked what runs besides.")
@click.option("--context", metavar="NAME", help="The context of the kubeconfig (default: its current one).")
@click.option("--declared-only", is_flag=True, help="Ask no cluster, also where customhouse.yaml names one.")
@click.option("--once", is_flag=True, help="Look once, and say by the exit status what was found.")
@formats("json")
@common
@click.pass_context
def watch(
    ctx: click.Context,
    repo: str,
    revision: str,
    db: str | None,
    kubeconfig: str | None,
    context: str | None,
    declared_only: bool,
    once: bool,
    output: str,
    settings: Settings,
) -> None:
    """Name the releases with a known vulnerability, their owners, the fix, and what the rules say of it today.

    The packages are those of signed bills of materials, in Git and in registries' filed evidence; a workload without
    one is named, for of it nothing is known. Where customhouse.yaml has an audit or a Kubernetes target, or with
    --kubeconfig, what runs there and is not declared is watched too, and named so. `customhouse up` does the
    same by itself (with its audit's view of the cluster) and enters it in the ledger.
    Exit status of --once: 1 when something was found, else 3 when something could not be looked at, else 0.
    """
    from customhouse.app.vulnerability_live import ClusterWish
    from customhouse.app.vulnwatch_once import keep_watching, look_once

    wish = ClusterWish(kubeconfig, context, declared_only)
    if once:
        seen = look_once(settings, repo, revision, db, wish)
        if output == "json":
            write_json(seen.to_json())
        else:
            for notice in seen.notices:
                write_text(printable(notice.text))
            if not seen.notices:
                write_text(f"nothing is known of {plural(seen.looked_at, 'artifact')} with a signed bill")
        for text in seen.open:
            talk(settings, printable(text))
        ctx.exit(1 if seen.notices else 3 if seen.open else 0)

    def told(text: str) -> None:
        talk(settings, printable(text))

    for notice in keep_watching(settings, repo, revision, db, told, wish):
        if output == "json":
            write_json(notice.to_json())
        else:
            write_text(printable(notice.text))
