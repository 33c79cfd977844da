"""`customhouse data`: datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import shown
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from customhouse.app.data_validation import Report, Request


@click.group()
def data() -> None:
    """Validate datasets, register them by digest, and prepare them by declared Jobs."""


def _asked(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what a dataset has to be."""
    for option in (
        click.option("--reference", metavar="FILE", help="Report (JSON) of other data, to tell what drifted from it."),
        click.option("--label", metavar="COLUMN", help="The label's column, where no schema says it."),
        click.option("--split", metavar="NAME=FILES,…", help="Which files are which split: train=a.csv,test=b*.csv."),
        click.option(
            "--schema", metavar="FILE", help="Schema (YAML); default dataset.schema.yaml in the folder, if it is there."
        ),
    ):
        command = option(command)
    return command


def _request(path: str, schema: str | None, split: str | None, label: str | None, reference: str | None) -> Request:
    from customhouse.app.data_validation import Request

    splits = {}
    for part in (split or "").split(",") if split else ():
        name, equals, pattern = part.partition("=")
        if not (name.strip() and equals and pattern.strip()):
            raise click.UsageError(f"--split: {part!r} is not NAME=FILES")
        splits[name.strip()] = pattern.strip()
    return Request(path, schema or "", label or "", splits, reference or "")


@data.command()
@click.argument("path")
@_asked
@click.option("--infer", is_flag=True, help="Write a schema that the data meet, to begin with, instead of a report.")
@click.option("--attest", "name", metavar="NAME", help="Sign what was found, about the dataset of this name.")
@click.option("--key", metavar="FILE", help="Private key (PEM) that signs it.")
@click.option("--repo", default=".", show_default=True, help="Repository that the evidence goes to (.evidence/).")
@formats("json", "markdown", "html")
@common
@click.pass_context
def validate(
    ctx: click.Context,
    path: str,
    schema: str | None,
    split: str | None,
    label: str | None,
    reference: str | None,
    infer: bool,
    name: str | None,
    key: str | None,
    repo: str,
    output: str,
    settings: Settings,
) -> None:
    """Check a file or folder: schema, duplicates, leaks between splits, signs of poisoning, sensitive columns.

    Reads CSV (also gzip), JSON Lines, NumPy arrays (.npy, .npz), pictures, texts, and Parquet. The extra `parquet` is
    for the latter, the extra `images` for pictures' pixels (else their headers alone are read). Exit status: 0, 1 when
    it fails, 3 when it cannot be read.
    """
    from customhouse.app.data_validation import attest_report, inferred_schema, validate_data

    if (name is None) != (key is None):
        raise click.UsageError("--attest NAME and --key FILE go together")
    with shown(settings):
        report = validate_data(_request(path, schema, split, label, reference))
    if infer:
        write_text(inferred_schema(report))
        return
    _write(report, output)
    if report.nothing_read:
        talk(settings, "no file holds rows that can be read: nothing was validated")
    if name is not None and key is not None:
        talk(settings, f"signed: {attest_report(report, name, key, repo)}")
    if not report.passed:
        ctx.exit(1)


def _write(report: Report, output: str) -> None:
    from customhouse.cli import data_report

    said = report.to_json()
    if output == "json":
        write_json(said)
    elif output == "markdown":
        write_text(data_report.markdown(said))
    elif output == "html":
        write_text(data_report.html(said))
    else:
        write_text(f"{said['digest']}  {said['path']}")
        write_text(data_report.headline(said))
        _findings(said)


def _findings(said: Mapping[str, Any]) -> None:
    rows = [
        (
            item["severity"],
            item["rule"],
            item["column"] or item["file"],
            item["message"] + (f" {item['fix']}" if item["fix"] else ""),
            ", ".join(item["rows"][:5]),
        )
        for item in said["findings"]
    ]
    write_table("", ("severity", "rule", "where", "what", "first rows"), rows)


