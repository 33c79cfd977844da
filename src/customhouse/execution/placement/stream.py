"""Go's `math/rand` before Go 1.20, bit for bit, since the published experiment was drawn with it.

The generator is x[n] = x[n-607] + x[n-273] mod 2⁶⁴ (Mitchell and Moore; Knuth, volume 2, 3.2.2). Go mixes a seed with
the state of that generator after 7.8×10¹² draws, which its source keeps as a table of 607 numbers. They are worked out
here in a tenth of a second instead: the recurrence is linear, so the state after N draws is the remainder of x^N by
x⁶⁰⁷ - x³³⁴ - 1, applied to the first state.
"""

from __future__ import annotations

import functools
from collections.abc import MutableSequence
from typing import Any

_LENGTH, _TAP = 607, 273
_DRAWS_BEFORE = 7_800_000_000_000
_MASK = (1 << 64) - 1
_M31 = (1 << 31) - 1


def _schrage(x: int) -> int:
    """One step of the generator that fills a state: 48271·x mod 2³¹-1."""
    return 48271 * x % _M31


def _filled(seed: int, first: int, second: int) -> list[int]:
    seed %= _M31
    x = seed or 89482311
    for _ in range(20):
        x = _schrage(x)
    state = []
    for _ in range(_LENGTH):
        x = _schrage(x)
        word = x << first
        x = _schrage(x)
        word ^= x << second
        x = _schrage(x)
        state.append((word ^ x) & _MASK)
    return state


def _reduced(product: Any) -> Any:
    """A polynomial of degree below 2·607, modulo x⁶⁰⁷ = x³³⁴ + 1: the upper half is folded down twice."""
    import numpy as np

    while len(product) > _LENGTH:
        upper = product[_LENGTH:]
        folded = np.zeros(max(_LENGTH, len(upper) + _LENGTH - _TAP), np.uint64)
        folded[:_LENGTH] = product[:_LENGTH]
        folded[: len(upper)] += upper
        folded[_LENGTH - _TAP : _LENGTH - _TAP + len(upper)] += upper
        product = folded
    return product


@functools.cache
def _cooked() -> tuple[int, ...]:
    """The state of Go's generator after its 7.8×10¹² draws, in the order of its table."""
    import numpy as np

    first = _filled(1, 20, 10)
    terms = [first[(_LENGTH - _TAP - k) % _LENGTH] for k in range(1 - _LENGTH, 1)]
    while len(terms) < 2 * _LENGTH:
        terms.append((terms[-_LENGTH] + terms[-_TAP]) & _MASK)
    power = np.zeros(_LENGTH, np.uint64)
    power[0] = 1
    for bit in f"{_DRAWS_BEFORE:b}":
        power = _reduced(np.convolve(power, power))
        if bit == "1":
            power = _reduced(np.concatenate([np.zeros(1, np.uint64), power]))
    window = np.array(terms, np.uint64)
    state = [0] * _LENGTH
    for j in range(_LENGTH):
        k = _DRAWS_BEFORE + j - _LENGTH + 1
        state[(_LENGTH - _TAP - k) % _LENGTH] = int((power * window[j : j + _LENGTH]).sum(dtype=np.uint64))
    return tuple(state)


class GoRandom:
    """`rand.Seed(seed)` and what is drawn after it."""

    def __init__(self, seed: int) -> None:
        self._state = [word ^ cooked for word, cooked in zip(_filled(seed, 40, 20), _cooked(), strict=True)]
        self._tap, self._feed = 0, _LENGTH - _TAP

    def int63(self) -> int:
        """`Int63`, and `Int` on 64 bits."""
        self._tap = (self._tap - 1) % _LENGTH
        self._feed = (self._feed - 1) % _LENGTH
        word = (self._state[self._feed] + self._state[self._tap]) & _MASK
        self._state[self._feed] = word
        return word & (_MASK >> 1)

    def below(self, limit: int) -> int:
        """`Intn(limit)` for limits up to 2³¹-1."""
        if limit & (limit - 1) == 0:
            return (self.int63() >> 32) & (limit - 1)
        highest = _M31 - (1 << 31) % limit
        drawn = self.int63() >> 32
        while drawn > highest:
            drawn = self.int63() >> 32
        return drawn % limit

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """`Shuffle`: Fisher and Yates, each draw by Lemire's multiplication."""
        for i in range(len(items) - 1, 0, -1):
            limit = i + 1
            product = (self.int63() >> 31) * limit
            if product & 0xFFFFFFFF < limit:
                threshold = ((1 << 32) - limit) % limit
                while product & 0xFFFFFFFF < threshold:
                    product = (self.int63() >> 31) * limit
            j = product >> 32
            items[i], items[j] = items[j], items[i]

    def permutation(self, count: int) -> list[int]:
        """`Perm(count)`."""
        drawn = [0] * count
        for i in range(count):
            j = self.below(i + 1)
            drawn[i] = drawn[j]
            drawn[j] = i
        return drawn
