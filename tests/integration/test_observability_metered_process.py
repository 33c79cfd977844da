"""A real process, measured by the kernel, to money in a real database and a budget."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from customhouse._kit.money import Money
from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef
from customhouse.core.workload import Workload, workload
from customhouse.observability.allocate import Owner, allocate, charges_total
from customhouse.observability.budgets import Budget, budget_state
from customhouse.observability.prices import PriceBook
from customhouse.observability.rates import RateCard
from customhouse.observability.telemetry import window
from customhouse.observability.usage import CPU_SECONDS, MEMORY_BYTES, usage
from customhouse.store.database import open_store

BURN = (
    "import time\nwhile time.process_time() < {seconds}: pass\nprint('done', flush=True)\nimport sys; sys.stdin.read()"
)
MANIFEST = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "burner", "namespace": "ml", "labels": {"customhouse.dev/team": "risk"}},
    "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}}]},
}
REF = ResourceRef.of(MANIFEST)


def declared() -> Workload:
    found = workload(MANIFEST, REF)
    assert found
    return found


def observe(pid: int) -> list[Observation]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    memory = int(fields[21]) * os.sysconf("SC_PAGESIZE")
    at = datetime.now(UTC)
    return [
        Observation(at, "proc", REF, "v1", CPU_SECONDS, "s", cpu, f"burner/{pid}"),
        Observation(at, "proc", REF, "v1", MEMORY_BYTES, "By", memory, f"burner/{pid}"),
    ]


def burn(seconds: float, append: Callable[[list[Observation]], None]) -> float:
    """Run a process that uses so much CPU, observing it; the CPU seconds that the kernel says it used in all."""
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", BURN.format(seconds=seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin
    assert child.stdout
    try:
        os.set_blocking(child.stdout.fileno(), False)
        deadline = time.monotonic() + 20
        while child.stdout.read() is None and time.monotonic() < deadline:
            append(observe(child.pid))
            time.sleep(0.02)
        append(observe(child.pid))
    finally:
        child.stdin.close()
        child.stdout.close()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return used.ru_utime + used.ru_stime


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to measure a process")
def test_what_a_process_used_is_charged_once_and_counts_against_its_budget(tmp_path: Path) -> None:
    card = RateCard(PriceBook.load(), "aws", "us-east-1")
    start = datetime.now(UTC)
    with open_store(tmp_path / "state.db") as store:
        measurements = store.measurements
        # Two processes one after the other: a restart of the same workload.
        used = burn(0.3, measurements.append) + burn(0.2, measurements.append)
        end = datetime.now(UTC) + timedelta(microseconds=1)
        series = [seen for metric in (CPU_SECONDS, MEMORY_BYTES) for seen in measurements.series(metric)]
        report = usage(series, {(REF, "v1"): declared()}, start, end)
        (row,) = report.rows
        assert report.problems == ()
        # The kernel's clock ticks are 10 ms, and nobody looks while the process ends.
        assert abs(row.cpu_used_microseconds / 10**6 - used) < 0.1
        assert 0 < row.replica_milliseconds <= (end - start) / timedelta(milliseconds=1)
        assert row.memory_peak_bytes > 2**20

        charges = allocate([row], card, {(REF, "v1"): Owner("", {"customhouse.dev/team": "risk"})})
        vcpu = card.rate("vcpu")
        assert vcpu
        # It used far more than the 100m that it requested, so use is what is paid.
        exact = vcpu.per_hour.scale(row.cpu_used_microseconds, 3_600_000_000)
        assert abs(charges[0].amount.pico - exact.pico) <= 1
        measurements.charge(charges)
        measurements.charge(charges)
        stored = measurements.charges()
        assert charges_total(stored) == charges_total(charges)

        budget = Budget("risk", Money.parse("1"), labels={"team": "risk"})
        state = budget_state(budget, stored, Money.zero(), end)
        same_month = start.month == end.month
        assert not same_month or state.month_to_date == charges_total(charges)

        seen = window(series, REF, "v1", start, end)
        assert round(seen.cpu_seconds * 10**6) == row.cpu_used_microseconds
        assert (seen.instances, seen.memory_peak) == (2, row.memory_peak_bytes)
