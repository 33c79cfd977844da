"""`ledger verify-proof`: a proof that stands alone, checked with keys that the reader brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.reading import open_regular
from customhouse.core.errors import TamperError, UsageError
from customhouse.trust.cosignature import CosignerKey
from customhouse.trust.ledger import MAX_ENTRY_BYTES
from customhouse.trust.note import NoteKey
from customhouse.trust.tlog_proof import MAX_PROOF_BYTES, verify_proof


def check_proof(proof: Path, entry: Path, key: str, witnesses: Sequence[str], quorum: int | None) -> dict[str, Any]:
    """What a proof shows: `{"index","size","origin","cosigned":[{"name","at"}]}`.

    All witnesses that are named must have cosigned, or `quorum` of them. Raises TamperError, UsageError, ConfigError.
    """
    log = NoteKey.from_vkey(key.strip())
    known = [CosignerKey.from_vkey(text) for text in witnesses]
    wanted = len(known) if quorum is None else quorum
    if wanted > len(known):
        raise UsageError(f"a quorum of {wanted} and {len(known)} witnesses", hint="--witness VKEY for each")
    try:
        text = _read(proof, MAX_PROOF_BYTES).decode()
    except UnicodeDecodeError as error:
        raise TamperError("not text", where=str(proof)) from error
    try:
        found = verify_proof(text, _read(entry, MAX_ENTRY_BYTES), log.name, (log.key,), known)
    except TamperError as error:
        raise TamperError(error.message, where=str(proof), hint=error.hint) from error
    if len(found.cosigned) < wanted:
        raise TamperError(
            f"{len(found.cosigned)} of {wanted} witnesses cosigned its checkpoint of {found.checkpoint.size} entries",
            where=str(proof),
        )
    return {
        "origin": log.name,
        "index": found.index,
        "size": found.checkpoint.size,
        "cosigned": [{"name": item.witness, "at": to_rfc3339(item.at)} for item in found.cosigned],
    }


def _read(place: Path, limit: int) -> bytes:
    try:
        with open_regular(place) as handle:
            data = handle.read(limit + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(place)) from error
    if len(data) > limit:
        raise TamperError(f"more than {limit} bytes", where=str(place))
    return data
