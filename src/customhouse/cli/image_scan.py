"""`customhouse image scan`: what is installed in an image, and what is known against it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from customhouse.app.settings import Settings
from customhouse.cli.image_write import signers
from customhouse.cli.long_work import cached, shown
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table, write_text
from customhouse.cli.vuln_scan import ACCEPTABLE, exit_status, show_report
from customhouse.core.vulnerability import MAX_AGE_DAYS, Rating

if TYPE_CHECKING:
    from customhouse.app.image_scan import ImageScan

_SHOWN = 40


@click.command()
@click.argument("image", metavar="REF|LAYOUT|TAR")
@click.option("--platform", metavar="OS/ARCH", help="Of several platforms, this one (default: this machine's).")
@click.option("--sbom", metavar="FILE", help="Also write its bill of materials (CycloneDX 1.6).")
@click.option(
    "--fail-on",
    type=click.Choice([item.value for item in Rating if item is not Rating.UNKNOWN]),
    help="Exit 1 only for vulnerabilities from this rating on, and for unrated ones (default: any).",
)
@click.option("--vex", multiple=True, metavar="FILE", help="Statements that vulnerabilities do not apply.")
@click.option("--db", metavar="FILE", help="Advisories (default: advisories.sqlite of the state).")
@click.option(
    "--max-age-days",
    type=click.IntRange(0),
    default=MAX_AGE_DAYS,
    show_default=True,
    metavar="N",
    help="Advisories that are older decide nothing.",
)
@click.option(
    "--accept",
    multiple=True,
    type=click.Choice(ACCEPTABLE),
    help="What may stay open without exit status 3 (`unrated`: without 1 under --fail-on).",
)
@click.option(
    "--attest", is_flag=True, help="Sign the bill and what the advisories say (--key …), and attach them to the image."
)
@signers
@click.option(
    "--match/--no-match", default=None, help="Look packages up in the advisories (default: if there are any)."
)
@cached
@formats("json", "sarif")
@common
@click.pass_context
def scan(
    ctx: click.Context,
    image: str,
    platform: str | None,
    sbom: str | None,
    fail_on: str | None,
    vex: tuple[str, ...],
    db: str | None,
    max_age_days: int,
    accept: tuple[str, ...],
    attest: bool,
    key: str | None,
    identity_token: str | None,
    trust_config: str | None,
    match: bool | None,
    cache: bool,
    output: str,
    settings: Settings,
) -> None:
    """List what is installed in an image, layer by layer, without a daemon: packages, models, and what is unread.

    REF is a reference of a registry; LAYOUT an OCI layout, TAR one in an archive or what `docker save` wrote (one image
    of several by @DIGEST or :TAG behind it). Exit status: 1 for a vulnerability or a model that is not clean, else 3
    when something could not be read or decided, else 0.
    """
    from customhouse.app.image_scan import attest_scan, look_up, scan_image, write_bill
    from customhouse.app.model_signing import By

    asked = bool(match or fail_on or vex or db)
    with shown(settings):
        found = scan_image(settings, image, platform=platform, cache=cache)
        if match is not False:
            look_up(settings, found, vex=vex, db=db, max_age_days=max_age_days, must=asked)
    if sbom is not None:
        write_bill(found, Path(sbom))
    _say(found, settings)
    if output == "json":
        write_json(found.to_json())
    elif output == "sarif":
        from customhouse.cli.image_sarif import image_sarif

        write_json(image_sarif(found))
    else:
        _tables(found)
    if attest:
        done = attest_scan(settings, found, By(key, token=identity_token, services=trust_config))
        for kind, place in done.items():
            talk(settings, f"{kind} signed, and attached as {place}")
    ctx.exit(_status(found, fail_on, accept))


def _status(found: ImageScan, fail_on: str | None, accept: tuple[str, ...]) -> int:
    """1 for a model that is not clean or a vulnerability that counts, else 3 for what is not known, else 0."""
    worst = "" if found.listing.verdict is None else found.listing.verdict.value
    if worst in ("malicious", "suspicious"):
        return 1
    unread = not found.complete or worst == "unscannable"
    if found.report is None:
        return 3 if unread and "unread" not in accept else 0
    return exit_status(found.report, fail_on, accept, problems=unread)


def _say(found: ImageScan, settings: Settings) -> None:
    if found.tag:
        talk(settings, f"{found.tag} is {found.digest or found.parts.config.digest}")
    if found.parts.index:
        others = ", ".join(found.parts.passed_over)
        talk(
            settings,
            f"read for {found.parts.platform or 'the only platform'}{f'; not read: {others}' if others else ''}",
        )
    read = Counter(row.state for row in found.rows)
    talk(settings, ", ".join(f"{plural(count, 'layer')} {state}" for state, count in sorted(read.items())))
    if found.report is None:
        talk(settings, "vulnerabilities: not looked up (`customhouse vuln import` brings advisories in)")


def _tables(found: ImageScan) -> None:
    listing, layers = found.listing, found.rows
    system, image = listing.distribution, found.configuration
    write_text(found.name)
    about = [
        ["Distribution", system.name or system.identifier or "none"],
        ["Platform", image.platform],
        ["Runs as", f"{image.user or 'root (no user is set)'}{' (root)' if image.user and image.as_root else ''}"],
        ["Base image", image.base or "not said"],
        ["Files with setuid or setgid", str(listing.setuid)],
        ["Variables that look like secrets", ", ".join(image.secrets) or "none"],
    ]
    write_table("", ["Image", ""], about)
    rows = [
        [str(number), row.state, f"{row.size / 1e6:.1f}", str(row.entries), row.command[:80]]
        for number, row in enumerate(layers, 1)
    ]
    write_table("", ["Layer", "", "MB", "Entries", "Made by"], rows)
    packages = [
        [item.found.kind, item.found.name, item.found.version, str(item.layer + 1), f"/{item.path}"]
        for item in listing.packages
    ]
    write_table("", ["Type", "Package", "Version", "Layer", "Path"], packages)
    kinds = Counter(item.found.kind for item in listing.packages)
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    write_text(f"{plural(len(listing.packages), 'package')}{f' ({counted})' if counted else ''}")
    _hidden(found)
    models = [
        [
            scan.path,
            scan.format,
            scan.verdict.value,
            "; ".join(f"{item.rule}: {item.message}" for item in scan.findings),
        ]
        for _, scan, hidden in listing.models
        if not hidden
    ]
    write_table("", ["Model", "Format", "Verdict", "Findings"], models)
    if found.report is not None:
        show_report(found.report)
    if listing.unread:
        write_table("", ["Not read", "Why"], [[where, why] for where, why in listing.unread[:_SHOWN]])
        write_text("incomplete: what is not listed is not known to be absent")


def _hidden(found: ImageScan) -> None:
    """What lower layers still hold."""
    listing = found.listing
    removed = [
        [item.found.kind, item.found.name, item.found.version, str(item.layer + 1), str((item.removed_by or 0) + 1)]
        for item in listing.removed[:_SHOWN]
    ]
    columns = ["Type", "Only in a lower layer", "Version", "Layer", "Hidden by layer"]
    write_table("", columns, removed)
    if len(listing.removed) > _SHOWN:
        write_text(f"and {len(listing.removed) - _SHOWN} more that only lower layers have (-o json lists all)")
    places = [[f"/{path}", str(number + 1), "yes" if hidden else "no"] for path, number, hidden in listing.secrets]
    write_table("", ["File that usually holds secrets", "Layer", "Hidden by a later layer"], places)
    bad = [[scan.path, str(number + 1), scan.verdict.value] for number, scan, hidden in listing.models if hidden]
    write_table("", ["Model in a lower layer", "Layer", "Verdict"], bad)
