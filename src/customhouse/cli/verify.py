"""`customhouse verify`: a custody export, looked at offline."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table, write_text

_STEPS = {
    1: "form",
    2: "seal",
    3: "ledger",
    4: "entries",
    5: "graph",
    6: "decisions",
    7: "commits and files",
    8: "evidence",
    9: "rows",
    10: "charges",
}


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--key", "keys", multiple=True, metavar="KEY", help="The ledger's key: vkey, fingerprint or a file of it."
)
@click.option("--checkpoint", metavar="FILE", help="A checkpoint of the ledger that you kept: it must fit.")
@click.option("--root", "roots", multiple=True, metavar="[NAME=]FILE", help="Keys of evidence, instead of Git's.")
@click.option("--witness", "witnesses", multiple=True, metavar="VKEY", help="A witness that must have cosigned it.")
@formats("json")
@common
@click.pass_context
def verify(
    ctx: click.Context,
    file: str,
    keys: tuple[str, ...],
    checkpoint: str | None,
    roots: tuple[str, ...],
    witnesses: tuple[str, ...],
    output: str,
    settings: Settings,
) -> None:
    """Verify a custody export offline (`trace REF --export FILE` writes one): each link is proved, claimed or broken.

    Exit status: 0 when nothing is broken under the key that you name, 5 with every broken link, 3 when nothing is
    broken and you named no key (then the file vouches for itself alone), or your --checkpoint could not be compared.
    """
    from customhouse.app.custody_verify import verify as look

    found = look(file, keys=keys, checkpoint=checkpoint, roots=roots, witnesses=witnesses)
    if output == "json":
        write_json(found.to_json())
    else:
        rows = []
        for step, name in _STEPS.items():
            states = [link.state for link in found.links if link.step == step]
            rows.append([f"{step}. {name}", *(str(states.count(s) or "") for s in ("proved", "claimed", "broken"))])
        write_table("", ["Step", "Proved", "Claimed", "Broken"], rows)
        for link in found.shown:
            write_text(str(link))
        if found.ok:
            about = found.reference if found.named else ", ".join(found.found[:3])
            write_text(f"{about}: nothing is broken in {plural(len(found.links), 'link')}")
            if not found.named:
                write_text(f"{found.reference!r} is what the file calls itself; no entry in it says so")
            write_text(f"ledger {found.origin}, {found.size} entries, key {found.fingerprint}")
        else:
            write_text(f"{plural(len(found.broken), 'link')} broken")
    if found.ok and not found.vouched:
        talk(settings, f"nobody vouches for the key that the file itself names: {found.key}")
        talk(
            settings,
            "ask the ledger's owner for it and name it with --key; until then this proves nothing about whose it is",
        )
    if found.ok and not found.held:
        talk(
            settings,
            "this file could not be held against the checkpoint that you kept: a ledger that was forked would look "
            "the same. Ask for an export with --since your checkpoint, made after it",
        )
    ctx.exit(5 if not found.ok else 0 if found.vouched and found.held else 3)
