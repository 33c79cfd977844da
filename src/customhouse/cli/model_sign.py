"""`customhouse model sign`: sign a model's files."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import cached, shown
from customhouse.cli.output import common, write_text


@click.command()
@click.argument("path")
@click.option("--key", metavar="FILE", help="Private key (PEM).")
@click.option("--certificate", metavar="FILE", help="The signer's certificate (PEM), of an authority of your own.")
@click.option("--chain", multiple=True, metavar="FILE", help="Certificates (PEM) between it and the authority.")
@click.option("--identity-token", metavar="FILE", help="Instead of a key: an OpenID Connect token (keyless).")
@click.option("--trust-config", metavar="FILE", help="Services and trusted root of the Sigstore that takes the token.")
@click.option("--name", metavar="NAME", help="What the model is called (default: the folder's name).")
@click.option(
    "--ignore-paths", multiple=True, metavar="PATH", help="Files or folders to leave out; the signature says so."
)
@click.option("--out", required=True, metavar="FILE", help="Where the signature goes (a Sigstore bundle).")
@cached
@common
def sign(
    path: str,
    key: str | None,
    certificate: str | None,
    chain: tuple[str, ...],
    identity_token: str | None,
    trust_config: str | None,
    name: str | None,
    ignore_paths: tuple[str, ...],
    out: str,
    cache: bool,
    settings: Settings,
) -> None:
    """Sign a model's files by OpenSSF Model Signing v1.

    With a key, with a certificate of your own authority, or keyless: by the identity in a token, with a certificate of
    minutes and an entry in a transparency log.
    """
    from customhouse.app.looks import looking
    from customhouse.app.model_signing import By
    from customhouse.app.model_signing import sign as sealed

    by = By(key, certificate, chain, identity_token, trust_config)
    with shown(settings), looking(settings, [path], cache=cache) as wish:
        digest = sealed(path, by, name, out, wish, ignore_paths)
    write_text(digest)
