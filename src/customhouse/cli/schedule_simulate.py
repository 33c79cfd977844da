"""`customhouse schedule simulate`: what a placement policy makes of a list of pods and a list of nodes."""

from __future__ import annotations

from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli import long_work
from customhouse.cli.output import common, formats, talk, write_json, write_table

_POLICIES = ("random", "best-fit", "fgd", "customhouse")


@click.command()
@click.option("--nodes", required=True, metavar="CSV", help="Nodes: sn,cpu_milli,memory_mib,gpu,model[,capacity,mig].")
@click.option("--pods", required=True, metavar="CSV", help="Pods: name,cpu_milli,memory_mib,num_gpu,gpu_milli[,…].")
@click.option("--policy", type=click.Choice(_POLICIES), default="customhouse", show_default=True, help="Who places.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 2), default=42, show_default=True, help="Of the arrivals.")
@click.option(
    "--demand",
    type=click.FloatRange(0, 100, min_open=True),
    default=1.3,
    show_default=True,
    help="GPUs asked for, in parts of all GPUs: pods are drawn again, or left out, until the list comes to that.",
)
@click.option(
    "--ties",
    type=click.Choice(["drawn", "name"]),
    default="drawn",
    show_default=True,
    help="Among equal nodes: as the published experiment draws it, or the smallest name.",
)
@click.option(
    "--moves",
    type=click.FloatRange(0, 100),
    default=0.0,
    show_default=True,
    help="Pods that may be moved to make room, per hundred placed (policy customhouse).",
)
@click.option(
    "--look-ahead",
    "window",
    type=click.IntRange(0, 100_000),
    default=0,
    show_default=True,
    help="Pods that may wait for one that leaves less in pieces (policy customhouse).",
)
@click.option("--prices", metavar="CSV", help="model,usd_per_gpu_hour[,spot_usd_per_gpu_hour].")
@click.option(
    "--spot",
    "spot_percent",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="So many of a hundred nodes are spot capacity, drawn by their names; only pods with qos BE run there.",
)
@click.option("--dear", type=click.FloatRange(0, 100), help="Weight of the price (policy customhouse).")
@click.option("--placements", metavar="FILE", help="Write arrival,pod,node,gpus,state,mig there, one row a pod.")
@click.option("--moved", metavar="FILE", help="Write the moves there.")
@formats("json")
@common
def simulate(output: str, settings: Settings, placements: str | None, moved: str | None, **asked: Any) -> None:
    """Place pods on nodes as the published experiment of Weng et al. (USENIX ATC 2023) does, and measure.

    Pods arrive one by one in an order drawn from the seed, are placed at once or have failed for good. Printed is the
    part of all GPUs that is allocated when the demand has arrived. Exit status: 0; 2 when a file is wrong.
    """
    from customhouse.app.scheduling import Experiment, simulated, write_moves, write_placements

    with long_work.shown(settings):
        answer, run = simulated(Experiment(**asked))
    if placements:
        write_placements(run, placements)
    if moved:
        write_moves(run, moved)
    if answer["impossible"]:
        talk(settings, f"{answer['impossible']} of the listed pods fit no node, even an empty one")
    if answer["unpriced"] and asked["prices"]:
        talk(settings, f"no price for {', '.join(answer['unpriced'])}: what the run costs is not told")
    if output == "json":
        write_json(answer)
        return
    write_table("", ["What", "Value"], [[name.replace("_", " "), _shown(value)] for name, value in answer.items()])


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{at}: {part}" for at, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "not known" if value is None else str(value)
