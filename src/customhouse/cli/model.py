"""`customhouse model`: scan, sign, verify, describe and attest models."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_table, write_text


@click.group()
def model() -> None:
    """Scan, sign, verify and describe models. Nothing here loads or executes a model."""


@model.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@formats("json")
@common
@click.pass_context
def scan(
    ctx: click.Context,
    paths: tuple[str, ...],
    output: str,
    settings: Settings,
) -> None:
    """Say whether files may be loaded.

    Exit status: 1 if any file is suspicious or malicious, else 3 if any is unscannable, else 0.
    """
    from customhouse.app.models import scan as look

    found = look(paths, lambda file: talk(settings, f"{file.path}: {file.verdict.value}"))
    if output == "json":
        write_json(found.to_json())
    else:
        rows = [
            [file.path, file.format, file.verdict.value, "; ".join(f"{f.rule}: {f.message}" for f in file.findings)]
            for file in found.files
        ]
        write_table("", ["File", "Format", "Verdict", "Findings"], rows)
    verdicts = {file.verdict.value for file in found.files}
    ctx.exit(1 if verdicts & {"suspicious", "malicious"} else 3 if "unscannable" in verdicts else 0)


@model.command()
@click.argument("path")
@click.option("--key", required=True, metavar="FILE", help="Private key (PEM).")
@click.option("--name", metavar="NAME", help="What the model is called (default: the folder's name).")
@click.option("--out", required=True, metavar="FILE", help="Where the signature goes (a Sigstore bundle).")
@common
def sign(path: str, key: str, name: str | None, out: str, settings: Settings) -> None:  # noqa: ARG001 - as every command
    """Sign a model's files by OpenSSF Model Signing v1."""
    from customhouse.app.models import sign as sealed

    digest = sealed(path, key, name, out)
    write_text(digest)


@model.command()
@click.argument("path")
@click.option("--signature", required=True, metavar="FILE", help="The signature bundle.")
@click.option("--key", required=True, metavar="FILE", help="The signer's public key (PEM).")
@common
@click.pass_context
def verify(ctx: click.Context, path: str, signature: str, key: str, settings: Settings) -> None:  # noqa: ARG001
    """Check a model's files against their signature. Exit status: 0, or 5 with every file that differs."""
    from customhouse.app.models import verify as checked

    problems = checked(path, signature, key)
    for problem in problems:
        write_text(problem)
    if not problems:
        write_text("verified")
    ctx.exit(5 if problems else 0)


@model.command()
@click.argument("path")
@click.option("--name", metavar="NAME", help="What the model is called (default: the folder's name).")
@click.option("--version", "version", default="0", show_default=True, help="The model's version.")
@common
def bom(path: str, name: str | None, version: str, settings: Settings) -> None:  # noqa: ARG001
    """Write the CycloneDX 1.6 bill of materials of a model to stdout."""
    from customhouse.app.models import bill

    write_json(bill(path, name, version))


@model.command()
@click.argument("path")
@click.option("--repo", default=".", show_default=True, help="Work tree that the evidence is written into.")
@click.option("--key", required=True, metavar="FILE", help="Private key (PEM) that signs the evidence.")
@click.option("--name", metavar="NAME", help="What the model is called (default: the folder's name).")
@click.option("--version", "version", default="0", show_default=True, help="The model's version.")
@click.option("--evaluation", metavar="FILE", help="JSON that an evaluation wrote.")
@click.option("--dataset", metavar="NAME=DIGEST", multiple=True, help="A dataset that it was trained on.")
@click.option("--job", metavar="FILE", help="The manifest of the Job that trained it: its provenance.")
@formats("json")
@common
def attest(
    path: str,
    repo: str,
    key: str,
    name: str | None,
    version: str,
    evaluation: str | None,
    dataset: tuple[str, ...],
    job: str | None,
    output: str,
    settings: Settings,
) -> None:
    """Inspect a model and write the evidence that the gate asks for into a work tree, ready to be committed."""
    from customhouse.app.models import AttestRequest
    from customhouse.app.models import attest as inspected

    done = inspected(AttestRequest(path, repo, key, name, version, evaluation, dataset, job))
    if done["verdict"] != "clean":
        talk(settings, f"the scan says {done['verdict']}: the gate will deny this model")
    if output == "json":
        write_json(done)
        return
    write_text(f"{done['digest']}  scan: {done['verdict']}")
    for file in done["files"]:
        write_text(f"  {file}")
