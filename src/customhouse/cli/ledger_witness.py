"""`customhouse ledger witness`: cosign the checkpoints of others, and have one's own cosigned."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_text


@click.group()
def witness() -> None:
    """Cosign checkpoints of other ledgers (C2SP tlog-witness), and have one's own cosigned."""


@witness.command()
@click.option("--name", required=True, help="Name of this witness: by custom a URL without scheme.")
@click.option("--log", "logs", multiple=True, metavar="VKEY", help="Verifier key of a log (`ledger key`); repeatable.")
@click.option("--logs", "logs_file", type=click.Path(), metavar="FILE", help="A file with one verifier key a line.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=8441, show_default=True, help="Port to listen on; 0: a free one.")
@common
def serve(name: str, logs: tuple[str, ...], logs_file: str | None, host: str, port: int, settings: Settings) -> None:
    """Be a witness: remember each log's last checkpoint, cosign one only when it begins with that."""
    import signal
    import threading
    from pathlib import Path

    from customhouse.app.ledger_witness_role import open_witness
    from customhouse.server.serving import Server
    from customhouse.server.witness import witness_application

    serving = open_witness(settings, name, logs, Path(logs_file) if logs_file else None)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Server(None, host, port, app=witness_application(serving)) as server:
            talk(settings, f"witness at {server.address.url}, its key: {serving.vkey}")
            stop.wait()
    finally:
        serving.close()


@witness.command()
@click.option("--name", required=True, help="Name of this witness.")
@common
def key(name: str, settings: Settings) -> None:
    """Print this witness's verifier key (it is made the first time)."""
    from customhouse.app.ledger_witness_role import witness_vkey

    write_text(witness_vkey(settings, name))


@witness.command()
@click.option("--url", default="", help="Ask this witness, whether or not customhouse.yaml names it.")
@click.option("--key", default="", metavar="VKEY", help="Its verifier key, with --url.")
@formats("json")
@common
@click.pass_context
def ask(ctx: click.Context, url: str, key: str, output: str, settings: Settings) -> None:
    """Ask the witnesses that customhouse.yaml names now. Exit status: 0; 3: one did not cosign; 5: one saw a fork."""
    from customhouse.app.ledger_witness_role import ask_now, one_witness

    said = ask_now(settings, one_witness(url, key) if url or key else None)
    if output == "json":
        write_json([{"name": item.name, "size": item.size, "problem": item.problem} for item in said])
    else:
        for item in said:
            write_text(f"{item.name}: {item.problem or f'cosigned {item.size} entries'}")
    ctx.exit(5 if any(item.tamper for item in said) else 3 if any(item.problem for item in said) else 0)


@witness.command()
@formats("json")
@common
@click.pass_context
def status(ctx: click.Context, output: str, settings: Settings) -> None:
    """Tell how far the witnesses came. Exit status: 0; 5: the quorum is missing or a witness saw another past."""
    from customhouse.app.ledger_witness_role import watch_now

    found = watch_now(settings)
    if output == "json":
        rows = [item.to_json() for item in found.witnesses]
        document = {"witnesses": rows, "quorum": found.quorum, "agreed": found.agreed, "size": found.size}
        write_json({**document, "problem": found.problem})
    else:
        for line in [*found.lines(), *([found.problem] if found.problem else [])]:
            write_text(line)
    ctx.exit(5 if found.problem else 0)
