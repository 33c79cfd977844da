"""Money: integer pico-units (10^-12) of one currency. Never a float; a sum is exact, a split loses nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, Inexact, InvalidOperation, localcontext

PICO = 10**12
MICRO_IN_PICO = 10**6
_CURRENCY = re.compile(r"[A-Z]{3}")
_AMOUNT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DIGITS = 80
"""Significant digits that an amount may have; more are refused, not rounded."""


class MoneyError(ValueError):
    """An amount that cannot be read, or two currencies in one sum; the message says which."""


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An exact amount: `pico` × 10^-12 of `currency` (ISO 4217, three capitals). May be negative (a credit)."""

    pico: int
    currency: str = "USD"

    def __post_init__(self) -> None:
        if type(self.pico) is not int and (isinstance(self.pico, bool) or not isinstance(self.pico, int)):
            raise MoneyError(f"pico-units are a whole number, not {self.pico!r}")
        if self.currency != "USD" and not _CURRENCY.fullmatch(self.currency):
            raise MoneyError(f"{self.currency!r} is not an ISO 4217 code")

    @classmethod
    def parse(cls, text: str | Decimal | int, currency: str = "USD") -> Money:
        """Read a decimal amount exactly.

        Raises MoneyError for floats, NaN, more than twelve decimal places and more digits than can be kept exactly.
        """
        if isinstance(text, (float, bool)):
            raise MoneyError(f"{text!r} is a {type(text).__name__}; money is a decimal text")
        if isinstance(text, str) and not _AMOUNT.fullmatch(text.strip()):
            raise MoneyError(f"{text!r} is not an amount")
        with localcontext() as context:
            context.prec = _DIGITS
            # Without the trap the 81st digit would be rounded away in silence.
            context.traps[Inexact] = True
            try:
                scaled = Decimal(text) * PICO
                if not scaled.is_finite():
                    raise MoneyError(f"{text!r} is not an amount")
                whole = scaled.to_integral_value()
            except Inexact as error:
                raise MoneyError(f"{str(text)[:80]!r} has more than {_DIGITS} digits") from error
            except InvalidOperation as error:
                raise MoneyError(f"{text!r} is not an amount") from error
            if whole != scaled:
                raise MoneyError(f"{text!r} has more than twelve decimal places")
        return cls(int(whole), currency)

    @classmethod
    def zero(cls, currency: str = "USD") -> Money:
        """Nothing, in a currency."""
        return cls(0, currency)

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise MoneyError(f"cannot add {other.currency} to {self.currency}; convert with a dated rate first")

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.pico + other.pico, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.pico - other.pico, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.pico, self.currency)

    def __lt__(self, other: Money) -> bool:
        self._same(other)
        return self.pico < other.pico

    def __le__(self, other: Money) -> bool:
        self._same(other)
        return self.pico <= other.pico

    def scale(self, numerator: int, denominator: int = 1) -> Money:
        """Multiply by a fraction; the remainder is rounded half to even, to the pico-unit."""
        if denominator == 0:
            raise MoneyError("a share of nothing: the denominator is 0")
        if denominator < 0:
            numerator, denominator = -numerator, -denominator
        quotient, remainder = divmod(self.pico * numerator, denominator)
        if remainder * 2 > denominator or (remainder * 2 == denominator and quotient % 2):
            quotient += 1
        return Money(quotient, self.currency)

    def split(self, weights: Sequence[int]) -> tuple[Money, ...]:
        """Split by non-negative whole weights; the parts add up exactly (largest remainder, first wins a tie).

        Raises MoneyError when there are no weights, one is negative, or all are zero.
        """
        total = sum(weights)
        if not weights or min(weights) < 0 or total <= 0:
            raise MoneyError(f"cannot split by the weights {list(weights)!r}")
        floors, remainders = [], []
        for weight in weights:
            quotient, remainder = divmod(self.pico * weight, total)
            floors.append(quotient)
            remainders.append(remainder)
        left = self.pico - sum(floors)
        for index in sorted(range(len(weights)), key=lambda i: -remainders[i])[:left]:
            floors[index] += 1
        return tuple(Money(part, self.currency) for part in floors)

    def to_decimal(self) -> Decimal:
        """The exact amount as a Decimal."""
        with localcontext() as context:
            context.prec = max(_DIGITS, len(str(self.pico)))
            return Decimal(self.pico) / PICO

    def __str__(self) -> str:
        """The exact amount as plain decimal text with at least two places: `12.50`, `0.000001`."""
        sign, magnitude = ("-" if self.pico < 0 else ""), abs(self.pico)
        whole, fraction = divmod(magnitude, PICO)
        return f"{sign}{whole}.{f'{fraction:012d}'.rstrip('0').ljust(2, '0')}"

    def rounded(self, places: int = 2) -> str:
        """For people: half to even at `places` (0 to 12), thousands not grouped. Raises MoneyError for other places."""
        if not 0 <= places <= 12:
            raise MoneyError(f"an amount is shown with 0 to 12 decimal places, not {places}")
        if places == 0:
            return str(self.scale(1, PICO).pico)
        step = 10 ** (12 - places)
        quotient = Money(self.pico, self.currency).scale(1, step).pico
        sign, magnitude = ("-" if quotient < 0 else ""), abs(quotient)
        whole, fraction = divmod(magnitude, 10**places)
        return f"{sign}{whole}.{fraction:0{places}d}"

    def to_micro_ceiling(self) -> int:
        """Whole micro-units, rounded up: what Facts carry, since RFC 8785 numbers end at 2^53 (≈ 9 billion USD)."""
        return -(-self.pico // MICRO_IN_PICO)


def total(amounts: Iterable[Money], currency: str = "USD") -> Money:
    """The exact sum; `currency` is that of an empty sum. Raises MoneyError on mixed currencies."""
    result: Money | None = None
    for amount in amounts:
        result = amount if result is None else result + amount
    return Money.zero(currency) if result is None else result
