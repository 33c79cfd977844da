"""Parts of a secret: any that are enough give it, others never, and what cannot be parts is refused."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse.control.adapters.shamir import combined


def product(left: int, right: int) -> int:
    """Multiplication by the tables of logarithms to the generator 3: another way than the code's."""
    powers = [1]
    while len(powers) < 255:
        doubled = powers[-1] << 1
        powers.append((doubled ^ (0x11B if doubled & 0x100 else 0)) ^ powers[-1])
    return powers[(powers.index(left) + powers.index(right)) % 255] if left and right else 0


def shared(secret: bytes, xs: list[int], threshold: int) -> list[bytes]:
    polynomials = [[byte, *secrets.token_bytes(threshold - 1)] for byte in secret]
    parts = []
    for x in xs:
        ys = []
        for coefficients in polynomials:
            y = 0
            for coefficient in reversed(coefficients):
                y = product(y, x) ^ coefficient
            ys.append(y)
        parts.append(bytes([*ys, x]))
    return parts


@given(st.binary(min_size=1, max_size=4), st.lists(st.integers(1, 255), min_size=2, max_size=5, unique=True), st.data())
def test_as_many_parts_as_are_needed_give_the_secret(secret: bytes, xs: list[int], data: st.DataObject) -> None:
    threshold = data.draw(st.integers(2, len(xs)))
    parts = shared(secret, xs, threshold)
    assert combined(data.draw(st.permutations(parts))[:threshold]) == secret


def test_a_part_too_few_gives_something_else() -> None:
    secret = bytes(range(32))
    parts = shared(secret, [7, 9, 200], 3)
    assert combined(parts) == secret
    assert combined(parts[:2]) != secret


@pytest.mark.parametrize(
    "parts", [[], [b"ab"], [b"ab", b"ab"], [b"ab", b"abc"], [b"a", b"b"], [b"a\0", b"ab"], [b"", b""]]
)
def test_what_cannot_be_parts_of_one_secret_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(ValueError, match="shared key"):
        combined(parts)
