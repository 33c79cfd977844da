"""`customhouse up`: the control plane in the foreground."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, talk

_PATIENCE_S = 4.0
"""How long a step may take to come to its end by itself after SIGTERM."""


@click.command()
@click.option("--repo", default=".", show_default=True, help="Repository to follow: a path or a URL.")
@click.option("--branch", default="main", show_default=True, help="The branch that is deployed.")
@click.option("--port", type=int, default=8440, show_default=True, help="Port of the dashboard; 0: a free one.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address of the dashboard, which asks nobody who he is."
)
@click.option("--name", "names", multiple=True, metavar="HOST", help="A name that it answers to beside the loopback's.")
@click.option("--key", metavar="FILE", help="SSH private key that signs what Customhouse commits.")
@click.option("--keep-serving", is_flag=True, help="Leave the model servers running when this ends.")
@common
def up(
    repo: str,
    branch: str,
    port: int,
    host: str,
    names: tuple[str, ...],
    key: str | None,
    keep_serving: bool,
    settings: Settings,
) -> None:
    """Run the control plane: watch the branch, judge each new commit, apply what is allowed, heal, record."""
    import contextlib
    import gc
    import signal
    import threading
    from pathlib import Path

    from customhouse.app.controlplane import ControlPlane
    from customhouse.app.identity import COMMIT_KEY
    from customhouse.app.ledger_verifying import ledger_files
    from customhouse.app.up import LiveBoard, run
    from customhouse.server.serving import Server

    gc.set_threshold(20_000, 20, 20)  # a commit of a fleet makes a hundred thousand objects, none of them in a cycle
    own = Path(key) if key else settings.keys / COMMIT_KEY
    plane = ControlPlane(settings, repo, branch, key=own if own.exists() else None)
    live, stop = LiveBoard(), threading.Event()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def end(*_: object) -> None:
        stop.set()
        plane.wake()
        if plane.fetching:
            raise KeyboardInterrupt  # a remote that does not answer would hold the end up
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S)

    for number, handler in ((signal.SIGALRM, interrupt), (signal.SIGTERM, end), (signal.SIGINT, end)):
        signal.signal(number, handler)
    try:
        # The port first: when it is taken nothing has been started yet.
        server = Server(live, host, port, names=names, ledger=ledger_files(settings, plane.store))
        plane.start()
        with contextlib.suppress(KeyboardInterrupt), server:
            talk(settings, f"following {repo} ({branch}); dashboard: {server.address.url}; Ctrl-C ends")
            run(plane, live, stop, lambda text: talk(settings, text))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        plane.close(keep_serving=keep_serving)
