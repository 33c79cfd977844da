"""`customhouse network`: NetworkPolicies from declared callers, and who was really seen calling."""

from __future__ import annotations

import sys
from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_text
from customhouse.core.flows import Seen


@click.group()
def network() -> None:
    """NetworkPolicies of the callers that workloads declare, and who was seen calling them."""


@network.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="Format of the data on stdout.",
)
@common
def generate(paths: tuple[str, ...], output: str, settings: Settings) -> None:
    """Print the NetworkPolicies that let in the declared callers and nobody else.

    A workload declares them by the annotation customhouse.dev/callers. The same files give the same bytes; commit them,
    and the gate holds them against the annotations.
    """
    from customhouse.app.callernetwork import generate as made_of

    made, silent = made_of(paths, sys.stdin.buffer if "-" in paths else None)
    for name in silent:
        talk(settings, f"{name} declares no callers: nobody will reach it")
    if output == "json":
        write_json({"policies": made})
        return
    import yaml

    texts = (yaml.safe_dump(item, sort_keys=False, allow_unicode=True, width=120) for item in made)
    write_text("---\n".join(texts))


@network.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--flows", required=True, metavar="FILE", help="A log of `hubble observe -o jsonpb`; - is stdin.")
@formats("json")
@common
def check(paths: tuple[str, ...], flows: str, output: str, **_settings: object) -> int:
    """Hold observed traffic against the callers that workloads declare.

    Exit status: 0, or 1 when somebody called who is not declared, or when a declared caller was refused. A declared
    caller who was never seen is told: perhaps it need not be one.
    """
    from customhouse._kit.reading import absent
    from customhouse.app.callernetwork import check as checked
    from customhouse.core.errors import UsageError

    if flows == "-":
        found = checked(paths, sys.stdin.buffer, "stdin")
    else:
        try:
            with open(flows, "rb") as log:
                found = checked(paths, log, flows)
        except OSError as error:
            raise UsageError(absent(flows), hint="--flows names a log of Hubble") from error
    bad = any(item.undeclared or item.refused for item in found)
    if output == "json":
        write_json({"workloads": [_shown(item) for item in found]})
        return int(bad)
    for item in found:
        unknown = "" if item.called.labels else "; the labels of its pods are not known, so it is found in none"
        write_text(f"{item.called.ref}: {item.flows} flows{unknown}")
        for text, count in item.undeclared.most_common():
            write_text(f"  undeclared: {text} ({count})")
        for text, count in item.refused.most_common():
            write_text(f"  declared, and refused: {text} ({count})")
        for text in item.silent:
            write_text(f"  declared, never seen: {text}")
    return int(bad)


def _shown(item: Seen) -> dict[str, Any]:
    return {
        "resource": item.called.ref.to_json(),
        "flows": item.flows,
        "undeclared": dict(item.undeclared.most_common()),
        "refused": dict(item.refused.most_common()),
        "neverSeen": list(item.silent),
    }
