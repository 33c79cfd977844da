"""Use cases of vulnerabilities: packages matched against the advisories that are here, offline.

    report = scan_packages(settings, packages, vex=("vex.json",))
    report.clean, report.findings, report.stale, report.to_json()

Who has statements of VEX that were verified already (evidence) gives them as `statements`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.reading import absent
from customhouse.app import wiring
from customhouse.app.settings import Settings
from customhouse.core.errors import UsageError
from customhouse.core.vulnerability import MAX_AGE_DAYS, Freshness, Package, Report, Unknown
from customhouse.trust.vulnerabilities.ecosystems import canonical, concerns, family_of, has_release
from customhouse.trust.vulnerabilities.matching import keys, match
from customhouse.trust.vulnerabilities.vex import VexStatement, apply_vex, read_vex
from customhouse.trust.vulnerabilities.vex_statements import SUPPRESSING

MAX_VEX = 64 << 20
TOLERANCE = timedelta(minutes=5)
"""By which the clock of whoever made a statement may be ahead; as everywhere that times are compared here."""


def scan_packages(
    settings: Settings,
    packages: Iterable[Package],
    *,
    vex: Sequence[str] = (),
    statements: Sequence[VexStatement] = (),
    subjects: Collection[str] = (),
    db: str | None = None,
    now: datetime | None = None,
    max_age_days: int | None = MAX_AGE_DAYS,
) -> Report:
    """What the advisories in the store (`advisories.sqlite` below --state, or `db`) say of packages.

    `vex` are files whose statements suppress findings, `statements` are such statements; `subjects` name what the
    packages lie in (the image's package URL or digest), for statements about the whole of it. Raises StateError when
    there is no store or it cannot be read, UsageError and EvidenceError for a VEX file that cannot.
    """
    found = tuple(dict.fromkeys(packages))
    said = [*statements, *(one for path in vex for one in vex_statements(path)[0])]
    at = now or wiring.clock().now()
    with wiring.advisories(settings, db) as store, store.reading():
        matched = match(found, store.find(keys(found)), at)
        fresh, digest = store.freshness(), store.digest()
    return Report(
        as_of=at,
        packages=len(found),
        findings=apply_vex(matched.findings, said, subjects=subjects) if said else matched.findings,
        undecided=matched.undecided,
        unknown=tuple(_unknown(found, fresh)),
        freshness=asked(found, fresh),
        store=digest,
        max_age_days=max_age_days,
    )


def asked(packages: Iterable[Package], fresh: Iterable[Freshness]) -> tuple[Freshness, ...]:
    """The freshness of the ecosystems that packages are of."""
    wanted = {canonical(package.ecosystem) for package in packages}
    return tuple(item for item in fresh if any(concerns(ecosystem, item.ecosystem) for ecosystem in wanted))


def _unknown(packages: Iterable[Package], fresh: Sequence[Freshness]) -> Iterable[Unknown]:
    """The ecosystems of which nothing is here, or that cannot be asked about."""
    counts = Counter(canonical(package.ecosystem) for package in packages)
    for ecosystem, count in sorted(counts.items()):
        known = any(concerns(ecosystem, item.ecosystem) for item in fresh if item.records)
        if known and not has_release(ecosystem):
            continue
        if not ecosystem:
            yield Unknown("", count, "nobody says which ecosystem these packages are of")
        elif has_release(family_of(ecosystem)) and ":" not in ecosystem:
            yield Unknown(ecosystem, count, "its advisories go by release, and the release is not known")
        else:
            yield Unknown(ecosystem, count, "no advisories of it are here: `customhouse vuln import` brings them")


def vex_statements(path: str) -> tuple[tuple[VexStatement, ...], tuple[str, ...]]:
    """The statements of a VEX file, and which of its statements cannot count. Raises UsageError and EvidenceError."""
    place = Path(path)
    if not place.is_file():
        raise UsageError(absent(path), hint="--vex names an OpenVEX, CycloneDX or CSAF document")
    if place.stat().st_size > MAX_VEX:
        raise UsageError(f"{path} is over {MAX_VEX >> 20} MiB")
    document = read_vex(place.read_bytes(), path)
    latest = wiring.clock().now() + TOLERANCE
    why = f"later than now and the {TOLERANCE // timedelta(minutes=1)} minutes that clocks may differ by"
    counting, ignored = [], list(document.ignored)
    for one in document.statements:
        if one.status in SUPPRESSING and one.at is not None and one.at > latest:
            ignored.append(f"{path}: about {min(one.names)}: it is dated {to_rfc3339(one.at)}, {why}")
        else:
            counting.append(one)
    return tuple(counting), tuple(ignored)


def show(settings: Settings, name: str, db: str | None = None) -> list[dict[str, Any]]:
    """The records of an id or an alias, as published. Raises UsageError when there is none, StateError."""
    with wiring.advisories(settings, db) as store:
        found = store.record(name)
        where = store.where
    if not found:
        raise UsageError(
            f"no advisory here is called {name!r}", where=where, hint="`customhouse vuln status` says what is here"
        )
    return found


def status(settings: Settings, db: str | None = None, *, max_age_days: int | None = MAX_AGE_DAYS) -> dict[str, Any]:
    """What is in the store: records, digest, freshness of each ecosystem, imports. Raises StateError."""
    now = wiring.clock().now()
    with wiring.advisories(settings, db) as store, store.reading():
        fresh = store.freshness()
        return {
            "db": store.where,
            "records": store.count(),
            "digest": store.digest(),
            "freshness": [item.to_json(now, max_age_days) for item in fresh],
            "stale": [item.ecosystem for item in fresh if item.is_stale(now, max_age_days)],
            "imports": store.imports(),
        }
