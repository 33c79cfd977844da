"""Metering: Observations in, Charges and ledger entries out, one window after another without a gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.app import journal
from customhouse.app.governance import Governance
from customhouse.app.memory import CHARGED, CHARGING, RELEASE, WORKLOAD, Memory, key_of
from customhouse.core.cost import Charge, Usage
from customhouse.core.ledger import Entry
from customhouse.core.observation import Observation
from customhouse.core.ports import Measurements
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.workload import Workload, workload
from customhouse.observability import usage as metrics
from customhouse.observability.allocate import Owner, allocate
from customhouse.observability.rates import RateCard

_KEPT = (metrics.CPU_SECONDS, metrics.MEMORY_BYTES, metrics.REQUESTS, metrics.ERRORS)
_LOOK_BACK = timedelta(minutes=10)
"""How far before a window the last sample of a series is looked for: twice the longest gap that usage allows."""


@dataclass(frozen=True, slots=True)
class Charged:
    """One interval that was charged: the documents and ledger entries that end it, to be stored together."""

    documents: Mapping[str, Any]
    entries: tuple[Entry, ...]


class Metering:
    """Charges what runs. Everything it needs to go on after a restart is in the store."""

    def __init__(self, memory: Memory, measurements: Measurements) -> None:
        self._memory = memory
        self._measurements = measurements

    def remember(self, ref: ResourceRef, release: str, manifest: Manifest, artifact: str) -> dict[str, Any]:
        """The document that lets a release be charged for later, also when Git has moved on."""
        value = {"resource": ref.stored(), "release": release, "manifest": dict(manifest), "artifact": artifact}
        # Two resources may run the same release: what is charged is looked up by both.
        return {f"{RELEASE}{release}": value, _workload_key(ref, release): value}

    def due(self, now: datetime, window: timedelta) -> bool:
        """Whether a window has passed since the last charge (the first call begins the first window)."""
        until = self._memory.charged_until
        if until is None:
            self._memory.put({CHARGED: to_rfc3339(now)})
            return False
        return now - from_rfc3339(until) >= window

    def sample(self, observations: Sequence[Observation]) -> None:
        """Keep what Charges and right-sizing are made of."""
        self._measurements.append([seen for seen in observations if seen.metric in _KEPT and _is_service(seen)])

    def charge(self, governing: Governance, now: datetime) -> Charged:
        """Charge everything since the last charge up to `now`. The caller stores the documents with the entries.

        The interval is fixed in the store before anything is charged for it: after a kill the same interval is charged
        again, which adds nothing to what is there, and the next one begins where it ends.
        """
        until, fixed = self._memory.charged_until, self._memory.get(CHARGING)
        start = now if until is None else from_rfc3339(until)
        end = now if fixed is None else from_rfc3339(fixed)
        if start >= end:  # a clock that was put back: nothing is charged until it has caught up
            return Charged({CHARGING: None} if fixed is not None else {}, ())
        if fixed is None:
            self._memory.put({CHARGING: to_rfc3339(end)})
        series = self._series(start)
        report = metrics.usage(series, self._declared, start, end)
        charges = self.price(governing, report.rows)
        self._measurements.charge(charges)
        entries = list(journal.measured(report.rows, _pods(series, start, end)))
        if charges:
            entries.extend(journal.charged(charges, start, end))
        return Charged({CHARGED: to_rfc3339(end), CHARGING: None}, tuple(entries))

    @property
    def interrupted(self) -> bool:
        """Whether a charge was begun and not finished: the process was killed in it."""
        return self._memory.get(CHARGING) is not None

    def price(self, governing: Governance, rows: Sequence[Usage]) -> tuple[Charge, ...]:
        """The Charges of usage rows, with the artifact and labels of what was declared."""
        owners: dict[tuple[ResourceRef, str], Owner] = {}
        spot = set()
        for ref, release in {(row.resource, row.release) for row in rows}:
            found = self._memory.get(_workload_key(ref, release))
            if found is None:
                continue
            owners[ref, release] = Owner(found["artifact"], _labels(found["manifest"]))
            work = workload(found["manifest"], ref)
            if work is not None and work.spot:
                spot.add((ref, release))
        prices = governing.prices
        card = RateCard(governing.book, prices.provider, prices.region)
        cheap = RateCard(governing.book, prices.provider, prices.region, spot=True)
        return allocate(rows, card, owners, spot=cheap, spot_releases=frozenset(spot))

    def charge_job(
        self, governing: Governance, ref: ResourceRef, release: str, outcome: Mapping[str, Any]
    ) -> tuple[Entry, ...]:
        """Charge one run of a Job from what the target measured of it, once.

        A run that was lost (its supervisor was killed) has no measured time: nothing can be charged, and the Entry of
        its end says that it was lost.
        """
        if "started" not in outcome or "finished" not in outcome:
            return ()
        work = self._declared(ref, release)
        start, end = from_rfc3339(outcome["started"]), from_rfc3339(outcome["finished"])
        if work is None or start >= end:
            return ()
        milliseconds = (end - start) // timedelta(milliseconds=1)
        row = Usage(
            resource=ref,
            release=release,
            start=start,
            end=end,
            replica_milliseconds=milliseconds,
            cpu_request_millicore_milliseconds=work.cpu * milliseconds,
            cpu_used_microseconds=round(float(outcome.get("cpu_s", 0.0)) * 10**6),
            memory_request_byte_milliseconds=work.memory * milliseconds,
            memory_peak_bytes=int(outcome.get("peak_bytes", 0)),
            gpu_milliseconds={work.accelerator: work.accelerators * milliseconds} if work.accelerator else {},
        )
        charges = self.price(governing, (row,))
        self._measurements.charge(charges)
        ran = {(ref, release): (f"{ref.name}-{to_rfc3339(start)}",)}
        return (*journal.measured((row,), ran), *journal.charged(charges, start, end, str(ref)))

    def _series(self, start: datetime) -> list[Observation]:
        since = to_rfc3339(start - _LOOK_BACK)
        return [seen for metric in _KEPT for seen in self._measurements.series(metric, None, since)]

    def _declared(self, ref: ResourceRef, release: str) -> Workload | None:
        found = self._memory.get(_workload_key(ref, release))
        return None if found is None else workload(found["manifest"], ref)


def _pods(
    series: Iterable[Observation], start: datetime, end: datetime
) -> dict[tuple[ResourceRef, str], tuple[str, ...]]:
    """The processes that were seen in an interval, by what they ran."""
    found: dict[tuple[ResourceRef, str], set[str]] = {}
    for seen in series:
        if seen.instance and start <= seen.at < end:
            found.setdefault((seen.resource, seen.release), set()).add(seen.instance)
    return {key: tuple(sorted(names)) for key, names in found.items()}


def _is_service(seen: Observation) -> bool:
    """A Job is charged once, when it has ended, from its whole run: sampling would miss the short ones."""
    return seen.resource.kind != "Job"


def _labels(manifest: Manifest) -> dict[str, str]:
    return {str(key): str(value) for key, value in (manifest["metadata"].get("labels") or {}).items()}


def _workload_key(ref: ResourceRef, release: str) -> str:
    return f"{key_of(WORKLOAD, ref)}/{release}"
