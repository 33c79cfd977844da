"""`customhouse trace`: the chain of custody of anything."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table, write_text


@click.command()
@click.argument("reference")
@formats("json")
@common
def trace(reference: str, output: str, settings: Settings) -> None:
    """Walk the chain of custody from any node, both ways: a digest, a resource, a commit, a training run."""
    from customhouse.app.records import trace_of

    found = trace_of(settings, reference)
    if output == "json":
        write_json(found)
        return
    rows = [[node["time"] or "", node["kind"], node["name"], ", ".join(node["aliases"])] for node in found["nodes"]]
    write_table("", ["Time", "Kind", "What", "Also known as"], rows)
    write_table("", ["From", "How", "To"], [[edge["from"], edge["kind"], edge["to"]] for edge in found["edges"]])
    write_text(f"{len(found['nodes'])} nodes, {len(found['edges'])} links, {len(found['proofs'])} entries proved")
