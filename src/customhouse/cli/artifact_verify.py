"""`customhouse artifact verify`: check an artifact against a Sigstore bundle, offline."""

from __future__ import annotations

from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_text


@click.command()
@click.argument("artifact", metavar="FILE|FOLDER|DIGEST|oci://REFERENCE")
@click.option("--bundle", metavar="FILE", help="The Sigstore bundle (default: FILE.sigstore.json beside the file).")
@click.option("--key", metavar="FILE", help="The signer's public key (PEM).")
@click.option("--identity", metavar="TEXT", help="Who must have signed, letter by letter: an e-mail address or a URI.")
@click.option("--identity-regexp", metavar="PATTERN", help="The same as a pattern over the whole text.")
@click.option("--issuer", metavar="URL", help="Who must have vouched for the identity, letter by letter.")
@click.option("--issuer-regexp", metavar="PATTERN", help="The same as a pattern over the whole text.")
@click.option(
    "--trusted-root",
    metavar="FILE",
    help="trusted_root.json: authorities, logs and timestamp authorities that count (default: that of --config).",
)
@click.option("--no-log", is_flag=True, help="Take a bundle without an entry in a transparency log.")
@click.option("--no-sct", is_flag=True, help="Take a certificate that no log of certificates has seen.")
@formats("json")
@common
@click.pass_context
def verify(
    ctx: click.Context,
    artifact: str,
    bundle: str | None,
    key: str | None,
    identity: str | None,
    identity_regexp: str | None,
    issuer: str | None,
    issuer_regexp: str | None,
    trusted_root: str | None,
    no_log: bool,
    no_sct: bool,
    output: str,
    settings: Settings,
) -> None:
    """Check an artifact against its Sigstore bundle, without a network.

    Give either --key, or an identity with its issuer and the trusted root that vouches for it. A folder (a dataset, a
    model) is checked against the signature over all its files. An image (oci://…) is checked as by `customhouse image
    verify`, against what is attached to it. Exit status: 0 verified, 5 not verified, 2 usage.
    """
    if artifact.startswith("oci://"):
        if bundle or identity_regexp or issuer_regexp:
            raise click.UsageError("of an image say --key, or --identity with --issuer and --trusted-root")
        ctx.exit(_verify_image(artifact, (key, identity, issuer, trusted_root), output, settings))
    from customhouse.app.artifact_verify import Request
    from customhouse.app.artifact_verify import verify as checked
    from customhouse.core.errors import TamperError

    asked = Request(
        artifact=artifact,
        bundle=bundle,
        key=key,
        identity=identity,
        identity_pattern=identity_regexp,
        issuer=issuer,
        issuer_pattern=issuer_regexp,
        trusted_root=trusted_root,
        config=settings.config,
        need_log=not no_log,
        need_certificate_log=not no_sct,
    )
    try:
        found = checked(asked)
    except TamperError as error:
        if output == "json":
            write_json({"verified": False, "problem": error.message, "where": error.where, "hint": error.hint})
            ctx.exit(5)
        raise
    if output == "json":
        write_json(found)
    else:
        write_text(_told(found))


def _verify_image(
    reference: str, named: tuple[str | None, str | None, str | None, str | None], output: str, settings: Settings
) -> int:
    from customhouse.app.registry_images import Signers
    from customhouse.app.registry_images import verify as verified
    from customhouse.core.evidence import EvidenceKind

    key, identity, issuer, root = named
    signers = Signers(key=key, identity=identity, issuer=issuer, trusted_root=root)
    found = verified(settings, reference, signers, [EvidenceKind.SIGNATURE])
    if output == "json":
        write_json(found)
    else:
        good = [item for item in found["evidence"] if item["verified"] and item["kind"] == "signature"]
        write_text(f"{'verified' if found['verified'] else 'not verified'}: {found['reference']}")
        for item in good or found["evidence"]:
            write_text(f"  {item['signer'] or ''} {item['problem']}".rstrip())
    return 0 if found["verified"] else 5


def _told(found: dict[str, Any]) -> str:
    by = found["identity"] or found["key"] or ""
    lines = [f"verified: {found['artifact']}", f"  signed by  {found['method']} {by}".rstrip()]
    if found["issuer"]:
        lines.append(f"  vouched by {found['issuer']}")
    lines += [f"  at         {item['time']} ({item['source']})" for item in found["times"]]
    lines += [f"  logged     {item['log']} entry {item['index']}" for item in found["log_entries"]]
    if found["predicate_type"]:
        lines.append(f"  states     {found['predicate_type']}")
    lines += [f"  not verified: {text}" for text in found["not_verified"]]
    return "\n".join(lines)
