"""`customhouse vuln`: one module a verb, `cli/vuln_<verb>.py`, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

import click

from customhouse.cli.verbs import Verbs

VERBS: Mapping[str, tuple[str, str]] = {
    "import": ("vuln_import:bring", "Bring advisories in (OSV records), for scans without a network."),
    "scan": ("vuln_scan:scan", "Say which packages have known vulnerabilities."),
    "attest": ("vuln_attest:attest", "Sign a scanner's report, or a VEX document, as evidence."),
    "show": ("vuln_read:show", "Show an advisory by its id or an alias."),
    "status": ("vuln_read:status", "Say which advisories are here, and how old they are."),
    "watch": ("vuln_watch:watch", "Hold what is deployed against the advisories, whenever some are imported."),
}


@click.group(cls=Verbs, verbs=VERBS)
def vuln() -> None:
    """Known vulnerabilities: offline advisories, scans, signed reports and VEX."""
