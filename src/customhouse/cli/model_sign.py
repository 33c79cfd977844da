"""`customhouse model sign`: sign a model's files."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import cached, shown
from customhouse.cli.output import common, write_text


@click.command()
@click.argument("path")
@click.option("--key", required=True, metavar="FILE", help="Private key (PEM).")
@click.option("--name", metavar="NAME", help="What the model is called (default: the folder's name).")
@click.option("--out", required=True, metavar="FILE", help="Where the signature goes (a Sigstore bundle).")
@cached
@common
def sign(path: str, key: str, name: str | None, out: str, cache: bool, settings: Settings) -> None:
    """Sign a model's files by OpenSSF Model Signing v1."""
    from customhouse.app.looks import looking
    from customhouse.app.model_signing import sign as sealed

    with shown(settings), looking(settings, [path], cache=cache) as wish:
        digest = sealed(path, key, name, out, wish)
    write_text(digest)
