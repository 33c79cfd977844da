"""Signed notes (C2SP signed-note, Ed25519) and the checkpoints of a log written in them (C2SP tlog-checkpoint)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from customhouse.core.errors import ConfigError, TamperError
from customhouse.core.ledger import Checkpoint
from customhouse.trust.keys import PrivateKey, PublicKey
from customhouse.trust.merkle import EMPTY_ROOT, HASH_BYTES

_ED25519 = b"\x01"
_DASH = "— "
MAX_NOTE_BYTES = 1 << 20
MAX_SIGNATURES = 100
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A verifier key: its name (a URL without scheme, by custom) and an Ed25519 public key."""

    name: str
    key: PublicKey

    def __post_init__(self) -> None:
        if not self.name or "+" in self.name or any(letter.isspace() for letter in self.name):
            raise ConfigError(f"{self.name!r} cannot name a key", hint="no spaces and no plus sign")
        _ = self.key.raw  # refuses what is not Ed25519

    @property
    def key_hash(self) -> bytes:
        """The first four bytes of SHA-256(name ‖ newline ‖ algorithm ‖ key): names the key, proves nothing."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.key.raw).digest()[:4]

    @property
    def vkey(self) -> str:
        """`name+hash+base64`, the form in which verifier keys are published."""
        return f"{self.name}+{self.key_hash.hex()}+{base64.b64encode(_ED25519 + self.key.raw).decode()}"

    @classmethod
    def from_vkey(cls, text: str) -> NoteKey:
        """Read `name+hash+base64`. Raises ConfigError when it is malformed or its hash does not fit."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        name, _, rest = text.partition("+")
        shown, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise ConfigError("a verifier key is name+hash+base64", where=text[:80]) from error
        if raw[:1] != _ED25519 or len(raw) != 33 or base64.b64encode(raw).decode() != encoded:
            raise ConfigError("not an Ed25519 verifier key", where=text[:80])
        key = cls(name, PublicKey(Ed25519PublicKey.from_public_bytes(raw[1:])))
        if key.key_hash.hex() != shown:
            raise ConfigError("the hash in the verifier key does not fit its name and key", where=text[:80])
        return key


def sign_note(text: str, name: str, key: PrivateKey) -> str:
    """The note with one signature line. `text` ends with a newline and holds no other control characters."""
    _check_text(text)
    signer = NoteKey(name, key.public)
    return f"{text}\n{signature_line(name, signer.key_hash + key.sign(text.encode()))}\n"


def open_note(note: str, *verifiers: NoteKey) -> str:
    """The text of a note that at least one of `verifiers` signed; lines of unknown keys are passed over.

    Raises TamperError when it is malformed, a known key's signature is wrong, or no known key signed.
    """
    text, signatures = note_parts(note)
    known = {(key.name, key.key_hash): key for key in verifiers}
    good = False
    for name, raw, _ in signatures:
        verifier = known.get((name, raw[:4]))
        if verifier is None:
            continue
        if not verifier.key.verify(text.encode(), raw[4:]):
            raise TamperError(f"note: the signature of {name} does not verify")
        good = True
    if not good:
        raise TamperError("note: no signature of a known key", hint="check the ledger's key and origin")
    return text


def note_parts(note: str) -> tuple[str, list[tuple[str, bytes, str]]]:
    """(text, [(name, key hash and signature, the line)]) of a note; nothing is verified. Raises TamperError."""
    if len(note.encode("utf-8", "surrogatepass")) > MAX_NOTE_BYTES:
        raise TamperError("note: larger than 1 MiB")
    body, separator, tail = note.rpartition("\n\n")
    text = body + "\n"
    if not separator or not tail.endswith("\n"):
        raise TamperError("note: no signature block")
    _check_text(text)
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise TamperError("note: too many signatures")
    return text, [(*_signature_line(line), line) for line in lines]


def signature_line(name: str, raw: bytes) -> str:
    """The line (without newline) of a signature: `raw` is the key's hash and the signature."""
    return f"{_DASH}{name} {base64.b64encode(raw).decode()}"


def _signature_line(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError as error:  # binascii.Error, or a letter beyond ASCII
        raise TamperError("note: a signature line is not base64") from error
    # Encoding again refuses a second spelling of the same bytes (spare bits in the last character).
    if not line.startswith(_DASH) or not name or not space or len(raw) < 5:
        raise TamperError("note: malformed signature line")
    if base64.b64encode(raw).decode() != encoded:
        raise TamperError("note: a signature line is not canonical base64")
    return name, raw


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(ord(letter) < 0x20 and letter != "\n" for letter in text):
        raise TamperError("note: the text must be lines without control characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TamperError("note: the text is not UTF-8") from error


def checkpoint_body(origin: str, size: int, root: bytes) -> str:
    """The three lines of a checkpoint: origin, tree size, root in base64."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def sign_checkpoint(origin: str, size: int, root: bytes, key: PrivateKey) -> Checkpoint:
    """A checkpoint signed under the log's own name (origin)."""
    return Checkpoint(origin, size, root, sign_note(checkpoint_body(origin, size, root), origin, key))


def open_checkpoint(note: str, origin: str, *keys: PublicKey) -> Checkpoint:
    """Verify a checkpoint note and read it; one of `keys` must have signed it under the origin's name.

    Raises TamperError when the signature, the form or the origin is wrong. Extension lines after the third are kept
    under the signature and not read.
    """
    return read_checkpoint(open_note(note, *(NoteKey(origin, key) for key in keys)), origin, note)


def read_checkpoint(text: str, origin: str, note: str) -> Checkpoint:
    """The checkpoint that the text of a note says; no signature is looked at. Raises TamperError."""
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise TamperError("checkpoint: not three lines")
    if not hmac.compare_digest(lines[0].encode(), origin.encode()):
        raise TamperError(f"checkpoint: of another ledger ({lines[0][:80]!r})")
    if not _SIZE.fullmatch(lines[1]):
        raise TamperError("checkpoint: the size is not a number")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except ValueError as error:  # binascii.Error, or a letter beyond ASCII
        raise TamperError("checkpoint: the root is not base64") from error
    if len(root) != HASH_BYTES or base64.b64encode(root).decode() != lines[2]:
        raise TamperError("checkpoint: the root is not 32 bytes of base64")
    if lines[1] == "0" and root != EMPTY_ROOT:
        raise TamperError("checkpoint: an empty ledger with another root")
    return Checkpoint(lines[0], int(lines[1]), root, note)
