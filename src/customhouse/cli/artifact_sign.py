"""`customhouse artifact sign`: sign a file or a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_text

if TYPE_CHECKING:
    from customhouse.app.model_signing import By


@click.command()
@click.argument("artifact", metavar="FILE|FOLDER|oci://REFERENCE")
@click.option("--key", metavar="FILE", help="Private key (PEM).")
@click.option("--identity-token", metavar="FILE", help="Instead of a key: an OpenID Connect token (keyless).")
@click.option("--trust-config", metavar="FILE", help="Services and trusted root of the Sigstore that takes the token.")
@click.option("--out", metavar="FILE", help="Where the bundle goes (default: beside it, with .sigstore.json).")
@formats("json")
@common
def sign(
    artifact: str,
    key: str | None,
    identity_token: str | None,
    trust_config: str | None,
    out: str | None,
    output: str,
    settings: Settings,
) -> None:
    """Sign a file or a folder with a key, or keyless; the signature is a Sigstore bundle.

    A file gets a signature over its bytes, which `cosign verify-blob` takes too. A folder (a dataset, a model) gets one
    over the list of all its files, by OpenSSF Model Signing v1. An image in a registry (oci://…) is signed as by
    `customhouse image sign`.
    """
    if artifact.startswith("oci://"):
        from customhouse.app.model_signing import By

        _sign_image(artifact, By(key, token=identity_token, services=trust_config), output, settings)
        return
    from customhouse.app.artifact_sign import sign as sealed
    from customhouse.app.model_signing import By

    done = sealed(artifact, By(key, token=identity_token, services=trust_config), out)
    if output == "json":
        write_json(done)
    else:
        write_text(f"{done['digest']}  {done['bundle']}")
    if key is not None:
        talk(settings, "the key has no log entry and no time: keep its public half where those who verify trust it")


def _sign_image(reference: str, by: By, output: str, settings: Settings) -> None:
    from customhouse.app.registry_images import sign as signed

    done = signed(settings, reference, by)
    if output == "json":
        write_json(done)
    else:
        write_text(done["reference"])
