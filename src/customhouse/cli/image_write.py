"""`customhouse image sign|attest`: what writes to a registry."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_text
from customhouse.core.evidence import EvidenceKind


@click.command()
@click.argument("reference")
@click.option("--key", required=True, metavar="FILE", help="Private key (PEM): Ed25519, or ECDSA P-256.")
@click.option(
    "--form",
    type=click.Choice(["both", "bundle", "tag"]),
    default="both",
    show_default=True,
    help="A Sigstore bundle as a referrer (cosign 3), cosign's older tag `sha256-….sig`, or both.",
)
@formats("json")
@common
def sign(reference: str, key: str, form: str, output: str, settings: Settings) -> None:
    """Sign an image so that `cosign verify --key` and this program's gate accept it; its digest is what is signed."""
    from customhouse.app.registry_images import sign as signed

    done = signed(settings, reference, key, form)
    if output == "json":
        write_json(done)
        return
    write_text(done["reference"])
    talk(settings, f"signed, and attached as {', '.join(done['attached'])}")


@click.command()
@click.argument("reference")
@click.option("--key", required=True, metavar="FILE", help="Private key (PEM): Ed25519, or ECDSA P-256.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in EvidenceKind if kind is not EvidenceKind.SIGNATURE]),
    required=True,
    help="What the statement is.",
)
@click.option("--predicate", required=True, metavar="FILE", help="What it says: a JSON file (CycloneDX for bom).")
@formats("json")
@common
def attest(reference: str, key: str, kind: str, predicate: str, output: str, settings: Settings) -> None:
    """Sign a statement about an image and attach it as a Sigstore bundle, as `cosign attest` does."""
    from customhouse.app.registry_images import attach

    done = attach(settings, reference, EvidenceKind(kind), predicate, key)
    if output == "json":
        write_json(done)
        return
    write_text(done["reference"])
    talk(settings, f"{kind} signed, and attached as {done['attached'][0]}")
