"""`customhouse report`: reports for people who did not make what they are about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import shown
from customhouse.cli.output import common, formats, talk, write_json, write_table, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group()
def report() -> None:
    """Write reports about releases."""


@report.command()
@click.argument("release")
@click.option("--framework", "frameworks", multiple=True, metavar="NAME", help="A packaged one; default: all of them.")
@click.option("--mapping", "mappings", multiple=True, metavar="FILE", help="A mapping of one's own, beside or instead.")
@click.option("--statements", metavar="FILE", help="What owners state of controls that no system shows.")
@click.option("--out", metavar="FOLDER", help="Write compliance.json and compliance.html there.")
@click.option("--key", metavar="FILE", help="With --out: sign compliance.json with this private key (PEM).")
@formats("json", "html")
@common
@click.pass_context
def compliance(
    ctx: click.Context,
    release: str,
    frameworks: tuple[str, ...],
    mappings: tuple[str, ...],
    statements: str | None,
    out: str | None,
    key: str | None,
    output: str,
    settings: Settings,
) -> None:
    """Say which controls the evidence of RELEASE meets: a workload's name, or the digest of a release.

    Exit status: 0 when every control is met, stated or not applicable, 1 when some are not, 5 when the ledger does not
    verify.
    """
    from customhouse.app.compliance import Wanted, outcome
    from customhouse.app.compliance import report as made

    if key is not None and out is None:
        raise click.UsageError("--key signs what --out writes")
    with shown(settings):
        document = made(settings, Wanted(release, frameworks, mappings, statements))
    if out is not None:
        _write(document, Path(out), key, settings)
    _say(document, output)
    for name in document["unknown_controls"]:
        talk(settings, f"a statement is of a control that no framework here has: {name}")
    counted = outcome(document)
    gaps = counted["partly"] + counted["missing"] + counted["not-shown"]
    ctx.exit(5 if not document["ledger"]["verified"] else 1 if gaps else 0)


def _say(document: Mapping[str, Any], output: str) -> None:
    if output == "json":
        write_json(document)
        return
    if output == "html":
        from customhouse.app.compliance import digest_of
        from customhouse.cli.report_compliance import page

        write_text(page(document, digest_of(document)))
        return
    from customhouse.cli.report_compliance import WORDS

    for item in document["frameworks"]:
        rows = [
            [control["id"], WORDS[control["state"]], control["title"], _todo(control)] for control in item["controls"]
        ]
        write_table(item["title"], ["Control", "Stands", "What", "To do"], rows)
        write_text("; ".join(f"{item['summary'][state]} {word}" for state, word in WORDS.items()))
    write_text(document["disclaimer"])


def _todo(control: Mapping[str, Any]) -> str:
    return "; ".join(item["todo"] or item["need"] for item in control["missing"])


def _write(document: Mapping[str, Any], folder: Path, key: str | None, settings: Settings) -> None:
    from customhouse.app.compliance import digest_of, written
    from customhouse.cli.report_compliance import page

    html = page(document, digest_of(document)).encode()
    place, bundle = written(document, html, folder, key)
    talk(settings, f"written: {place} and compliance.html" + (f", signed: {bundle}" if bundle else "; not signed"))
