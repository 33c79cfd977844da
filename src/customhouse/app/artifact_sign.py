"""`customhouse artifact sign`: the bytes of a file, or the list of a folder's files, signed with a key or keyless."""

from __future__ import annotations

from pathlib import Path

from customhouse.app import model_signing, wiring
from customhouse.app.artifact_verify import BESIDE, artifact_at
from customhouse.app.model_signing import By, keyless
from customhouse.app.wholefile import write_whole
from customhouse.core.errors import UsageError
from customhouse.trust.cosign import is_claim
from customhouse.trust.keys import load_private
from customhouse.trust.sigstore.sealing import seal_message
from customhouse.trust.sigstore.verification import Artifact
from customhouse.trust.strict_json import MAX_BYTES


def sign(artifact: str, by: By, out: str | None) -> dict[str, str]:
    """Write the bundle: `{"artifact","digest","bundle"}`.

    Raises UsageError, ArtifactError, ConfigError, OSError, and EvidenceError when a service does not do its part.
    """
    path = Path(artifact)
    if not path.exists():
        raise UsageError(f"there is nothing at {artifact}")
    place = out or artifact.rstrip("/") + BESIDE[0]
    if path.is_dir():
        digest = model_signing.sign(artifact, by, None, place)
    else:
        thing = artifact_at(path)
        write_whole(Path(place), _sealed(thing, by))
        digest = f"sha256:{thing.digests['sha256']}"
    return {"artifact": artifact, "digest": digest, "bundle": place}


def _sealed(thing: Artifact, by: By) -> bytes:
    if by.certificate is not None:
        raise UsageError("a file is signed with a key or keyless", hint="certificates are for models: model sign")
    if _is_envelope(thing):
        raise UsageError(
            f"{thing.name} begins as a DSSE envelope's signed bytes do: its signature would pass for an attestation",
            hint="sign what it was made from",
        )
    if _is_claim(thing):
        raise UsageError(
            f"{thing.name} is a claim about an image: its signature would pass for that of the image",
            hint="customhouse image sign",
        )
    if by.key is not None:
        return seal_message(thing, load_private(Path(by.key)))
    from customhouse.trust.sigstore.keyless import sign_artifact

    services, token = keyless(by)
    return sign_artifact(thing, token, services, wiring.sigstore_post(), wiring.clock().now())[0]


def _is_envelope(thing: Artifact) -> bool:
    """Whether a signature over these bytes is one over a statement that somebody else wrote, in a file to be signed."""
    if thing.file is None:
        return False
    with thing.file.open("rb") as handle:
        return handle.read(7) == b"DSSEv1 "


def _is_claim(thing: Artifact) -> bool:
    """Whether the file is what cosign signs for an image, which somebody else may have written."""
    if thing.file is None or thing.file.stat().st_size > MAX_BYTES:
        return False
    return is_claim(thing.file.read_bytes())
