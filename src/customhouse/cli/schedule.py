"""`customhouse schedule`: one module a verb, `cli/schedule_<verb>.py`, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

import click

from customhouse.cli.verbs import Verbs

VERBS: Mapping[str, tuple[str, str]] = {
    "simulate": ("schedule_simulate:simulate", "Place a list of pods on a list of nodes by a policy, and measure."),
    "pools": ("schedule_pools:pools", "Say which machines would hold the GPU pods that stay pending."),
    "interrupt": ("schedule_interrupt:interrupt", "Say that this machine goes: Jobs of `up` save their state and end."),
    "serve": ("schedule_serve:serve", "Answer kube-scheduler: which nodes a tier forbids, and which is worth most."),
}


@click.group(cls=Verbs, verbs=VERBS)
def schedule() -> None:
    """Scheduling: the right GPU at the right price."""
