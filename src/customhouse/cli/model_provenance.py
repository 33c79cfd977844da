"""`customhouse model provenance`: what provenance says, and whether it is what is expected."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table, write_text


@click.command()
@click.argument("file")
@click.option("--repo", default=".", show_default=True, help="Repository whose customhouse.yaml (at HEAD) counts.")
@click.option("--artifact", default="", metavar="REFERENCE", help="Hold it against what is expected of this artifact.")
@click.option("--role", type=click.Choice(["model", "image"]), default="model", show_default=True, help="What it is.")
@formats("json")
@common
@click.pass_context
def provenance(
    ctx: click.Context, file: str, repo: str, artifact: str, role: str, output: str, settings: Settings
) -> None:
    """Read provenance (SLSA v1 or v0.2, of any builder), state its Build level, and hold it against customhouse.yaml.

    FILE is a signed bundle, a bare in-toto statement or a predicate. Exit status: 0, or 1 with every check that is not
    met; what is not signed by somebody who is trusted is not met.
    """
    from customhouse.app.provenance_check import Request, check_provenance

    done = check_provenance(Request(file, repo, artifact, role), settings)
    if output == "json":
        write_json(done.to_json())
        ctx.exit(0 if done.met else 1)
    said = done.verified.provenance
    write_text(f"subject   {done.subject or 'none that is told'}")
    write_text(f"signature {done.signed}")
    write_text(f"level     SLSA Build L{done.verified.level.number}: {done.verified.level.reason}")
    if said is not None:
        write_text(f"builder   {said.builder}")
        write_text(f"type      {said.build_type}")
        source = said.source
        shown = "none that it names" if source is None else f"{source.repository} {source.ref} {source.commit[:12]}"
        write_text(f"source    {shown}")
        rows = [
            (item.name, item.uri, item.digest or (f"commit {item.commit}" if item.commit else "no digest"))
            for item in said.materials[:200]
        ]
        write_table("materials", ("name", "uri", "digest"), rows)
    if done.checks:
        rows = [("met" if one.met else "NOT MET", one.check, one.message) for one in done.checks]
        write_table(f"expected by {done.expectation}", ("", "check", "because"), rows)
        for one in done.checks:
            if not one.met:
                write_text(f"{one.check}: {one.at or 'the signature'} in {file}, expected at {one.place}")
    ctx.exit(0 if done.met else 1)
