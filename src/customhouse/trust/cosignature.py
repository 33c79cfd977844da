"""Cosignatures of witnesses on checkpoints (C2SP tlog-cosignature, Ed25519): lines of the note beside the log's own.

A witness says: at this time the largest consistent tree that I have seen of this log has this size and root.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from customhouse.core.errors import ConfigError, TamperError
from customhouse.trust.keys import PrivateKey, PublicKey
from customhouse.trust.note import NoteKey, note_parts, signature_line

_COSIGNATURE = b"\x04"
_TIME_BYTES = 8
_LONGEST_TIME = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """A witness's verifier key: its name and an Ed25519 public key, under the algorithm of cosignatures (0x04)."""

    name: str
    key: PublicKey

    def __post_init__(self) -> None:
        NoteKey(self.name, self.key)  # the same rules for names and kinds of key

    @property
    def key_hash(self) -> bytes:
        """The first four bytes of SHA-256(name ‖ newline ‖ 0x04 ‖ key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _COSIGNATURE + self.key.raw).digest()[:4]

    @property
    def vkey(self) -> str:
        """`name+hash+base64`, the form in which witnesses publish their key."""
        return f"{self.name}+{self.key_hash.hex()}+{base64.b64encode(_COSIGNATURE + self.key.raw).decode()}"

    @classmethod
    def from_vkey(cls, text: str) -> CosignerKey:
        """Read `name+hash+base64`. Raises ConfigError when it is malformed, of another kind, or its hash is wrong."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        name, _, rest = text.strip().partition("+")
        shown, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise ConfigError("a verifier key is name+hash+base64", where=text[:80]) from error
        if raw[:1] == b"\x01":
            raise ConfigError(
                "this is the key of a log, not of a witness",
                where=text[:80],
                hint="a witness's key has algorithm 4 (tlog-cosignature); `ledger witness key` prints it",
            )
        if raw[:1] != _COSIGNATURE or len(raw) != 33 or base64.b64encode(raw).decode() != encoded:
            raise ConfigError("not an Ed25519 cosigner's key", where=text[:80])
        key = cls(name, PublicKey(Ed25519PublicKey.from_public_bytes(raw[1:])))
        if key.key_hash.hex() != shown:
            raise ConfigError("the hash in the verifier key does not fit its name and key", where=text[:80])
        return key


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A cosignature that verified: whose it is, when it was made, and its line of the note (without newline)."""

    witness: str
    at: datetime
    line: str


def cosign(note: str, name: str, key: PrivateKey, at: datetime) -> str:
    """The signature line of a witness under a checkpoint note; the caller has checked the note."""
    text, _ = note_parts(note)
    seconds = int(at.timestamp())
    signature = seconds.to_bytes(_TIME_BYTES, "big") + key.sign(_message(text, seconds))
    cosigner = CosignerKey(name, key.public)
    return signature_line(name, cosigner.key_hash + signature)


def cosignatures(note: str, known: Iterable[CosignerKey]) -> tuple[Cosignature, ...]:
    """The cosignatures of known witnesses on a note, one a witness. Raises TamperError when one of them is wrong."""
    text, signatures = note_parts(note)
    keys = {(key.name, key.key_hash): key for key in known}
    found: dict[CosignerKey, Cosignature] = {}
    for name, raw, line in signatures:
        key = keys.get((name, raw[:4]))
        if key is None:
            continue
        seconds = int.from_bytes(raw[4 : 4 + _TIME_BYTES], "big")
        if len(raw) != 4 + _TIME_BYTES + 64 or seconds > _LONGEST_TIME:
            raise TamperError(f"cosignature: that of {name} is malformed")
        if not key.key.verify(_message(text, seconds), raw[4 + _TIME_BYTES :]):
            raise TamperError(f"cosignature: that of {name} does not verify")
        try:
            at = datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise TamperError(f"cosignature: that of {name} has an impossible time") from error
        found.setdefault(key, Cosignature(name, at, line))
    return tuple(found.values())


def with_lines(note: str, lines: Sequence[str]) -> str:
    """The note with further signature lines; those that it has already are not repeated."""
    missing = [line for line in dict.fromkeys(lines) if f"\n{line}\n" not in note]
    return note + "".join(f"{line}\n" for line in missing)


def _message(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()
