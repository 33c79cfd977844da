"""Ed25519ph (RFC 8032, section 5.1): signatures over a SHA-512 digest, which `cryptography` does not verify.

Cosign makes them where a log of version 1 takes a digest. Verification alone, of public data: nothing here is secret,
so that it need not take the same time for every input.
"""

from __future__ import annotations

import hashlib

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
_DOMAIN = b"SigEd25519 no Ed25519 collisions\x01\x00"
"""dom2(1, ""): what keeps such a signature from passing for one over a message."""
_Point = tuple[int, int, int, int]


def verify(key: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is that of `key` (32 bytes) over what has this SHA-512 digest.

    As strict as `cryptography` is for Ed25519: canonical encodings alone, the equation without the cofactor.
    """
    if len(key) != 32 or len(digest) != 64 or len(signature) != 64:
        return False
    first, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    public = _decoded(key)
    if public is None or _decoded(first) is None or scalar >= _ORDER:
        return False
    challenge = int.from_bytes(hashlib.sha512(_DOMAIN + first + key + digest).digest(), "little") % _ORDER
    minus = (_P - public[0], public[1], public[2], _P - public[3])
    return _encoded(_add(_times(scalar, _BASE), _times(challenge, minus))) == first


def _decoded(data: bytes) -> _Point | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P == -u % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if v * x * x % _P != u or (x == 0 and sign):
        return None
    x = _P - x if x & 1 != sign else x
    return x, y, 1, x * y % _P


def _encoded(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _add(left: _Point, right: _Point) -> _Point:
    a = (left[1] - left[0]) * (right[1] - right[0]) % _P
    b = (left[1] + left[0]) * (right[1] + right[0]) % _P
    c = 2 * left[3] * right[3] * _D % _P
    d = 2 * left[2] * right[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: _Point) -> _Point:
    result: _Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _base() -> _Point:
    point = _decoded((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    assert point is not None  # noqa: S101 - the curve's own base point
    return point


_BASE = _base()
