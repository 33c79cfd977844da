"""What lies beside a model where it came from: the evidence that was registered with it, and who may write there.

Evidence from a registry is what somebody put there. It is written where the gate looks for it, and believed by nobody
until the gate has read its signature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse.app import wiring_stores
from customhouse.app.settings import Settings
from customhouse.app.wholefile import write_whole
from customhouse.core.errors import EvidenceError, UsageError
from customhouse.trust.attestation import FOLDER, SUFFIX
from customhouse.trust.bundle import read_bundle
from customhouse.trust.remote import Exposure

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}" + re.escape(SUFFIX))


def bring_evidence(settings: Settings, reference: str, digest: str, folder: str) -> tuple[str, ...]:
    """Write what was registered with the files of this digest below `folder`; the paths, empty when there is nothing.

    A file that is there with other bytes stays, and the other comes beside it. Raises UsageError for a place that keeps
    no evidence, ArtifactError when it cannot be had.
    """
    scheme = reference.partition("://")[0]
    if scheme not in wiring_stores.MODEL_REGISTRIES:
        raise UsageError(
            "no evidence is kept there",
            where=reference,
            hint="`customhouse model register` sends it to registries (oci, s3, mlflow, sagemaker)",
        )
    root = Path(folder) / FOLDER / digest.removeprefix("sha256:")
    written: dict[str, None] = {}
    for name, data in wiring_stores.MODEL_REGISTRIES[scheme](settings).evidence(reference, digest):
        try:
            read_bundle(data, name[:100])
        except EvidenceError:
            continue  # whoever may push there may push anything
        place = root / (name if _NAME.fullmatch(name) else _other(data))
        if place.exists() and place.read_bytes() != data:
            place = root / _other(data)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, data)
        written[place.relative_to(folder).as_posix()] = None
    return tuple(written)


def exposure_of(settings: Settings, reference: str, *, probe: bool = False) -> Exposure | None:
    """Who may write to the place of a reference; None for one that is no store (a path, an address)."""
    scheme = reference.partition("://")[0]
    if scheme in wiring_stores.MODEL_REGISTRIES:
        return wiring_stores.MODEL_REGISTRIES[scheme](settings).exposure(reference, probe=probe)
    if scheme == "hf":
        return wiring_stores.hub(settings).exposure()
    return None


def told(exposure: Exposure | Mapping[str, Any] | None) -> str:
    """Who may write to a store, in words; what is not known is said so."""
    said = exposure.to_json() if isinstance(exposure, Exposure) else dict(exposure or {})
    public, versioned, logged = (said.get(key) for key in ("publicWrite", "versioned", "auditLog"))
    words = {
        None: "who may write there is not known",
        True: "WHOEVER REACHES IT MAY WRITE THERE",
        False: "strangers may not write there",
    }
    kept = {None: "whether versions are kept is not known", True: "versions are kept", False: "no versions are kept"}
    log = {None: "whether writes are logged is not known", True: "writes are logged", False: "writes are not logged"}
    parts = [words[public], kept[versioned], log[logged]]
    return "; ".join([*parts, *said.get("notes", ())])


def _other(data: bytes) -> str:
    return f"oci-{bytes_digest(data)[7:23]}{SUFFIX}"
