"""`customhouse cost`: estimates of files, and what the state says was charged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.money import Money, total
from customhouse._kit.reading import absent
from customhouse.app import wiring
from customhouse.app.clearance import check_readable
from customhouse.app.declared import declarations_of
from customhouse.app.gatekeeping import GateRequest, question
from customhouse.app.governance import governance
from customhouse.app.memory import Memory
from customhouse.app.pricing import costs_of, monthly_total
from customhouse.app.settings import Settings
from customhouse.app.spend import HISTORY, forecast_month, month_charges
from customhouse.app.stopwatch import Stopwatch
from customhouse.control.diff import changes
from customhouse.core.beside import beside
from customhouse.core.change import Actor, ActorKind
from customhouse.core.cost import CostReport
from customhouse.core.errors import UsageError
from customhouse.observability.estimate import report, summary

if TYPE_CHECKING:
    from customhouse.optimisation.forecast import Forecast

MAX_SERIES = 64 * 1024 * 1024
"""Bytes of a series that are read."""


def estimate(settings: Settings, paths: Sequence[str]) -> CostReport:
    """The cost of everything that files declare, before and after (before: nothing).

    Raises DeclarationError, PriceError and UsageError.
    """
    asked = question(settings, GateRequest(paths=tuple(paths)), spend=False)
    trusted = asked.governing.configuration.trusted_registries
    declared = declarations_of(asked.tree, asked.head, (), trusted=trusted)
    found = changes((), declared, None, Actor(ActorKind.PERSON, asked.author))
    check_readable(found)
    if any(item.ref.scene for item in declared):
        costs = costs_of(found, (), declared, asked.governing, Stopwatch())
        return summary(costs, asked.governing.book, asked.governing.prices)
    return report(found, asked.governing.book, asked.governing.prices, around=beside(declared))


def month(settings: Settings) -> dict[str, Any]:
    """Charges of the month: `{"currency","month_to_date","rows":[{"resource","release","category","amount"}]}`."""
    with wiring.store(settings, create=False) as opened:
        charges = month_charges(opened.measurements, wiring.clock().now())
    sums: dict[tuple[str, str, str], list[Money]] = defaultdict(list)
    for charge in charges:
        sums[str(charge.resource), charge.release, charge.category].append(charge.amount)
    rows = [
        {"resource": resource, "release": release, "category": category, "amount": str(total(amounts))}
        for (resource, release, category), amounts in sorted(sums.items())
    ]
    return {"currency": "USD", "month_to_date": str(total((c.amount for c in charges), "USD")), "rows": rows}


def forecast_month_of(settings: Settings, repo: str | None) -> dict[str, Any]:
    """What the calendar month (UTC) will come to, with its 90 % interval, by the Charges in the state.

    `{"currency","as_of","level","month_to_date","mean","low","high","declared_monthly","hours","method"}`; amounts are
    decimal strings. `repo` holds the deployed revision; None: the repository that the control plane followed. Raises
    UsageError without a state, SourceError when the repository is out of reach.
    """
    now = wiring.clock().now()
    with wiring.store(settings, create=False) as opened:
        charges = opened.measurements.charges(to_rfc3339(now - HISTORY))
        deployed = Memory(opened.state).deployed
    declared = Money.zero("USD")
    if deployed is not None:
        objects = wiring.commits(settings, repo or _followed(settings))
        governing = governance(objects, deployed.revision, settings.config, wiring.shelf(settings))
        declared = monthly_total(governing, declarations_of(objects, deployed.revision, deployed.paths))
    found = forecast_month(charges, declared, now)
    return {
        "currency": found.total.currency,
        "as_of": to_rfc3339(found.as_of),
        "level": found.level,
        "month_to_date": str(found.spent),
        "mean": str(found.total),
        "low": str(found.low),
        "high": str(found.high),
        "declared_monthly": str(declared),
        "hours": found.hours,
        "method": found.method,
    }


def _followed(settings: Settings) -> str:
    from customhouse.app.statusfile import read_status

    return str(read_status(settings)["repository"])


def forecast_series(path: str, horizon: int, level: int) -> Forecast:
    """The next `horizon` values of a CSV with the columns timestamp and value; `level` is the interval's percentage.

    Raises UsageError with the line for anything that is not such a series.
    """
    from customhouse.optimisation.forecast import forecast
    from customhouse.optimisation.series import read_series

    place = Path(path)
    if not place.is_file():
        raise UsageError(absent(path), hint="--series names a CSV with the columns timestamp,value")
    if place.stat().st_size > MAX_SERIES:
        raise UsageError(f"{path} is over 64 MiB", hint="aggregate it to a longer step")
    try:
        text = place.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error
    times, values = read_series(text, path)
    return forecast(times, values, horizon, level / 100)
