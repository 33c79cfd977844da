"""The page: how an Overview is put into HTML. What is shown is what the API says; only widths are counted here."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from customhouse.app.overview import BudgetRow, Overview, ReleaseRow

_TEN = Decimal(10)
_SHORT = 12
_TONES = {
    "allow": "good",
    "serving": "good",
    "complete": "good",
    "Healthy": "good",
    "following": "good",
    "deny": "bad",
    "rolled back": "bad",
    "failed": "bad",
    "Degraded": "bad",
    "Missing": "bad",
    "refused": "bad",
    "warn": "warn",
    "starting": "warn",
    "Progressing": "warn",
    "Unknown": "warn",
    "Suspended": "warn",
    "suspended": "warn",
    "waiting": "warn",
    "canary": "cool",
    "running": "cool",
}


class Page:
    """Renders the two templates. Thread-safe; the last picture's HTML is kept, for several pages ask for it at once."""

    def __init__(self) -> None:
        folder = Path(__file__).parent / "templates"
        self._pages = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.filters.update(short=short, when=when, rounded=rounded, tone=tone, shares=shares, bar=bar)
        self._pages.globals["services"] = services
        self._last: tuple[Overview, str] | None = None

    def render(self, template: str, view: Overview | None) -> str:
        """`index.html` or `fragment.html` of a picture; None: the control plane has not looked yet."""
        if template == "index.html":
            return self._pages.get_template(template).render(view=view, fragment=self.render("fragment.html", view))
        last = self._last
        if last is not None and view is not None and last[0] is view:
            return last[1]
        text = self._pages.get_template(template).render(view=view)
        if view is not None:
            self._last = (view, text)
        return text


def short(digest: str) -> str:
    """The first characters of a digest or commit."""
    return digest.removeprefix("sha256:")[:_SHORT]


def when(at: str) -> str:
    """A time for people, to the second."""
    return at[:19].replace("T", " ")


def rounded(amount: str, places: int = 2) -> str:
    """An amount for people: at `places`, or more where that would leave fewer than two digits of it."""
    try:
        value = Decimal(amount)
    except InvalidOperation:
        return amount
    needed = 1 - value.adjusted() if value else 0
    return f"{value.quantize(_TEN ** -max(places, needed), ROUND_HALF_EVEN):,f}"


def tone(word: str) -> str:
    """The colour of a word; the word itself always stands beside it."""
    return _TONES.get(word, "plain")


def shares(row: BudgetRow) -> tuple[float, float]:
    """Spent, and spent with what is still expected, in per cent of the limit (over 100 when it does not suffice)."""
    limit = Decimal(row.limit)
    if limit <= 0:
        return (100.0, 100.0)
    spent = Decimal(row.month_to_date)
    return float(spent * 100 / limit), float((spent + Decimal(row.forecast)) * 100 / limit)


def bar(share: float) -> str:
    """A width within a bar of 100; anything that is there at all is seen."""
    return f"{min(100.0, max(0.8 if share > 0 else 0.0, share)):.1f}"


def services(view: Overview) -> list[tuple[str, list[ReleaseRow]]]:
    """What answers now: each workload with the releases that share its traffic, the largest share first."""
    found: dict[str, list[ReleaseRow]] = {}
    for row in view.releases:
        if row.weight is not None:
            found.setdefault(f"{row.namespace}/{row.name}", []).append(row)
    return [(name, sorted(rows, key=lambda row: -(row.weight or 0))) for name, rows in found.items()]
