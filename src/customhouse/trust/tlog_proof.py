"""Proofs that stand alone (C2SP tlog-proof): a text with the index, the inclusion proof and the signed checkpoint.

c2sp.org/tlog-proof@v1
index 73894
<one base64 hash a line>

<the checkpoint, with the log's signature and cosignatures of witnesses>
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from customhouse.core.errors import TamperError
from customhouse.core.ledger import Checkpoint, Receipt
from customhouse.trust import merkle
from customhouse.trust.cosignature import Cosignature, CosignerKey, cosignatures
from customhouse.trust.keys import PublicKey
from customhouse.trust.note import MAX_NOTE_BYTES, open_checkpoint

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 64 * 64
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_MOST_HASHES = 63


@dataclass(frozen=True, slots=True)
class ProvedEntry:
    """What a proof that verified says: the entry's number, the checkpoint that it is under, and who cosigned that."""

    index: int
    checkpoint: Checkpoint
    cosigned: tuple[Cosignature, ...]


def write_proof(receipt: Receipt, note: str) -> str:
    """The text of a proof; `note` is the receipt's checkpoint, with cosignatures if there are any."""
    hashes = [base64.b64encode(item).decode() for item in receipt.proof]
    return "\n".join([HEADER, f"index {receipt.index}", *hashes, "", note])


def verify_proof(
    text: str, entry: bytes, origin: str, keys: Iterable[PublicKey], witnesses: Iterable[CosignerKey] = ()
) -> ProvedEntry:
    """Check a proof of `entry` (the leaf data) offline. Raises TamperError, which says what does not hold.

    1. the form; 2. the checkpoint is signed by the log; 3. the entry is under it; 4. which witnesses cosigned it.
    How many witnesses are enough is the caller's to say.
    """
    # 1.
    if len(text) > MAX_PROOF_BYTES:
        raise TamperError("proof: too large")
    head, separator, note = text.partition("\n\n")
    first, *lines = head.split("\n")
    if not separator or first != HEADER:
        raise TamperError(f"proof: it does not begin with {HEADER}")
    if lines and lines[0].startswith("extra "):
        # Nobody signed it: it is read past, and nothing is taken from it.
        _decoded(lines.pop(0).removeprefix("extra "), "the extra data")
    found = _INDEX.fullmatch(lines[0]) if lines else None
    if found is None:
        raise TamperError("proof: no line `index NUMBER`")
    if len(lines) - 1 > _MOST_HASHES:
        raise TamperError(f"proof: more than {_MOST_HASHES} hashes")
    proof = [_decoded(line, "a hash") for line in lines[1:]]
    index = int(found[1])
    # 2.
    checkpoint = open_checkpoint(note, origin, *keys)
    # 3.
    merkle.verify_inclusion(index, checkpoint.size, merkle.leaf_hash(entry), proof, checkpoint.root)
    # 4.
    return ProvedEntry(index, checkpoint, cosignatures(note, witnesses))


def _decoded(line: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(line, validate=True)
    except ValueError as error:
        raise TamperError(f"proof: {what} is not base64") from error
    if base64.b64encode(raw).decode() != line:
        raise TamperError(f"proof: {what} is not canonical base64")
    return raw
