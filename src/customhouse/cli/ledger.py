"""`customhouse ledger`: verification and proofs."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.ledger_witness import witness
from customhouse.cli.output import common, formats, talk, write_json, write_text


@click.group()
def ledger() -> None:
    """Verify and prove the tamper-evident ledger."""


ledger.add_command(witness)


@ledger.command()
@formats("json")
@common
@click.pass_context
def verify(ctx: click.Context, output: str, settings: Settings) -> None:
    """Recompute everything from the stored bytes. Exit status: 0, or 5 with every problem."""
    from customhouse.app.records import verify_ledger

    def progress(_what: str, done: int, total: int) -> None:
        if done and done % 65536 == 0:
            talk(settings, f"{done} of {total} entries")

    report = verify_ledger(settings, progress)
    if output == "json":
        write_json(report.to_json())
    else:
        for problem in report.problems:
            write_text(str(problem))
        state = "verified" if report.ok else f"{len(report.problems)} problems"
        write_text(f"{state}: {report.size} entries, root {report.root.hex()}")
    ctx.exit(0 if report.ok else 5)


@ledger.command()
@click.argument("index", type=int)
@common
def proof(index: int, settings: Settings) -> None:
    """Print the inclusion proof of an entry as JSON, complete enough to be checked elsewhere."""
    from customhouse.app.records import proof_of

    write_json(proof_of(settings, index))


@ledger.command()
@common
def checkpoint(settings: Settings) -> None:
    """Print the latest checkpoint, a signed note (C2SP tlog-checkpoint)."""
    from customhouse.app.records import checkpoint_note

    write_text(checkpoint_note(settings))


@ledger.command()
@common
def key(settings: Settings) -> None:
    """Print the ledger's verifier key: what a witness or a stranger needs to check its checkpoints."""
    from customhouse.app.ledger_witness_role import log_vkey

    write_text(log_vkey(settings))
