"""What the optimiser promised and what came of it; a month's saving predicted against one realised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.money import Money, total
from customhouse.core.cost import HOURS_PER_MONTH
from customhouse.core.proposal import Proposal

MIN_HOURS = 1
"""A realised saving is not computed from less than this on either side of the merge."""


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """One Proposal that was merged. Savings are per month; `realised` is None until there are Charges after it."""

    proposal: str
    subject: str
    merged_at: datetime
    predicted: Money
    predicted_low: Money
    predicted_high: Money
    realised: Money | None = None
    reverted: bool = False

    @property
    def kept(self) -> bool | None:
        """Whether the realised saving is inside the predicted interval or above it; None while not known."""
        return None if self.realised is None else not self.reverted and self.predicted_low <= self.realised

    def to_json(self) -> dict[str, Any]:
        """For the state store and `optimise record`; amounts are decimal strings."""
        return {
            "proposal": self.proposal,
            "subject": self.subject,
            "merged_at": to_rfc3339(self.merged_at),
            "currency": self.predicted.currency,
            "predicted": str(self.predicted),
            "predicted_low": str(self.predicted_low),
            "predicted_high": str(self.predicted_high),
            "realised": None if self.realised is None else str(self.realised),
            "reverted": self.reverted,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrackRecord:
        """The inverse of `to_json`."""
        currency = value["currency"]
        return cls(
            value["proposal"],
            value["subject"],
            from_rfc3339(value["merged_at"]),
            Money.parse(value["predicted"], currency),
            Money.parse(value["predicted_low"], currency),
            Money.parse(value["predicted_high"], currency),
            None if value["realised"] is None else Money.parse(value["realised"], currency),
            value["reverted"],
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """The optimiser's record. `kept_share` is over the proposals with a realised figure; None when there are none."""

    proposals: int
    measured: int
    kept: int
    predicted: Money
    realised: Money
    """Both over the measured ones only, so that they can be compared."""

    @property
    def kept_share(self) -> float | None:
        """Share of measured proposals that kept their promise."""
        return self.kept / self.measured if self.measured else None


def opened(asked: Proposal, merged_at: datetime) -> TrackRecord:
    """The record of a Proposal on the day of its merge."""
    return TrackRecord(
        asked.id, str(asked.subject), merged_at, asked.saving, asked.saving_low, asked.saving_high, None, False
    )


def realised_saving(before: Money, hours_before: int, after: Money, hours_after: int) -> Money | None:
    """Saving per month from the Charges of two stretches of whole hours; None when either is too short."""
    if hours_before < MIN_HOURS or hours_after < MIN_HOURS:
        return None
    return before.scale(HOURS_PER_MONTH, hours_before) - after.scale(HOURS_PER_MONTH, hours_after)


def summarise(records: Iterable[TrackRecord], currency: str = "USD") -> Summary:
    """The record over all proposals of one currency. Raises MoneyError when they are of several."""
    listed = list(records)
    measured = [record for record in listed if record.realised is not None]
    return Summary(
        proposals=len(listed),
        measured=len(measured),
        kept=sum(record.kept is True for record in measured),
        predicted=total((record.predicted for record in measured), currency),
        realised=total((record.realised for record in measured if record.realised is not None), currency),
    )
