"""`customhouse schedule interrupt`: the notice that this machine will be taken away."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, talk


@click.command()
@click.option(
    "--seconds", type=click.IntRange(1, 86_400), default=30, show_default=True, help="How long the machine stays."
)
@click.option("--reason", default="terminate", show_default=True, help="What is going to happen, for the record.")
@click.option("--withdraw", is_flag=True, help="Take the notice back: Jobs are started again.")
@common
def interrupt(seconds: int, reason: str, withdraw: bool, settings: Settings) -> None:
    """Say that this machine, on which `up` runs Jobs itself, will be taken away.

    Jobs are asked to save their state and to end in time; none is started until the notice is taken back, or the
    machine has outlived it by a minute. A handler on the machine may write the file itself (docs/spot.md).
    """
    from customhouse.app.wiring_targets import local_notice

    where = local_notice(settings, None if withdraw else (seconds, reason[:100]))
    talk(settings, f"the notice is taken back ({where})" if withdraw else f"this machine goes in {seconds} s ({where})")
