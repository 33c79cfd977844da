"""`customhouse trace`: the chain of custody of anything."""

from __future__ import annotations

from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table, write_text


@click.command()
@click.argument("reference")
@click.option("--up", is_flag=True, help="Only what led to it.")
@click.option("--down", is_flag=True, help="Only what came of it.")
@click.option("--depth", type=click.IntRange(0), metavar="N", help="At most N links far.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Show nodes of this kind alone; may be repeated.")
@click.option("--repo", metavar="PATH", help="A local repository to look into, beside those that the state mirrors.")
@click.option("--data", metavar="PATH", help="Where the data lie whose rows are named: the rows are proved from them.")
@click.option("--full", is_flag=True, help="Read every entry of the ledger; take nothing from the index beside it.")
@click.option("--export", "file", metavar="FILE", help="Write what a stranger verifies with `customhouse verify FILE`.")
@click.option(
    "--since", metavar="CHECKPOINT", help="With --export: prove the ledger's growth from this checkpoint too."
)
@formats("json", "dot", "mermaid")
@common
def trace(
    reference: str,
    up: bool,
    down: bool,
    depth: int | None,
    kinds: tuple[str, ...],
    repo: str | None,
    data: str | None,
    full: bool,
    file: str | None,
    since: str | None,
    output: str,
    settings: Settings,
) -> None:
    """Walk the chain of custody from any node, both ways.

    REFERENCE is a digest or its beginning, a commit, a resource (name, namespace/name), a pod, a charge, a decision, a
    name that people use, kind:name, an entry (entry:12), rows of a dataset (NAME#rows=100-200), or a file.
    """
    import gc

    from customhouse.app.custody import Asked, Walk

    gc.set_threshold(50_000, 50, 50)  # a trace is made of what stays until it is written
    asked = Asked(reference, Walk(up=up or not down, down=down or not up, depth=depth), repo, data, full)
    if file is not None:
        from customhouse.app.custody import export_to

        done = export_to(settings, asked, file, since)
        for missing in done.left_out:
            talk(settings, f"not in the file: {missing}")
        write_text(f"{file}: {len(done.data)} bytes, {len(done.traced.entries)} ledger entries with their proofs")
        write_text(f"verify it with: customhouse verify {file} --key '{done.vkey}'")
        return
    from customhouse.app.custody import traced

    found = traced(settings, asked, lambda what, done, total: talk(settings, f"{done} of {total} {what}"))
    if "#rows=" in reference:
        said = f"proved from {data}" if data else "taken to be meant; --data PATH proves them"
        talk(settings, f"rows {reference.partition('#rows=')[2]}: {said}")
    shown = found.only(kinds).to_json()
    if output == "json":
        _json(shown)
    elif output == "table":
        _tables(shown)
    else:
        write_text(_dot(shown) if output == "dot" else _mermaid(shown))


def _json(found: dict[str, Any]) -> None:
    """As `write_json` does, in a tenth of its time: a trace has thousands of lines."""
    import sys

    import orjson

    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        write_json(found)
        return
    write_text(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


def _tables(found: dict[str, Any]) -> None:
    rows = [[node["time"] or "", node["kind"], node["name"], ", ".join(node["aliases"])] for node in found["nodes"]]
    write_table("", ["Time", "Kind", "What", "Also known as"], rows)
    links = [[edge["from"], edge["kind"], edge["to"], _rests(edge)] for edge in found["edges"]]
    write_table("", ["From", "How", "To", "Rests on"], links)
    entries = len(found["proofs"])
    counted = f"{plural(len(found['nodes']), 'node')}, {plural(len(found['edges']), 'link')}"
    write_text(f"{counted}, {entries} {'entry' if entries == 1 else 'entries'} proved")


def _rests(edge: dict[str, Any]) -> str:
    """Entries by their numbers, signed statements by their digests, or that it is somebody's word."""
    entries = edge["entries"]
    named = ", ".join(map(str, entries[:3])) + (f" and {len(entries) - 3} more" if len(entries) > 3 else "")
    said = f"; evidence {edge['evidence'][0][7:19]}…" if edge["evidence"] else ""
    return f"{'entry' if edge['state'] == 'proved' else 'only claimed, entry'} {named}{said}"


def _quoted(text: str) -> str:
    """A text that ends neither a string of DOT nor one of Mermaid."""
    return "".join(letter if letter.isprintable() and letter not in '"\\<>&#`' else "_" for letter in text)[:120]


def _label(node: dict[str, Any]) -> str:
    shown = node["name"][7:19] if node["name"].startswith("sha256:") else node["name"]
    return _quoted(f"{node['kind']} {node['aliases'][0] if node['aliases'] else shown}")


def _dot(found: dict[str, Any]) -> str:
    numbers = {node["id"]: number for number, node in enumerate(found["nodes"])}
    lines = ["digraph custody {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  n{numbers[node["id"]]} [label="{_label(node)}"];' for node in found["nodes"]]
    for edge in found["edges"]:
        style = "" if edge["state"] == "proved" else ", style=dashed"
        lines.append(f'  n{numbers[edge["from"]]} -> n{numbers[edge["to"]]} [label="{_quoted(edge["kind"])}"{style}];')
    return "\n".join([*lines, "}"])


def _mermaid(found: dict[str, Any]) -> str:
    numbers = {node["id"]: number for number, node in enumerate(found["nodes"])}
    lines = ["flowchart LR"]
    lines += [f'  n{numbers[node["id"]]}["{_label(node)}"]' for node in found["nodes"]]
    for edge in found["edges"]:
        arrow = "-->" if edge["state"] == "proved" else "-.->"
        lines.append(f"  n{numbers[edge['from']]} {arrow}|{_quoted(edge['kind'])}| n{numbers[edge['to']]}")
    return "\n".join(lines)
