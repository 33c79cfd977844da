"""`customhouse ledger`: verification, proofs, mirrors."""

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
@click.option("--incremental", is_flag=True, help="Go on where the last verification ended; says what it left out.")
@click.option(
    "--since",
    type=click.Path(),
    metavar="FILE",
    help="Go on from a checkpoint that was kept elsewhere: it must be a beginning of this ledger.",
)
@click.option("--url", metavar="URL|DIR", help="Verify a mirror instead (an address, or a folder of `ledger publish`).")
@click.option("--key", default="", metavar="VKEY", help="With --url: the log's verifier key (default: this machine's).")
@click.option(
    "--witness", "witnesses", multiple=True, metavar="VKEY", help="With --url: who must have cosigned; repeatable."
)
@formats("json")
@common
@click.pass_context
def verify(
    ctx: click.Context,
    incremental: bool,
    since: str | None,
    url: str | None,
    key: str,
    witnesses: tuple[str, ...],
    output: str,
    settings: Settings,
) -> None:
    """Recompute everything from the stored bytes. Exit status: 0, or 5 with every problem."""
    from pathlib import Path

    from customhouse.app.ledger_verifying import verify_ledger, verify_mirror
    from customhouse.core.errors import UsageError

    def progress(_what: str, done: int, total: int) -> None:
        if done and done % 65536 == 0:
            talk(settings, f"{done} of {total} entries")

    begun = Path(since) if since else None
    if url is None:
        if key or witnesses:
            raise UsageError("--key and --witness are for a mirror", hint="name it with --url")
        report = verify_ledger(settings, progress, incremental=incremental, since=begun)
    elif incremental:
        raise UsageError("a mirror has no memory here", hint="--since FILE, a checkpoint of it that you kept")
    else:
        report = verify_mirror(settings, url, key, witnesses, begun, progress)
    if output == "json":
        write_json(report.to_json())
    else:
        for problem in report.problems:
            write_text(str(problem))
        for note in report.notes:
            write_text(note)
        state = "verified" if report.ok else f"{len(report.problems)} problems"
        write_text(f"{state}: {report.size} entries, root {report.root.hex()}")
    ctx.exit(0 if report.ok else 5)


@ledger.command()
@click.argument("index", type=int)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "tlog", "entry"]),
    default="json",
    show_default=True,
    help="json; tlog: a proof that stands alone (C2SP tlog-proof); entry: the bytes that it proves.",
)
@common
def proof(index: int, kind: str, settings: Settings) -> None:
    """Print the inclusion proof of an entry, complete enough to be checked elsewhere."""
    from customhouse.app.records import entry_bytes, proof_of, tlog_proof_of

    if kind == "tlog":
        click.echo(tlog_proof_of(settings, index), nl=False)
    elif kind == "entry":
        click.echo(entry_bytes(settings, index), nl=False)
    else:
        write_json(proof_of(settings, index))


@ledger.command("verify-proof")
@click.argument("file", type=click.Path())
@click.option("--entry", required=True, type=click.Path(), metavar="FILE", help="The entry's bytes.")
@click.option("--key", required=True, metavar="VKEY", help="The log's verifier key.")
@click.option("--witness", "witnesses", multiple=True, metavar="VKEY", help="A witness's verifier key; repeatable.")
@click.option("--quorum", type=int, metavar="N", help="How many of them must have cosigned (default: all).")
@formats("json")
@common
def verify_proof(
    file: str,
    entry: str,
    key: str,
    witnesses: tuple[str, ...],
    quorum: int | None,
    output: str,
    settings: Settings,  # noqa: ARG001 - every command takes the common options
) -> None:
    """Check a tlog-proof offline, with nothing but the keys that are given. Exit status: 0, or 5."""
    from pathlib import Path

    from customhouse.app.ledger_proofs import check_proof

    found = check_proof(Path(file), Path(entry), key, witnesses, quorum)
    if output == "json":
        write_json(found)
        return
    for item in found["cosigned"]:
        write_text(f"cosigned by {item['name']} at {item['at']}")
    write_text(f"proved: entry {found['index']} of {found['origin']}, under a checkpoint of {found['size']} entries")


@ledger.command()
@common
def checkpoint(settings: Settings) -> None:
    """Print the latest checkpoint, a signed note (C2SP tlog-checkpoint)."""
    from customhouse.app.records import checkpoint_note

    click.echo(checkpoint_note(settings), nl=False)  # byte for byte, so that it can be kept in a file


@ledger.command()
@click.argument("folder", type=click.Path())
@common
def publish(folder: str, settings: Settings) -> None:
    """Write the ledger as static files that anybody may serve and verify (C2SP tlog-tiles); only what is new."""
    from pathlib import Path

    from customhouse.app.ledger_verifying import publish_folder

    made = publish_folder(settings, Path(folder))
    write_text(f"{made.size} entries in {folder}")


@ledger.command()
@common
def key(settings: Settings) -> None:
    """Print the ledger's verifier key: what a witness or a stranger needs to check its checkpoints."""
    from customhouse.app.ledger_witness_role import log_vkey

    write_text(log_vkey(settings))


@ledger.command()
@click.argument("file", type=click.Path())
@formats("json")
@common
def backup(file: str, output: str, settings: Settings) -> None:
    """Write the whole store of one moment into a signed file, and verify that. Keys are not in it."""
    from pathlib import Path

    from customhouse.app.ledger_backup import make_backup

    made = make_backup(settings, Path(file))
    if output == "json":
        write_json(made.to_json())
    else:
        write_text(f"{made.size} entries, {made.bytes} bytes, root {made.root.hex()} in {file}")


@ledger.command()
@click.argument("file", type=click.Path())
@click.option("--older", is_flag=True, help="Also when it lacks entries that are known here: they are lost then.")
@click.option("--key", default="", metavar="VKEY", help="The ledger's verifier key, where this machine has none.")
@formats("json")
@common
def restore(file: str, older: bool, key: str, output: str, settings: Settings) -> None:
    """Replace the store by a backup, after all of it has been verified. Exit status: 0; 5: it is not to be trusted."""
    from pathlib import Path

    from customhouse.app.ledger_backup import restore_backup

    found, kept = restore_backup(settings, Path(file), key, older=older)
    if output == "json":
        write_json({**found.to_json(), "kept": kept})
        return
    write_text(f"restored: {found.size} entries of {found.made_at}, root {found.root.hex()}")
    if kept:
        write_text(f"the store that was there is kept: {kept}")


@ledger.command("rotate-key")
@formats("json")
@common
def rotate_key(output: str, settings: Settings) -> None:
    """Go on under a new key: an entry that both keys sign hands the ledger on. `up` must not run meanwhile."""
    from customhouse.app.ledger_rotation import rotate_key as rotate

    found = rotate(settings, "customhouse")
    if output == "json":
        write_json(found)
        return
    write_text(f"old key: {found['old']}")
    write_text(f"new key: {found['new']}")
    write_text(f"both signed the checkpoint of {found['size']} entries; tell witnesses and whoever verifies")
