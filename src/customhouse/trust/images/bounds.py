"""What an image may cost, and the one error that says that a layer cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

from customhouse.core.errors import ArtifactError


class LayerError(ArtifactError):
    """A layer is broken, lies about its digest, or costs more than it may; `where` is the layer."""


@dataclass(slots=True)
class Bounds:
    """What is left of the limits; counted down over all layers of one image."""

    entries: int = 1_000_000
    unpacked: int = 256 << 30
    """Bytes that come out of decompression."""
    ratio: int = 300
    """Bytes that may come out for each packed one of a layer, past `free`: deflate makes 1,032 of one at most."""
    free: int = 1 << 30
    layers: int = 500
    names: int = 256 << 20
    """Bytes of all paths and link targets."""
