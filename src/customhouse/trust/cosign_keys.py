"""Private keys as `cosign generate-key-pair` writes them: PKCS#8 in NaCl's secret box, its key by scrypt of a password.

Format: go-securesystemslib `encrypted`. The box (XSalsa20-Poly1305) is opened here, since `cryptography` has the
authenticator but not the cipher; nothing is ever closed in one. What does not authenticate is not decrypted.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.poly1305 import Poly1305

from customhouse._kit.reading import open_regular
from customhouse.core.errors import ConfigError
from customhouse.trust.keys import MAX_PEM_BYTES, PrivateKey, load_private

_LABELS = (b"ENCRYPTED SIGSTORE PRIVATE KEY", b"ENCRYPTED COSIGN PRIVATE KEY")
_PARAMETERS = (32768, 65536, 131072)
"""N of scrypt that cosign has used; r is 8 and p is 1. More would only cost the reader memory."""


def load_signing_key(path: Path, password: bytes) -> PrivateKey:
    """A private key: PEM as everywhere, or cosign's own form, opened by `password`. Raises ConfigError.

    The message never holds a byte of the file.
    """
    if not _is_cosigns(path):
        return load_private(path)
    try:
        pem = _box(path, password)
        handle = serialization.load_der_private_key(pem, None)
    except (ValueError, TypeError, KeyError, InvalidSignature):
        raise ConfigError(
            "this key of cosign's cannot be opened: another password, or not its form",
            where=str(path),
            hint="the password is read from COSIGN_PASSWORD",
        ) from None
    return PrivateKey(handle, str(path))


def _is_cosigns(path: Path) -> bool:
    try:
        with open_regular(path) as handle:
            first = handle.readline(200)
    except OSError:
        return False  # said by whoever reads it
    return any(label in first for label in _LABELS)


def _box(path: Path, password: bytes) -> bytes:
    """The PKCS#8 DER in the box. Raises ValueError, KeyError, TypeError and InvalidSignature."""
    with open_regular(path) as handle:
        if os.fstat(handle.fileno()).st_mode & 0o077:
            raise ConfigError("others can read this private key", where=str(path), hint=f"chmod 600 {path}")
        lines = handle.read(MAX_PEM_BYTES).decode("ascii").strip().splitlines()
    document = json.loads(base64.b64decode("".join(lines[1:-1]), validate=True))
    kdf, cipher = document["kdf"], document["cipher"]
    parameters = kdf["params"]
    if (kdf["name"], cipher["name"], parameters["r"], parameters["p"]) != ("scrypt", "nacl/secretbox", 8, 1):
        raise ValueError("an unknown form")
    if parameters["N"] not in _PARAMETERS:
        raise ValueError("unknown parameters")
    salt, nonce, sealed = (
        base64.b64decode(text, validate=True) for text in (kdf["salt"], cipher["nonce"], document["ciphertext"])
    )
    key = Scrypt(salt, 32, parameters["N"], 8, 1).derive(password)
    return open_box(key, nonce, sealed)


def open_box(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """NaCl's `secretbox_open` (XSalsa20-Poly1305). Raises InvalidSignature for what was changed, ValueError."""
    if len(key) != 32 or len(nonce) != 24 or len(sealed) < 16:
        raise ValueError("not a secret box")
    inner = _rounds(key, nonce[:16], add=False)
    stream = b"".join(
        _rounds(inner, nonce[16:] + struct.pack("<Q", block), add=True) for block in range((len(sealed) + 79) // 64)
    )
    Poly1305.verify_tag(stream[:32], sealed[16:], sealed[:16])
    return bytes(one ^ other for one, other in zip(sealed[16:], stream[32:], strict=False))


def _rounds(key: bytes, middle: bytes, *, add: bool) -> bytes:
    """Salsa20's core over key and 16 bytes; `add`: the block (64 bytes), else HSalsa20 (32 bytes)."""
    constants = struct.unpack("<4I", b"expand 32-byte k")
    k, m = struct.unpack("<8I", key), struct.unpack("<4I", middle)
    start = [constants[0], *k[:4], constants[1], *m, constants[2], *k[4:], constants[3]]
    x = list(start)
    quarters = (
        (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
        (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),
    )  # fmt: skip
    for _ in range(10):
        for a, b, c, d in quarters:
            x[b] ^= _turn(x[a] + x[d], 7)
            x[c] ^= _turn(x[b] + x[a], 9)
            x[d] ^= _turn(x[c] + x[b], 13)
            x[a] ^= _turn(x[d] + x[c], 18)
    if add:
        return struct.pack("<16I", *((one + other) & 0xFFFFFFFF for one, other in zip(x, start, strict=True)))
    return struct.pack("<8I", *(x[position] for position in (0, 5, 10, 15, 6, 7, 8, 9)))


def _turn(value: int, bits: int) -> int:
    value &= 0xFFFFFFFF
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF
