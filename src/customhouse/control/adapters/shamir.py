"""Parts of a secret put together again: Shamir's scheme over GF(2^8), byte by byte, as SOPS shares a key among groups.

Source: A. Shamir, "How to share a secret" (1979); the field is that of AES (x^8 + x^4 + x^3 + x + 1). A part is a byte
of y for each byte of the secret, and then the x that all of them belong to (the layout of HashiCorp's package `shamir`,
which SOPS carries).
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_PARTS = 255
_POLYNOMIAL = 0x11B


def combined(parts: Sequence[bytes]) -> bytes:
    """The secret. Too few parts, or one that was altered, give other bytes: who uses them has to notice.

    Raises ValueError for parts that cannot be of one secret.
    """
    xs = [part[-1] for part in parts if part]
    if not 2 <= len(parts) <= MAX_PARTS or len({len(part) for part in parts}) != 1 or len(parts[0]) < 2:
        raise ValueError("parts of a shared key have to be two or more, of one length")
    if len(set(xs)) != len(xs) or 0 in xs:
        raise ValueError("two parts of a shared key are the same one")
    weights = [_weight(x, [other for other in xs if other != x]) for x in xs]
    secret = bytearray(len(parts[0]) - 1)
    for weight, part in zip(weights, parts, strict=True):
        for at, y in enumerate(part[:-1]):
            secret[at] ^= _product(weight, y)
    return bytes(secret)


def _weight(x: int, others: Sequence[int]) -> int:
    """Lagrange's basis polynomial of `x` at 0."""
    found = 1
    for other in others:
        found = _product(found, _product(other, _inverse(x ^ other)))
    return found


def _product(left: int, right: int) -> int:
    found = 0
    while right:
        if right & 1:
            found ^= left
        left <<= 1
        if left & 0x100:
            left ^= _POLYNOMIAL
        right >>= 1
    return found


def _inverse(value: int) -> int:
    """`value` to the 254th: the group has 255 elements."""
    found = 1
    for _ in range(254):
        found = _product(found, value)
    return found
