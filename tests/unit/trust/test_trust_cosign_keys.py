"""NaCl's secret box, by the vector of its own documentation (djb, "Cryptography in NaCl", section 10)."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given
from hypothesis import strategies as st

from customhouse.trust.cosign_keys import open_box

KEY = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
NONCE = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
PLAIN = bytes.fromhex(
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f4"
    "1db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52"
    "f0a089bc76897040e082f937763848645e0705"
)
SEALED = bytes.fromhex(
    "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b"
    "4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da"
    "99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
)


def test_the_known_box_opens() -> None:
    assert open_box(KEY, NONCE, SEALED) == PLAIN


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_a_changed_byte_opens_nothing(position: int, change: int) -> None:
    changed = bytearray(SEALED)
    changed[position] ^= change
    with pytest.raises(InvalidSignature):
        open_box(KEY, NONCE, bytes(changed))


def test_another_key_and_another_nonce_open_nothing() -> None:
    for key, nonce in ((bytes(32), NONCE), (KEY, bytes(24))):
        with pytest.raises(InvalidSignature):
            open_box(key, nonce, SEALED)
    with pytest.raises(ValueError, match="not a secret box"):
        open_box(KEY, NONCE, b"short")
