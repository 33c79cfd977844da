"""`customhouse artifact sign`: the bytes of a file, or the list of a folder's files, signed with a key."""

from __future__ import annotations

from pathlib import Path

from customhouse.app import wiring
from customhouse.app.artifact_verify import BESIDE
from customhouse.app.inspection import read_tree
from customhouse.app.model_signing import without
from customhouse.app.wholefile import write_whole
from customhouse.core.errors import UsageError
from customhouse.trust.keys import load_private
from customhouse.trust.signing import sign_model
from customhouse.trust.sigstore.sealing import seal_message
from customhouse.trust.sigstore.verification import Artifact


def sign(artifact: str, key: str, out: str | None) -> dict[str, str]:
    """Write the bundle: `{"artifact","digest","bundle"}`. Raises UsageError, ArtifactError, ConfigError and OSError."""
    path = Path(artifact)
    if not path.exists():
        raise UsageError(f"there is nothing at {artifact}")
    private = load_private(Path(key))
    place = Path(out or artifact.rstrip("/") + BESIDE[0])
    if path.is_dir():
        files = without(read_tree(path), path, place)
        if not files.files:
            raise UsageError(f"there is no file in {artifact}")
        data, digest = sign_model(files, path.resolve().name, private, wiring.clock().now()), files.digest
    else:
        thing = Artifact.of_file(path)
        data, digest = seal_message(thing, private), f"sha256:{thing.digests['sha256']}"
    write_whole(place, data)
    return {"artifact": artifact, "digest": digest, "bundle": str(place)}
