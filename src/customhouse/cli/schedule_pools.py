"""`customhouse schedule pools`: node pools for pods that stay pending."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table, write_text


@click.command()
@click.option("--repo", help="Repository whose tiers and prices hold: a path or a URL.")
@click.option("--kubeconfig", metavar="FILE", help="The cluster (default: KUBECONFIG, the pod's own, ~/.kube/config).")
@click.option(
    "--after", type=click.IntRange(0, 1_000_000), help="Seconds that a pod has waited (default: scheduling.pools, 300)."
)
@click.option(
    "--propose", is_flag=True, help="Write each to a branch of its own (scheduling.pools in customhouse.yaml)."
)
@click.option("--branch", default="main", show_default=True, help="The branch that is deployed, with --propose.")
@formats("json", "yaml")
@common
def pools(
    repo: str | None,
    kubeconfig: str | None,
    after: int | None,
    propose: bool,
    branch: str,
    output: str,
    settings: Settings,
) -> None:
    """Say which machines would hold the GPU pods that stay pending, and what they cost.

    Nothing is made: `-o yaml` prints NodePools of Karpenter to be committed, which then meet the gate. `--propose`
    writes each to a branch, with a pull request where customhouse.yaml names a forge; what is wanted no more is
    withdrawn.
    """
    from customhouse.app.nodepools import proposed

    place = repo if repo is None or "://" in repo else str(Path(repo).absolute())
    file = Path(kubeconfig) if kubeconfig else None
    if propose:
        _propose(settings, place, branch, file, None if after is None else timedelta(seconds=after), output)
        return
    after = 300 if after is None else after
    found = proposed(settings, place, file, timedelta(seconds=after))
    shown = [item.to_json() for item in found]
    if output == "json":
        write_json({"pools": shown})
    elif output == "yaml":
        import yaml

        made = [item["manifest"] for item in shown if item.get("manifest")]
        write_text("---\n".join(yaml.safe_dump(item, sort_keys=False, width=120) for item in made))
    else:
        write_table("", ["Tier", "Pods", "Since", "Machines", "A month"], map(_row, shown))
    for item in shown:
        if item["problem"]:
            talk(settings, f"{plural(len(item['pods']), 'pod')} of tier {item['tier']}: {item['problem']}")
    if not shown:
        talk(settings, f"no pod that asks for an accelerator has waited for {after} seconds")


def _row(item: Mapping[str, Any]) -> list[str]:
    if item["problem"]:
        return [item["tier"], str(len(item["pods"])), item["since"], "none found", ""]
    machines = f"{item['machines']} × {item['machine']} ({item['accelerator']}, {item['capacity']})"
    return [item["tier"], str(len(item["pods"])), item["since"], machines, str(round(Decimal(item["monthly"]), 2))]


def _propose(
    settings: Settings, repo: str | None, branch: str, kubeconfig: Path | None, after: timedelta | None, output: str
) -> None:
    from customhouse.app.pooldesk import propose_pools

    rows = propose_pools(settings, repo or str(Path.cwd()), branch, kubeconfig, after)
    if output == "json":
        write_json({"pools": rows})
        return
    shown = [
        [row["name"], str(row["pods"]), row["machines"], row["monthly"] or "", row["state"], row.get("branch") or ""]
        for row in rows
    ]
    write_table("", ["Pool", "Pods", "Machines", "A month", "State", "Branch"], shown)
    for row in rows:
        if row.get("url"):
            talk(settings, f"{row['name']}: {row['url']}")
        if row["problem"]:
            talk(settings, f"{row['name']}: {row['problem']}")
    if not rows:
        talk(settings, "no pod that asks for an accelerator has waited for so long")
