"""`customhouse artifact`: one module a verb, `cli/artifact_<verb>.py`, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

import click

from customhouse.cli.verbs import Verbs

VERBS: Mapping[str, tuple[str, str]] = {
    "sign": ("artifact_sign:sign", "Sign a file or a folder."),
    "verify": ("artifact_verify:verify", "Check a file, a folder or a digest against a Sigstore bundle."),
}


@click.group(cls=Verbs, verbs=VERBS)
def artifact() -> None:
    """Sign and verify files and datasets. Nothing is fetched that was not named."""
