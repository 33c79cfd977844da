"""Observations of the local target: the gateway's counters, and /proc for every process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.local import processes
from customhouse.execution.adapters.local.fleet import Fleet, key_of
from customhouse.execution.adapters.local.meter import samples
from customhouse.execution.adapters.local.records import Records

SOURCE = "target/local"


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """One process: CPU seconds since its start; resident and proportional set size in bytes."""

    role: str
    pid: int
    cpu_s: float
    resident: int
    proportional: int


def reading(role: str, pid: int) -> ProcessReading:
    """Measure a process; zeros when it is gone."""
    used = processes.consumption(pid) or processes.Consumption(0.0, 0)
    return ProcessReading(role, pid, used.cpu_s, used.resident, processes.proportional(pid))


def observations(
    at: datetime, records: Records, fleet: Fleet, gateway: Mapping[str, Any] | None
) -> Iterator[Observation]:
    """Everything measured now. `release` is the predictor's digest, of a Job the digest of its spec."""
    if gateway is not None:
        instance = f"gateway-{gateway['pid']}"
        for record in records.services.values():
            service = gateway["services"].get(key_of(record.ref), {"traffic": {}})
            for release, traffic in service["traffic"].items():
                for metric, unit, labels, value in samples(traffic):
                    yield Observation(at, SOURCE, record.ref, release, metric, unit, value, instance, labels)
    for record, revision, replica in fleet.replicas():
        if replica.process is not None:
            # The pid is in the instance: a restarted worker's counters begin at 0 and are another series.
            instance = f"{replica.id}/{replica.process.pid}"
            yield from _process(at, record.ref, revision.serving.release, instance, [replica.process.pid])
    yield from _jobs(at, records)


def _process(at: datetime, ref: ResourceRef, release: str, instance: str, pids: list[int]) -> Iterator[Observation]:
    used = [consumption for pid in pids if (consumption := processes.consumption(pid)) is not None]
    if not used:
        return
    rows = (
        ("process_cpu_seconds_total", "s", sum(item.cpu_s for item in used)),
        ("process_resident_memory_bytes", "By", float(sum(item.resident for item in used))),
        ("process_proportional_memory_bytes", "By", float(sum(processes.proportional(pid) for pid in pids))),
    )
    for metric, unit, value in rows:
        yield Observation(at, SOURCE, ref, release, metric, unit, value, instance)


def _jobs(at: datetime, records: Records) -> Iterator[Observation]:
    for job in records.jobs.values():
        if job.outcome is not None and "cpu_s" in job.outcome:
            rows = (
                ("customhouse_job_cpu_seconds_total", "s", job.outcome["cpu_s"]),
                ("customhouse_job_peak_memory_bytes", "By", float(job.outcome["peak_bytes"])),
                ("customhouse_job_duration_seconds", "s", job.outcome["seconds"]),
            )
            for metric, unit, value in rows:
                yield Observation(at, SOURCE, job.ref, job.digest, metric, unit, value, job.run)
        elif job.process is not None:
            pids = processes.children(job.process.pid)
            yield from _process(at, job.ref, job.digest, job.run, pids)
