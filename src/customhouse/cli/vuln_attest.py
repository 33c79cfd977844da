"""`customhouse vuln attest`: a scanner's report, or a VEX document, as signed evidence."""

from __future__ import annotations

from datetime import datetime

import click

from customhouse.app.settings import Settings
from customhouse.cli.image_write import signers
from customhouse.cli.output import common, formats, talk, write_json, write_text


def moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """A time (RFC 3339), or a day, which stands for its beginning (UTC). Raises BadParameter for what is none."""
    from customhouse._kit.clock import from_rfc3339

    if value is None:
        return None
    try:
        return from_rfc3339(f"{value}T00:00:00Z" if len(value) == len("2026-01-31") else value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@click.command()
@click.argument("report")
@click.option("--subject", metavar="DIGEST", help="What it is about: sha256:… of a model (as `model sign` prints it).")
@click.option("--image", metavar="REF", help="What it is about: an image; the statement is attached to it there.")
@click.option("--repo", default=".", show_default=True, help="Work tree that the evidence is written into (--subject).")
@signers
@click.option("--database-as-of", callback=moment, metavar="TIME", help="How old the database was, if it does not say.")
@click.option(
    "--scanned-at", callback=moment, metavar="TIME", help="When it was made, where the report does not say it."
)
@click.option("--other-digest", is_flag=True, help="Take a report that names another digest (made before the push).")
@formats("json")
@common
def attest(
    report: str,
    subject: str | None,
    image: str | None,
    repo: str,
    key: str | None,
    identity_token: str | None,
    trust_config: str | None,
    database_as_of: datetime | None,
    scanned_at: datetime | None,
    other_digest: bool,
    output: str,
    settings: Settings,
) -> None:
    """Sign the report of a scanner (Trivy, Grype, Clair, OSV-Scanner, this one) or a VEX document, for the gate.

    Read are their JSON, and OpenVEX, CycloneDX VEX and CSAF (csaf_vex). What a tier makes of the report is in its
    `vulnerabilities` (customhouse.yaml); a VEX document counts when its signer may sign `vex`.
    """
    from customhouse.app.model_signing import By
    from customhouse.app.vulnerability_attest import Asked
    from customhouse.app.vulnerability_attest import attest as signed

    by = By(key, token=identity_token, services=trust_config)
    asked = Asked(by, subject, image, repo, database_as_of, scanned_at, other_digest)
    done = signed(settings, report, asked)
    if output == "json":
        write_json(done)
        return
    write_text(done["file"] if "file" in done else f"{done['subject']}  attached as {done['attached']}")
    if done["kind"] == "vex":
        talk(settings, f"{done['statements']} statements of {done['form']} signed")
    else:
        found = ", ".join(f"{count} {name}" for name, count in done["counts"].items() if count) or "none"
        talk(settings, f"report of {done['scanner']} signed; vulnerabilities: {found}")
        if done["database_as_of"] is None:
            talk(settings, "it does not say how old its database was: --database-as-of says it")
        if done["scanned_at"] is None:
            talk(settings, "it does not say when it was made, and will count as old: --scanned-at says it")
    for gap in done["gaps"]:
        talk(settings, f"not whole: {gap}")
