"""What becomes of a Job's run in the journal and in the money."""

from __future__ import annotations

from datetime import UTC, datetime

from customhouse.app import journal
from customhouse.app.governance import governance
from customhouse.app.memory import Memory
from customhouse.app.metering import Metering
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.testing.memory import MemoryMeasurements, MemoryStateStore

AT = datetime(2026, 3, 1, tzinfo=UTC)
REF = ResourceRef("batch/v1", "Job", "fraud", "train")
JOB = Declaration(
    REF, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"}}, Location("jobs/train.yaml")
)


def test_the_same_job_run_again_is_another_entry() -> None:
    first, second = (
        journal.job_finished(JOB, "c" * 40, "complete", "", AT, finished=finished)
        for finished in ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z")
    )
    assert first.key != second.key


def test_a_run_that_was_lost_is_recorded_and_charges_nothing() -> None:
    metering = Metering(Memory(MemoryStateStore()), MemoryMeasurements())
    lost = {"succeeded": False, "status": -9, "reason": "Lost", "attempts": 1}
    assert metering.charge_job(governance(None, None), REF, "sha256:" + "0" * 64, lost) == ()
