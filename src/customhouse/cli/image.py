"""`customhouse image`: one module a group of verbs, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

import click

from customhouse.cli.verbs import Verbs

VERBS: Mapping[str, tuple[str, str]] = {
    "resolve": ("image_read:resolve", "Turn a tag into a digest, once."),
    "scan": ("image_scan:scan", "List what is installed in an image, and what is known against it."),
    "verify": ("image_read:verify", "Check signatures and statements that are attached to an image."),
    "evidence": ("image_read:evidence", "Fetch what is attached to images: for the webhook, or to be committed."),
    "sign": ("image_write:sign", "Sign an image as cosign does."),
    "attest": ("image_write:attest", "Sign a statement about an image and attach it."),
}


@click.group(cls=Verbs, verbs=VERBS)
def image() -> None:
    """Images and model artifacts in OCI registries: what they are pinned to, and who says what of them."""