@data.command()
@click.argument("path")
@click.option("--name", required=True, metavar="NAME", help="What the dataset is called.")
@click.option("--by", metavar="WHO", help="Who registers it (default: GIT_AUTHOR_NAME and _EMAIL, else the user).")
@click.option(
    "--from", "origins", multiple=True, metavar="ORIGIN", help="Digest, registered name or URL it comes from."
)
@click.option(
    "--snapshot", metavar="FILE", help="What it is of a feature store: a snapshot's YAML, or Feast's own files."
)
@click.option(
    "--as-of", metavar="TIME", help="The moment of a snapshot by Feast's own files (default: the newest row)."
)
@_asked
@formats("json")
@common
@click.pass_context
def register(
    ctx: click.Context,
    path: str,
    name: str,
    by: str | None,
    origins: tuple[str, ...],
    snapshot: str | None,
    as_of: str | None,
    schema: str | None,
    split: str | None,
    label: str | None,
    reference: str | None,
    output: str,
    settings: Settings,
) -> None:
    """Validate a file or folder, and record it in the ledger by its digest; what fails is not recorded.

    Models are then trained on it and traced to it. Exit status: 0, 1 when it fails, 3 when it cannot be read.
    """
    from customhouse.app.datasets import register as enter

    if as_of and not snapshot:
        raise click.UsageError("--as-of goes with --snapshot FILE")
    with shown(settings):
        asked = _request(path, schema, split, label, reference)
        found, report = enter(settings, asked, name, by, origins, snapshot or "", as_of or "")
    if output == "json":
        write_json(found | {"findings": [item.to_json() for item in report.validated.findings]})
    else:
        write_text(f"{found['digest']}  {found['name']}: {plural(found['files'], 'file')}, {found['size']} bytes")
        _findings(report.to_json())
    if not found["passed"]:
        talk(settings, "not registered: it failed the validation")
        ctx.exit(1)
    if not found["validated"]:
        talk(settings, "no file holds rows that can be read: it is registered without a validation")
    state = "entered" if found["registered"] else "was entered before"
    talk(settings, f"{state}: version {found['version']}, ledger entry {found['entry']}")


@data.command()
@click.argument("name")
@click.argument("path")
@click.option(
    "--schema", metavar="FILE", help="Schema (YAML) declared today; default dataset.schema.yaml in the folder."
)
@formats("json")
@common
@click.pass_context
def verify(ctx: click.Context, name: str, path: str, schema: str | None, output: str, settings: Settings) -> None:
    """Check that PATH holds what was registered as NAME (or NAME@VERSION), validated under the schema of today.

    Exit status: 0, 1 when that was under an older version of the schema, 5 for other bytes.
    """
    from customhouse.app.datasets import verify as held

    with shown(settings):
        found = held(settings, name, path, schema or "")
    if output == "json":
        write_json(found)
    else:
        write_text(f"{found['digest']}  {found['name']}@{found['version']}")
    if not found["latest"]:
        talk(settings, "a later version is registered")
    versions = found["schema"]
    if versions["older"]:
        was = f"version {versions['registered']}" if versions["registered"] else "one without a version"
        talk(
            settings,
            f"validated under {was} of its schema; declared is version {versions['declared']}: register it again",
        )
        ctx.exit(1)


@data.command()
@click.argument("job")
@click.option("--key", required=True, metavar="FILE", help="Private key (PEM) that signs what was made of what.")
@click.option("--repo", default=".", show_default=True, help="Repository that declares the Job; evidence goes there.")
@click.option("--commit", default="HEAD", show_default=True, metavar="REV", help="The commit that declares the Job.")
@click.option("--replace", is_flag=True, help="Whether an output that is there already may be replaced.")
@click.option("--limit", default=3600.0, show_default=True, metavar="SECONDS", help="How long the Job may run.")
@formats("json")
@common
def prepare(
    job: str, key: str, repo: str, commit: str, replace: bool, limit: float, output: str, settings: Settings
) -> None:
    """Run a declared data-preparation JOB (NAME or NAMESPACE/NAME), and attest the digests of its inputs and outputs.

    Its annotations customhouse.dev/data-inputs and customhouse.dev/data-outputs name the data (NAME=/path). Exit
    status: 0, or 3 when it could not be run as declared.
    """
    from customhouse.app.preparing_data import Request
    from customhouse.app.preparing_data import prepare as prepared

    with shown(settings):
        done = prepared(Request(job, key, repo, commit, replace, limit), settings)
    if output == "json":
        write_json(done)
        return
    for side in ("inputs", "outputs"):
        for name, digest in done[side].items():
            write_text(f"{side[:-1]:7} {name}  {digest}")
    for file in done["files"]:
        write_text(f"  {file}")
    talk(settings, f"ledger entry {done['entry']}")
