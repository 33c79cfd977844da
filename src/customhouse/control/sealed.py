"""Sealed manifests: objects whose values SOPS encrypted, and the port that opens them, in memory alone, at apply.

A sealed object is judged, compared and recorded sealed: its digest, its diff and its inventory know ciphertext only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from customhouse.core.resource import Manifest

METADATA = "sops"


class Opener(Protocol):
    """Opens sealed manifests of one revision. Implementations keep no plaintext between calls."""

    def opened(self, manifest: Manifest) -> Manifest:
        """The manifest with its values, without SOPS' own part; one that is not sealed as it is.

        Raises CannotDecideError (its text holds no value): no key opens it, it was altered, its file is not known.
        """


def is_sealed(manifest: Mapping[str, Any]) -> bool:
    """Whether SOPS encrypted values of an object."""
    return isinstance(manifest.get(METADATA), Mapping)


def mac_of(manifest: Mapping[str, Any]) -> str:
    """The authentication code that SOPS wrote; it names one encrypted file among others. Empty for none."""
    found = manifest.get(METADATA)
    mac = found.get("mac") if isinstance(found, Mapping) else None
    return mac if isinstance(mac, str) else ""
