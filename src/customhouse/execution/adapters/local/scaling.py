"""Replicas that follow requests: Knative's autoscaler on what the gateway says it had to do. Driven by the ticks.

A revision that takes traffic and was ready once is scaled; one on its way in keeps what it begins with, so that no
release gets traffic that was never seen to answer. At zero the gateway holds what comes; the next tick starts replicas.
A restart begins with empty windows: nothing is scaled to zero before a whole one has passed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customhouse._kit.clock import Clock
from customhouse.core.kpa import TICK_S, Scaler, ScaleRule
from customhouse.execution.adapters.local.fleet import Fleet, key_of
from customhouse.execution.adapters.local.records import Records, RevisionRecord, ServiceRecord


@dataclass(slots=True)
class _Track:
    """One revision's scaler, and the gateway's counters when they were last taken over."""

    rule: ScaleRule
    scaler: Scaler
    gateway: int
    busy: float
    arrived: int
    at: float
    second: int
    decided: int


class Scaling:
    """The scalers of one target. Not thread-safe: the target holds its lock around every call."""

    def __init__(self, fleet: Fleet, records: Records, clock: Clock) -> None:
        self._fleet = fleet
        self._records = records
        self._clock = clock
        self._tracks: dict[tuple[str, str], _Track] = {}

    def tick(self, gateway: Mapping[str, Any] | None) -> None:
        """Scale what should be scaled. Nothing is known, and nothing done, while the gateway does not answer."""
        if gateway is None:
            return
        seen = set()
        for record in self._records.services.values():
            for release, revision in record.revisions.items():
                if revision.serving.scale is None or not _takes_traffic(record, release):
                    continue
                said = gateway["services"].get(key_of(record.ref), {"revisions": {}})["revisions"].get(release)
                if said is None or "load" not in said:
                    continue
                key = key_of(record.ref), release
                seen.add(key)
                self._follow(key, revision, said["load"], int(gateway["pid"]))
        self._tracks = {key: track for key, track in self._tracks.items() if key in seen}

    def _follow(self, key: tuple[str, str], revision: RevisionRecord, load: Mapping[str, Any], pid: int) -> None:
        rule = revision.serving.scale
        assert rule is not None  # noqa: S101 - the caller has looked
        now = self._clock.monotonic()
        second, ready = int(now), sum(replica.ready for replica in revision.replicas)
        track = self._tracks.get(key)
        if track is None or track.rule != rule or track.gateway != pid:
            scaler = Scaler(rule, second, ready) if track is None or track.rule != rule else track.scaler
            track = _Track(rule, scaler, pid, load["busy"], load["arrived"], now, second, second)
            self._tracks[key] = track
        if ready:
            revision.fault = ""
        if second > track.second:
            value = self._rate(track, load, now)
            for each in range(max(track.second + 1, second - 3600), second + 1):
                track.scaler.load(each, value)
            track.second, track.at = second, now
            track.busy, track.arrived = load["busy"], load["arrived"]
        wanted = revision.size
        if not wanted and load["inside"]:
            # All at once, as much as waits: what comes to nothing should not wait for one replica after another.
            crowd = math.ceil(load["inside"] / rule.target) if rule.metric == "concurrency" else 1
            wanted, track.decided = max(track.scaler.woken(second), rule.bounded(crowd)), second
        elif second - track.decided >= TICK_S:
            track.decided = second
            wanted = track.scaler.wanted(second, ready)
            if not wanted and load["inside"]:
                wanted = 1
        if wanted != revision.size or revision.wanted is None:
            if not wanted:
                revision.fault = next((one.reason for one in revision.replicas if one.reason and not one.ready), "")
            self._fleet.resize(revision, wanted)

    @staticmethod
    def _rate(track: _Track, load: Mapping[str, Any], now: float) -> float:
        span = max(now - track.at, 1e-3)
        if track.rule.metric == "rps":
            return float(load["arrived"] - track.arrived) / span
        return float(load["busy"] - track.busy) / span


def _takes_traffic(record: ServiceRecord, release: str) -> bool:
    if release == record.stable:
        return True
    return release == record.candidate and record.shifted
