"""Use cases of vulnerabilities: bring advisories in, and match packages against them, offline.

report = scan_packages(settings, packages, vex=("vex.json",))
report.clean, report.findings, report.stale, report.to_json()
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from customhouse.app.settings import Settings
from customhouse.core.vulnerability import MAX_AGE_DAYS, Package, Report


def scan_packages(
    settings: Settings,
    packages: Iterable[Package],
    *,
    vex: Sequence[str] = (),
    db: str | None = None,
    now: datetime | None = None,
    max_age_days: int | None = MAX_AGE_DAYS,
) -> Report:
    """What the advisories in the store (`advisories.sqlite` below --state, or `db`) say of packages.

    `vex` are files whose statements suppress findings. Raises UsageError when there is no store, StateError when it
    cannot be read, EvidenceError for a VEX file that cannot.
    """
    raise NotImplementedError((settings, packages, vex, db, now, max_age_days))
