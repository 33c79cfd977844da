"""What was admitted: by model digest, whose signature was verified and with what, for those who verify it once more.

`up` writes `<state>/admitted/<digest>.json` when it takes a commit over; the local target's serving processes have it
checked against the bytes that they read, before these are loaded (`app.model_check`). Certificates count as of the
moment of admission: a process that starts again after one has run out serves what was let in.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import to_rfc3339
from customhouse.app.governance import Governance
from customhouse.app.model_check import place_of
from customhouse.app.sources import SourceTree
from customhouse.app.tiering import judged_tier
from customhouse.core.errors import StateError
from customhouse.core.evidence import EvidenceKind
from customhouse.core.resource import Declaration
from customhouse.core.workload import workload

if TYPE_CHECKING:
    from customhouse.app.evidence_index import EvidenceIndex
    from customhouse.trust.roots import Roots


def write_admitted(
    source: SourceTree,
    revision: str,
    declared: Iterable[Declaration],
    governing: Governance,
    index: EvidenceIndex | None,
    folder: Path,
    at: datetime,
) -> None:
    """Write what was admitted for every model that a revision declares. Raises StateError."""
    from customhouse.trust.attestation import FOLDER as EVIDENCE

    wanted: dict[str, bool] = {}
    for declaration in declared:
        work = workload(declaration.manifest, declaration.ref)
        for artifact in () if work is None else work.artifacts:
            if artifact.role == "model" and artifact.digest is not None:
                required = (
                    EvidenceKind.SIGNATURE.value
                    in judged_tier(governing.configuration, declaration).spec.required_evidence
                )
                wanted[artifact.digest] = wanted.get(artifact.digest, False) or required
    for digest, required in wanted.items():
        files = dict(source.files(revision, f"{EVIDENCE}/{digest.removeprefix('sha256:')}/"))
        for name, data in ({} if index is None else index.files_of(digest)).items():
            files.setdefault(name, data)
        document = {
            "digest": digest,
            "at": to_rfc3339(at),
            "signature_required": required,
            "roots": _roots(governing.believed) if required else {},
            "files": {name: base64.b64encode(files[name]).decode() for name in files} if required else {},
        }
        _write(place_of(folder, digest), json.dumps(document).encode())


def _roots(roots: Roots) -> Mapping[str, Any]:
    return {
        "keys": [{"name": one.name, "pem": one.public_key.decode(), "kinds": sorted(one.kinds)} for one in roots.keys],
        "authorities": [
            {
                "name": item.name,
                "pem": item.certificates.decode(),
                "identities": list(item.identities),
                "kinds": sorted(item.kinds),
                "revocations": _text(item.revocations),
                "timestamps": _text(item.timestamps),
            }
            for item in roots.authorities
        ],
        "identities": [
            {
                "name": item.name,
                "root": base64.b64encode(item.trusted_root).decode(),
                "identity": item.identity,
                "issuer": item.issuer,
                "kinds": sorted(item.kinds),
            }
            for item in roots.sigstore
        ],
    }


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _write(place: Path, data: bytes) -> None:
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        draft.write_bytes(data)
        os.replace(draft, place)
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror}", where=str(place)) from error
