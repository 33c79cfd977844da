"""`customhouse demo`: the whole story on embedded defaults, then the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json

if TYPE_CHECKING:
    from customhouse.app.demo.story import Step


@click.command()
@click.option("--no-serve", is_flag=True, help="End after the story instead of serving the dashboard.")
@click.option("--workspace", metavar="DIR", help="Where the demo lives (default .customhouse/demo).")
@click.option("--port", type=int, default=0, help="Loopback port of the dashboard (default: a free one).")
@formats("json")
@common
@click.pass_context
def demo(ctx: click.Context, no_serve: bool, workspace: str | None, port: int, output: str, settings: Settings) -> None:
    """Play the whole story with real parts: train, inspect, gate, serve, canary, roll back, heal, right-size, prove.

    Exit status: 0 when every step came out as it must, else 70.
    """
    import signal

    from customhouse.app.demo.play import playing

    # SIGTERM ends it like Ctrl-C: what the demo started is ended with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    root = Path(workspace).absolute() if workspace else settings.state / "demo"
    with playing(root, settings, _teller(settings)) as played:
        if output == "json":
            write_json(played.to_json())
        total = sum(step.seconds for step in played.steps)
        good = sum(step.ok for step in played.steps)
        talk(settings, f"{good} of {len(played.steps)} steps in {total:.1f} s; state: {played.state}")
        if played.ok and not no_serve:
            _serve(settings, played.live, port, str(played.remote))
        ctx.exit(0 if played.ok else 70)


def _teller(settings: Settings):  # type: ignore[no-untyped-def]
    count = 0

    def tell(name: str, step: Step | None) -> None:
        nonlocal count
        if step is None:
            count += 1
            if not settings.quiet:
                click.echo(f"{count:2d}. {name} … ", err=True, nl=False)
            return
        talk(settings, f"{'ok' if step.ok else 'FAILED'} ({step.seconds:.1f} s)\n      {step.detail}")

    return tell


def _serve(settings: Settings, live: object, port: int, remote: str) -> None:
    import threading

    from customhouse.app.up import LiveBoard
    from customhouse.server.serving import Server

    assert isinstance(live, LiveBoard)  # noqa: S101
    with Server(live, port=port) as server:
        talk(settings, f"dashboard: {server.address.url}")
        talk(settings, f"push to {remote} and see it judged; Ctrl-C ends everything")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            talk(settings, "ending")
