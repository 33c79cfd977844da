"""`customhouse vuln import`: advisories into the store, each path whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.progress import tell
from customhouse.app import wiring
from customhouse.app.advisory_sources import records
from customhouse.app.settings import Settings
from customhouse.core.advisory import Advisory
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.store.advisory_import import Import
from customhouse.trust.vulnerabilities.osv import parse_record

KEPT_BYTES = 64 << 20
"""Up to so much of a source is kept between its check and its import; a larger one is read twice."""
_TOLD = 20
_SKEW = timedelta(days=1)


@dataclass(slots=True)
class _Checked:
    """A source that was read once: how new it is, what is broken, its digest, and its records if they are few."""

    path: Path
    newest: datetime | None = None
    digest: str = ""
    count: int = 0
    broken: list[str] = field(default_factory=list)
    future: int = 0
    kept: list[tuple[Advisory, bytes]] | None = field(default_factory=list)


def import_advisories(
    settings: Settings,
    paths: Sequence[str],
    *,
    db: str | None = None,
    as_of: datetime | None = None,
    allow_broken: bool = False,
    changes: bool = False,
) -> list[dict[str, Any]]:
    """Bring in OSV records; one row for each path, in order.

    All paths are read and checked before anything is written. A broken record refuses them all, unless `allow_broken`
    leaves it out. `as_of` is when the copies were made; by default the newest date in them. Raises UsageError,
    ArtifactError and StateError.
    """
    now = wiring.clock().now()
    if as_of is not None and as_of > now + _SKEW:
        raise UsageError(f"--as-of {to_rfc3339(as_of)} is in the future")
    checked = [_check(Path(path), now) for path in paths]
    _refuse_broken(checked, allow_broken=allow_broken)
    rows = []
    with wiring.advisories(settings, db, create=True) as store:
        for one in checked:
            source = Import(
                source=str(one.path),
                digest=one.digest,
                as_of=as_of or one.newest,
                at=now,
                broken=len(one.broken),
                changes=changes,
            )
            done = store.bring(one.kept if one.kept is not None else _again(one.path), source)
            one.kept = None
            rows.append(
                {
                    "source": str(one.path),
                    **done.to_json(),
                    "dated_in_future": one.future,
                    "problems": one.broken[:_TOLD],
                }
            )
    return rows


def _check(path: Path, now: datetime) -> _Checked:
    found = _Checked(path)
    hasher = hashlib.sha256()
    size = 0
    for place, data in records(path):
        hasher.update(data)
        size += len(data)
        tell(f"checking {path.name}, records", found.count, found.count)
        if size > KEPT_BYTES:
            found.kept = None
        try:
            advisory, _ = parse_record(data)
        except ValueError as error:
            found.broken.append(f"{place}: {error}")
            continue
        found.count += 1
        for at in (advisory.modified, advisory.published):
            if at is None:
                continue
            if at > now + _SKEW:  # a date that has not been makes nothing new
                found.future += 1
            elif found.newest is None or at > found.newest:
                found.newest = at
        if found.kept is not None:
            found.kept.append((advisory, data))
    found.digest = "sha256:" + hasher.hexdigest()
    return found


def _refuse_broken(checked: Iterable[_Checked], *, allow_broken: bool) -> None:
    broken = [text for one in checked for text in one.broken]
    if not broken or allow_broken:
        if not any(one.count for one in checked):
            raise ArtifactError("no record could be read", where=broken[0] if broken else "")
        return
    shown = "; ".join(broken[:_TOLD])
    more = f"; and {len(broken) - _TOLD} more" if len(broken) > _TOLD else ""
    raise ArtifactError(
        f"{len(broken)} records are broken, and nothing was imported: {shown}{more}",
        hint="fetch them again, or --allow-broken to leave them out (what they are about would then pass unnoticed)",
    )


def _again(path: Path) -> Iterator[tuple[Advisory, bytes]]:
    """A large source once more: what is broken was told of when it was checked."""
    for _, data in records(path):
        try:
            yield parse_record(data)[0], data
        except ValueError:
            continue
