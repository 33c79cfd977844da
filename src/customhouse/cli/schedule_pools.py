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
    "--after", type=click.IntRange(0, 1_000_000), default=300, show_default=True, help="Seconds that a pod has waited."
)
@formats("json", "yaml")
@common
def pools(repo: str | None, kubeconfig: str | None, after: int, output: str, settings: Settings) -> None:
    """Say which machines would hold the GPU pods that stay pending, and what they cost.

    Nothing is made: `-o yaml` prints NodePools of Karpenter to be committed, which then meet the gate.
    """
    from customhouse.app.nodepools import proposed

    place = repo if repo is None or "://" in repo else str(Path(repo).absolute())
    found = proposed(settings, place, Path(kubeconfig) if kubeconfig else None, timedelta(seconds=after))
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
