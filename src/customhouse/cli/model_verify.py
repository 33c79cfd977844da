"""`customhouse model verify`: check a model against its signature."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, write_text


@click.command()
@click.argument("path")
@click.option("--signature", required=True, metavar="FILE", help="The signature bundle.")
@click.option("--key", required=True, metavar="FILE", help="The signer's public key (PEM).")
@common
@click.pass_context
def verify(ctx: click.Context, path: str, signature: str, key: str, settings: Settings) -> None:  # noqa: ARG001
    """Check a model's files against their signature. Exit status: 0, or 5 with every file that differs."""
    from customhouse.app.model_signing import verify as checked

    problems = checked(path, signature, key)
    for problem in problems:
        write_text(problem)
    if not problems:
        write_text("verified")
    ctx.exit(5 if problems else 0)
