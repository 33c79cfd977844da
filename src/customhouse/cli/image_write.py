"""`customhouse image sign|attest`: what writes to a registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_text
from customhouse.core.evidence import EvidenceKind


def signers(command: Callable[..., Any]) -> Callable[..., Any]:
    """Who signs."""
    for option in (
        click.option("--trust-config", metavar="FILE", help="Services and trusted root of the Sigstore that takes it."),
        click.option("--identity-token", metavar="FILE", help="Instead of a key: an OpenID Connect token (keyless)."),
        click.option("--key", metavar="FILE", help="Private key: PEM (Ed25519, ECDSA P-256), or cosign.key."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("reference")
@signers
@click.option(
    "--form",
    type=click.Choice(["both", "bundle", "tag"]),
    default="both",
    show_default=True,
    help="A Sigstore bundle as a referrer (cosign 3), cosign's older tag `sha256-….sig`, or both.",
)
@formats("json")
@common
def sign(
    reference: str,
    key: str | None,
    identity_token: str | None,
    trust_config: str | None,
    form: str,
    output: str,
    settings: Settings,
) -> None:
    """Sign an image so that `cosign verify` and this program's gate accept it; its digest is what is signed."""
    from customhouse.app.model_signing import By
    from customhouse.app.registry_images import sign as signed

    done = signed(settings, reference, By(key, token=identity_token, services=trust_config), form)
    if output == "json":
        write_json(done)
        return
    write_text(done["reference"])
    talk(settings, f"signed, and attached as {', '.join(done['attached'])}")


@click.command()
@click.argument("reference")
@signers
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in EvidenceKind if kind is not EvidenceKind.SIGNATURE]),
    required=True,
    help="What the statement is.",
)
@click.option("--predicate", required=True, metavar="FILE", help="What it says: a JSON file (CycloneDX for bom).")
@formats("json")
@common
def attest(
    reference: str,
    key: str | None,
    identity_token: str | None,
    trust_config: str | None,
    kind: str,
    predicate: str,
    output: str,
    settings: Settings,
) -> None:
    """Sign a statement about an image and attach it as a Sigstore bundle, as `cosign attest` does."""
    from customhouse.app.model_signing import By
    from customhouse.app.registry_images import attach

    by = By(key, token=identity_token, services=trust_config)
    done = attach(settings, reference, EvidenceKind(kind), predicate, by)
    if output == "json":
        write_json(done)
        return
    write_text(done["reference"])
    talk(settings, f"{kind} signed, and attached as {done['attached'][0]}")
