"""`customhouse vuln`: advisories, what they say of packages, and what signed reports say of models and images."""

from __future__ import annotations

from collections.abc import Mapping

import click

from customhouse.cli.verbs import Verbs

VERBS: Mapping[str, tuple[str, str]] = {
    "attest": ("vuln_attest:attest", "Sign a scanner's report, or a VEX document, as evidence."),
}


@click.group(cls=Verbs, verbs=VERBS)
def vuln() -> None:
    """Known vulnerabilities: offline advisories, scans, signed reports and VEX."""
