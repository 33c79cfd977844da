"""age files of the kind that SOPS makes: one file key, wrapped for X25519 recipients (age-encryption.org/v1).

Only reading. Source: github.com/C2SP/C2SP/blob/main/age.md. The primitives are `cryptography`'s.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_FILE = 64 * 1024
"""Bytes. What SOPS wraps is a key of 32 bytes; a header line is some 150."""
_VERSION = b"age-encryption.org/v1"
_CHUNK = 64 * 1024
_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_ARMOR = ("-----BEGIN AGE ENCRYPTED FILE-----", "-----END AGE ENCRYPTED FILE-----")


class AgeError(Exception):
    """A file or an identity that cannot be read, or that no identity opens. The text holds no secret."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A private key. It is never shown."""

    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Identity:
        """`AGE-SECRET-KEY-1…`. Raises AgeError."""
        prefix, data = _bech32(text)
        if prefix != "age-secret-key-" or len(data) != 32:
            raise AgeError("this is no age identity; one begins with AGE-SECRET-KEY-1")
        return cls(data)

    @property
    def recipient(self) -> bytes:
        """The public key."""
        public = X25519PrivateKey.from_private_bytes(self.secret).public_key()
        return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def identities(text: str) -> tuple[Identity, ...]:
    """The identities of a key file: one a line, `#` begins a comment. Raises AgeError, which names the line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        if word.startswith("AGE-PLUGIN-"):
            raise AgeError(f"line {number} names a plugin, and no plugin is started here")
        try:
            found.append(Identity.parse(word))
        except AgeError as error:
            raise AgeError(f"line {number}: {error}") from error
    return tuple(found)


def opened(armored: str, keys: tuple[Identity, ...]) -> bytes | None:
    """The content; None where none of the keys is meant. Raises AgeError for a file that is broken or forged."""
    header, stanzas, mac, payload = _read(_unarmored(armored))
    for kind, arguments, body in stanzas:
        if kind != b"X25519" or len(arguments) != 1 or len(body) != 32:
            continue
        for key in keys:
            file_key = _unwrapped(key, arguments[0], body)
            if file_key is None:
                continue
            expected = hmac.digest(_derived(file_key, b"", b"header"), header, "sha256")
            if not hmac.compare_digest(expected, mac):
                raise AgeError("the header of this age file was altered")
            return _content(file_key, payload)
    return None


def _unarmored(text: str) -> bytes:
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(text) > MAX_FILE or len(lines) < 3 or (lines[0], lines[-1]) != _ARMOR:
        raise AgeError("this is no armored age file")
    try:
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise AgeError("this armored age file is broken") from error


def _read(data: bytes) -> tuple[bytes, list[tuple[bytes, list[bytes], bytes]], bytes, bytes]:
    lines = data.split(b"\n")
    if lines[0] != _VERSION:
        raise AgeError("this is no age file of version 1")
    stanzas: list[tuple[bytes, list[bytes], bytes]] = []
    at, size = 1, len(lines[0]) + 1
    while at < len(lines):
        line = lines[at]
        if line.startswith(b"--- "):
            header = data[: size + 3]
            return header, stanzas, _unpadded(line[4:]), data[size + len(line) + 1 :]
        if not line.startswith(b"-> "):
            break
        kind, *arguments = line[3:].split(b" ")
        size += len(line) + 1
        body = b""
        at += 1
        while at < len(lines):
            part = lines[at]
            size += len(part) + 1
            at += 1
            body += part
            if len(part) < 64:  # the last line of a body is a short one, if need be an empty one
                break
        stanzas.append((kind, arguments, _unpadded(body)))
    raise AgeError("the header of this age file is broken")


def _unpadded(text: bytes) -> bytes:
    if b"=" in text:
        raise AgeError("the header of this age file is broken")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise AgeError("the header of this age file is broken") from error


def _unwrapped(key: Identity, share: bytes, body: bytes) -> bytes | None:
    ephemeral = _unpadded(share)
    if len(ephemeral) != 32:
        raise AgeError("the header of this age file is broken")
    try:
        shared = X25519PrivateKey.from_private_bytes(key.secret).exchange(X25519PublicKey.from_public_bytes(ephemeral))
    except ValueError as error:  # a point of low order: everybody would have the same secret
        raise AgeError("the header of this age file is forged") from error
    wrap = _derived(shared, ephemeral + key.recipient, b"age-encryption.org/v1/X25519")
    try:
        return ChaCha20Poly1305(wrap).decrypt(bytes(12), body, None)
    except InvalidTag:
        return None


def _content(file_key: bytes, payload: bytes) -> bytes:
    nonce, rest = payload[:16], payload[16:]
    if len(nonce) != 16:
        raise AgeError("this age file ends too soon")
    cipher = ChaCha20Poly1305(_derived(file_key, nonce, b"payload"))
    size = _CHUNK + 16
    chunks = [rest[at : at + size] for at in range(0, len(rest), size)] or [b""]
    parts = []
    try:
        for number, chunk in enumerate(chunks):
            last = b"\x01" if number == len(chunks) - 1 else b"\x00"
            parts.append(cipher.decrypt(number.to_bytes(11, "big") + last, chunk, None))
    except InvalidTag as error:
        raise AgeError("the content of this age file was altered or cut off") from error
    return b"".join(parts)


def _derived(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)


def _bech32(text: str) -> tuple[str, bytes]:
    """BIP 173: the readable part and the data. Raises AgeError; never with what it was given."""
    if text != text.upper() and text != text.lower():
        raise AgeError("upper and lower case are mixed")
    prefix, one, rest = text.lower().rpartition("1")
    values = [_ALPHABET.find(character) for character in rest]
    if not one or not prefix or len(values) < 6 or min(values) < 0 or len(text) > 200:
        raise AgeError("this is no age identity; one begins with AGE-SECRET-KEY-1")
    check = 1
    for value in [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *values]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            check ^= generator if top >> bit & 1 else 0
    if check != 1:
        raise AgeError("a character of this identity is wrong (its checksum does not fit)")
    bits, count, found = 0, 0, bytearray()
    for value in values[:-6]:
        bits, count = (bits << 5 | value) & 0xFFF, count + 5
        if count >= 8:
            count -= 8
            found.append(bits >> count & 0xFF)
    if count >= 5 or bits & ((1 << count) - 1):
        raise AgeError("this identity is not of the right length")
    return prefix, bytes(found)
