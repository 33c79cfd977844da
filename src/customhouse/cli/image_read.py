"""`customhouse image resolve|verify|evidence`: nothing is written to a registry."""

from __future__ import annotations

from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_table, write_text
from customhouse.core.evidence import EvidenceKind

_PLATFORM = click.option("--platform", metavar="OS/ARCH", help="Of an image for several platforms, this one.")


@click.command()
@click.argument("reference")
@_PLATFORM
@formats("json")
@common
def resolve(reference: str, platform: str | None, output: str, settings: Settings) -> None:
    """Print REFERENCE by its digest. A tag that stands beside a digest must still name it.

    Exit status: 0; 3 when the registry does not answer or has no such thing; 5 for a tag that has moved.
    """
    from customhouse.app.registry_images import resolve as resolved

    found = resolved(settings, reference, platform)
    if output == "json":
        write_json(found.to_json())
        return
    write_text(found.pinned)
    for name, digest in found.platforms.items():
        talk(settings, f"  {name}: {digest}")


@click.command()
@click.argument("reference")
@click.option("--key", metavar="FILE", help="Public key (PEM) of the signer.")
@click.option("--identity", metavar="NAME", help="Who signed, by certificate: exactly this identity.")
@click.option("--issuer", metavar="URL", help="Who vouched for the identity (Sigstore).")
@click.option("--trusted-root", metavar="FILE", help="A Sigstore trusted_root.json; nothing is fetched.")
@click.option("--authority", metavar="FILE", help="Certificates (PEM) of an own authority, instead of Sigstore's.")
@click.option("--trust-policy", metavar="FILE", help="A trust policy of the Notary Project (trustpolicy.json).")
@click.option("--trust-store", metavar="FOLDER", help="The trust store for it: the folder that holds x509/.")
@click.option("--repo", default=".", show_default=True, help="Without these: `trust:` of this repository's HEAD.")
@click.option(
    "--require",
    type=click.Choice([kind.value for kind in EvidenceKind]),
    multiple=True,
    default=("signature",),
    show_default=True,
    help="Kinds of evidence that must verify.",
)
@_PLATFORM
@formats("json")
@common
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    reference: str,
    require: tuple[str, ...],
    platform: str | None,
    output: str,
    settings: Settings,
    **signers: Any,
) -> None:
    """Check what is attached to an image: signatures of cosign and notation, attestations, bundles.

    Exit status: 0, 5 when a required kind has no statement that verifies, 3 when the registry does not answer.
    """
    from customhouse.app.registry_images import Signers
    from customhouse.app.registry_images import verify as verified

    found = verified(settings, reference, Signers(**signers), [EvidenceKind(kind) for kind in require], platform)
    if output == "json":
        write_json(found)
    else:
        rows = [
            [
                item["kind"],
                "yes" if item["verified"] else "no",
                item["signer"] or "",
                item["issued_at"] or "",
                item["problem"],
            ]
            for item in found["evidence"]
        ]
        write_text(found["reference"])
        write_table("", ["Evidence", "Verified", "Signer", "Made at", "Why not"], rows)
        for text in found["ignored"]:
            talk(settings, f"not read: {text}")
        if found["missing"]:
            write_text(f"not verified: nothing that verifies for {', '.join(found['missing'])}")
    ctx.exit(0 if found["verified"] else 5)


@click.command()
@click.argument("references", nargs=-1, metavar="[REFERENCE]...")
@click.option("--index", is_flag=True, help="File it in the local index (--state) that the webhook reads.")
@click.option("--repo", default=".", show_default=True, help="Work tree: what it declares, and where .evidence/ is.")
@formats("json")
@common
def evidence(references: tuple[str, ...], index: bool, repo: str, output: str, settings: Settings) -> None:
    """Fetch what is attached to images.

    Into .evidence/ of --repo, to be committed; or, with --index, into the local index of --state, for the named
    references or for all that HEAD of --repo declares. Nothing of it is trusted before it is verified.
    """
    from customhouse.app.registry_images import fill_index, save

    if index:
        filled = fill_index(settings, repo, references)
        if output == "json":
            write_json(filled)
            return
        rows = [[row["reference"], row["digest"], str(len(row["files"]))] for row in filled["filed"]]
        write_table("", ["Image", "Digest", "Statements"], rows)
        for text in filled["passed_over"]:
            talk(settings, f"not asked, since trust.registries does not name its registry: {text}")
        return
    if not references:
        raise click.UsageError("name an image, or say --index for all that the repository declares")
    saved = [save(settings, text, repo) for text in references]
    if output == "json":
        write_json({"images": saved})
        return
    for item in saved:
        write_text(f"{item['reference']}: {len(item['files'])} statements")
        for name in item["files"]:
            write_text(f"  {name}")
