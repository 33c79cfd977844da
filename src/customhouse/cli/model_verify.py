"""`customhouse model verify`: check a model against its signature."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import shown
from customhouse.cli.output import common, formats, talk, write_json, write_text


@click.command()
@click.argument("path")
@click.option("--signature", required=True, metavar="FILE", help="The signature bundle.")
@click.option("--key", metavar="FILE", help="The signer's public key (PEM).")
@click.option(
    "--authority", "authorities", multiple=True, metavar="FILE", help="Certificates (PEM) of trusted authorities."
)
@click.option("--crl", "revocations", multiple=True, metavar="FILE", help="What these authorities have revoked.")
@click.option("--identity", metavar="TEXT", help="Who must have signed (keyless), letter by letter.")
@click.option("--issuer", metavar="URL", help="Who must have vouched for the identity, letter by letter.")
@click.option("--trusted-root", metavar="FILE", help="trusted_root.json that vouches for identities.")
@click.option("--ignore-paths", multiple=True, metavar="PATH", help="Files or folders that need not be signed.")
@click.option("--allow-symlinks", is_flag=True, help="Read links to files, where the signer did so too.")
@formats("json")
@common
@click.pass_context
def verify(
    ctx: click.Context,
    path: str,
    signature: str,
    key: str | None,
    authorities: tuple[str, ...],
    revocations: tuple[str, ...],
    identity: str | None,
    issuer: str | None,
    trusted_root: str | None,
    ignore_paths: tuple[str, ...],
    allow_symlinks: bool,
    output: str,
    settings: Settings,
) -> None:
    """Check a model's files against their signature: by key, by certificate authority, or by identity.

    Exit status: 0, or 5 with every file that differs.
    """
    from customhouse.app.artifact_verify import Request as Whose
    from customhouse.app.model_verify import Request, as_json
    from customhouse.app.model_verify import verify as checked

    named = identity is not None or issuer is not None or trusted_root is not None
    whose = Whose(path, signature, identity=identity, issuer=issuer, trusted_root=trusted_root, config=settings.config)
    asked = Request(
        path, signature, key, authorities, revocations, whose if named else None, ignore_paths, allow_symlinks
    )
    with shown(settings):
        check = checked(asked)
    if output == "json":
        write_json(as_json(check))
    else:
        for problem in check.problems():
            write_text(problem)
        if check.verified:
            write_text("verified")
    if check.ignored:
        talk(settings, f"not protected by the signature: {', '.join(check.ignored[:20])}")
    ctx.exit(0 if check.verified else 5)
