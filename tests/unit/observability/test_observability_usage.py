"""Usage and Charges from counters: restarts, gaps, duplicates, disorder, and money that adds up."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from customhouse._kit.money import Money, MoneyError, total
from customhouse.core.cost import Usage
from customhouse.core.observation import Observation
from customhouse.core.resource import ResourceRef
from customhouse.core.workload import Workload, workload
from customhouse.observability.allocate import (
    UNPRICED_LABEL,
    Owner,
    allocate,
    by_label,
    charges_total,
    unit_cost,
)
from customhouse.observability.estimate import PriceSettings, workload_cost
from customhouse.observability.prices import PriceBook
from customhouse.observability.rates import RateCard
from customhouse.observability.usage import (
    CPU_SECONDS,
    ERRORS,
    MEMORY_BYTES,
    REQUESTS,
    START_TIME,
    UsageReport,
    usage,
)

REF = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "ml", "fraud")
T0 = datetime(2026, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def card() -> RateCard:
    return RateCard(PriceBook.load(), "gcp", "us-central1")


@pytest.fixture
def work() -> Workload:
    return declared()


def declared(cpu: str = "500m", memory: str = "1Gi", gpus: int = 0, product: str = "nvidia-tesla-t4") -> Workload:
    requests = {"cpu": cpu, "memory": memory, **({"nvidia.com/gpu": gpus} if gpus else {})}
    model = {"storageUri": "pvc://m/x", "resources": {"requests": requests}}
    found = workload(
        {
            "apiVersion": REF.api_version,
            "kind": REF.kind,
            "metadata": {"name": REF.name, "namespace": REF.namespace},
            "spec": {"predictor": {"nodeSelector": {"nvidia.com/gpu.product": product}, "model": model}},
        }
    )
    assert found
    return found


def seen(
    metric: str, second: float, value: float, instance: str = "a", release: str = "v1", **labels: str
) -> Observation:
    return Observation(T0 + timedelta(seconds=second), "test", REF, release, metric, "1", value, instance, labels)


def cpu(*samples: tuple[float, float], instance: str = "a", release: str = "v1") -> list[Observation]:
    return [seen(CPU_SECONDS, second, value, instance, release) for second, value in samples]


def counted(observations: list[Observation], work: Workload | None, start: float = 0, end: float = 3600) -> UsageReport:
    known = {} if work is None else {(REF, "v1"): work, (REF, "v2"): work}
    return usage(observations, known, T0 + timedelta(seconds=start), T0 + timedelta(seconds=end))


def test_a_replica_reserves_what_it_requests_for_as_long_as_it_is_seen(work: Workload) -> None:
    row = counted(cpu((0, 1.0), (60, 2.0), (100, 2.5)), work).rows[0]
    assert row.replica_milliseconds == 100_000
    assert row.cpu_request_millicore_milliseconds == 500 * 100_000
    assert row.memory_request_byte_milliseconds == 2**30 * 100_000
    assert row.cpu_used_microseconds == 2_500_000


def test_two_replicas_count_twice(work: Workload) -> None:
    row = counted(cpu((0, 0), (60, 1)) + cpu((0, 0), (60, 1), instance="b"), work).rows[0]
    assert (row.replica_milliseconds, row.cpu_used_microseconds) == (120_000, 2_000_000)


def test_a_counter_that_starts_again_has_grown_from_zero(work: Workload) -> None:
    row = counted(cpu((0, 10), (60, 12), (120, 3), (180, 4)), work).rows[0]
    assert row.cpu_used_microseconds == 16_000_000


def test_a_restart_counts_for_counters_that_have_outgrown_their_old_value(work: Workload) -> None:
    observations = [
        *cpu((0, 10), (60, 1)),
        seen(REQUESTS, 0, 5, code="200"),
        seen(REQUESTS, 60, 8, code="200"),
    ]
    assert counted(observations, work).rows[0].requests == 13


def test_a_gap_without_restart_goes_on_counting(work: Workload) -> None:
    row = counted(cpu((0, 0), (3000, 100)), work).rows[0]
    assert (row.replica_milliseconds, row.cpu_used_microseconds) == (3_000_000, 100_000_000)


def test_a_long_gap_with_a_restart_is_not_charged_whole(work: Workload) -> None:
    row = counted(cpu((0, 50), (3000, 1)), work).rows[0]
    assert row.replica_milliseconds == 300_000
    assert row.cpu_used_microseconds == 51_000_000


def test_duplicates_and_disorder_change_nothing(work: Workload) -> None:
    observations = [
        *cpu((0, 0), (60, 2), (120, 5)),
        seen(MEMORY_BYTES, 60, 100),
        seen(MEMORY_BYTES, 120, 300),
        seen(REQUESTS, 120, 7, code="200"),
        seen(ERRORS, 120, 2),
    ]
    assert counted([*reversed(observations), *observations], work) == counted(observations, work)


def test_intervals_that_follow_one_another_count_everything_once(work: Workload) -> None:
    observations = cpu((10, 1.1), (50, 2.3), (70, 0.4), (130, 5.7), (170, 6.1))
    whole = counted(observations, work, 0, 180).rows[0]
    parts = [counted(observations, work, start, start + 60).rows[0] for start in (0, 60, 120)]
    assert sum(part.cpu_used_microseconds for part in parts) == whole.cpu_used_microseconds
    assert sum(part.replica_milliseconds for part in parts) == whole.replica_milliseconds


def test_the_last_sample_before_the_interval_is_the_base_line(work: Workload) -> None:
    row = counted(cpu((-30, 100), (30, 101), (3601, 200)), work).rows[0]
    assert (row.cpu_used_microseconds, row.replica_milliseconds) == (1_000_000, 60_000)


def test_a_process_that_says_when_it_started_is_counted_from_then(work: Workload) -> None:
    started = T0.timestamp() + 5
    row = counted([*cpu((20, 1), (40, 2)), seen(START_TIME, 20, started), seen(START_TIME, 40, started)], work).rows[0]
    assert row.replica_milliseconds == 35_000
    future = counted([*cpu((20, 1), (40, 2)), seen(START_TIME, 20, started + 999)], work).rows[0]
    assert future.replica_milliseconds == 20_000


def test_the_gateway_counts_requests_and_is_no_replica(work: Workload) -> None:
    observations = [
        seen(REQUESTS, 0, 0, "gateway", code="200"),
        seen(REQUESTS, 60, 40, "gateway", code="200"),
        seen(REQUESTS, 60, 2, "gateway", code="500"),
        seen(ERRORS, 60, 2, "gateway"),
    ]
    row = counted(observations, work).rows[0]
    assert (row.replica_milliseconds, row.requests, row.errors) == (0, 42, 2)


def test_releases_are_counted_apart(work: Workload) -> None:
    rows = counted(cpu((0, 0), (60, 1)) + cpu((0, 0), (60, 3), instance="b", release="v2"), work).rows
    assert [(row.release, row.cpu_used_microseconds) for row in rows] == [("v1", 1_000_000), ("v2", 3_000_000)]


def test_broken_numbers_are_left_out_and_named(work: Workload) -> None:
    bad = [seen(CPU_SECONDS, 70, value) for value in (math.nan, math.inf, -1.0)]
    found = counted([*cpu((0, 0), (60, 1)), *bad], work)
    assert found.rows == counted(cpu((0, 0), (60, 1)), work).rows
    assert len(found.problems) == 3
    naive = replace(seen(CPU_SECONDS, 70, 2), at=datetime(2026, 7, 1))  # noqa: DTZ001 (the broken input)
    assert len(counted([naive], work).problems) == 1


def test_a_release_that_nobody_declared_is_said(work: Workload) -> None:
    found = counted(cpu((0, 0), (60, 1)), None)
    assert found.rows[0].cpu_request_millicore_milliseconds == 0
    assert "not declared" in found.problems[0]


def test_an_empty_interval_is_refused(work: Workload) -> None:
    with pytest.raises(ValueError, match="is empty"):
        counted([], work, 60, 60)


def row(**changes: object) -> Usage:
    base = Usage(REF, "v1", T0, T0 + HOUR, 3_600_000, 3_600_000 * 500, 0, 3_600_000 * 2**30, 0)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_request_for_an_hour_costs_the_unit_rates(card: RateCard) -> None:
    charges = allocate([row()], card)
    assert [(c.category, str(c.amount)) for c in charges] == [("compute", "0.0158055"), ("memory", "0.004237")]


def test_use_above_the_request_is_charged_and_use_below_is_not_deducted(card: RateCard) -> None:
    above = allocate([row(cpu_used_microseconds=2 * 3_600_000_000)], card)
    below = allocate([row(cpu_used_microseconds=1)], card)
    assert str(above[0].amount) == "0.063222"
    assert below[0].amount == allocate([row()], card)[0].amount
    peak = allocate([row(memory_peak_bytes=3 * 2**30)], card)
    assert str(peak[1].amount) == "0.012711"


def test_a_month_as_declared_is_charged_what_was_estimated(card: RateCard, work: Workload) -> None:
    hours = 730
    month = row(
        end=T0 + hours * HOUR,
        replica_milliseconds=hours * 3_600_000,
        cpu_request_millicore_milliseconds=work.cpu * hours * 3_600_000,
        memory_request_byte_milliseconds=work.memory * hours * 3_600_000,
    )
    estimated = workload_cost(work, card.book, PriceSettings("gcp", "us-central1"))
    assert charges_total(allocate([month], card)) == estimated.monthly


def test_accelerators_are_charged_for_the_time_of_the_replica(card: RateCard) -> None:
    charges = allocate([row(gpu_milliseconds={"T4": 2 * 3_600_000})], card)
    assert [(c.category, str(c.amount)) for c in charges][2] == ("accelerator", "0.70")


def test_an_unpriced_accelerator_is_a_row_of_its_own_with_amount_zero(card: RateCard) -> None:
    charges = allocate([row(gpu_milliseconds={"H900": 5, "T4": 3_600_000})], card)
    assert [c.category for c in charges] == ["compute", "memory", "accelerator", "unpriced"]
    assert charges[-1].amount == Money.zero()
    assert charges[-1].labels[UNPRICED_LABEL] == "H900"


def test_usage_of_a_region_without_unit_rates_is_unpriced_and_not_free(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("provider,region,instance_type,usd_per_hour,as_of\nlab,hall,box,1,2026-01-01\n")
    charges = allocate([row()], RateCard(PriceBook.load(path), "lab", "hall"))
    assert [(c.category, c.labels[UNPRICED_LABEL]) for c in charges] == [("unpriced", "vcpu, GiB")]


def test_pico_units_that_rounding_leaves_go_to_the_largest_remainders(card: RateCard) -> None:
    rows = [row(release=f"v{n}", cpu_request_millicore_milliseconds=7 * n + 1) for n in range(20)]
    charges = allocate(rows, card)
    rates = {"compute": card.rate("vcpu"), "memory": card.rate("GiB")}
    exact = sum(
        r.cpu_request_millicore_milliseconds * rates["compute"].per_hour.pico / 3_600_000_000  # type: ignore[union-attr]
        for r in rows
    )
    compute = total(c.amount for c in charges if c.category == "compute")
    assert abs(compute.pico - exact) <= 20
    assert allocate(list(reversed(rows)), card) == charges


def test_charges_carry_the_artifact_and_the_labels_of_their_release(card: RateCard) -> None:
    owner = Owner("sha256:" + "a" * 64, {"customhouse.dev/team": "risk"})
    charges = allocate([row(), row(release="v2")], card, {(REF, "v1"): owner})
    assert charges[0].artifact == owner.artifact
    assert by_label(charges, "customhouse.dev/team") == {
        "": charges[2].amount + charges[3].amount,
        "risk": charges[0].amount + charges[1].amount,
    }
    assert total(by_label(charges, "customhouse.dev/team").values()) == charges_total(charges)


def test_spot_releases_are_charged_at_spot_rates(card: RateCard) -> None:
    spot = RateCard(card.book, "gcp", "us-central1", spot=True)
    charges = allocate([row(), row(release="v2")], card, spot=spot, spot_releases=frozenset({(REF, "v2")}))
    assert charges[2].amount < charges[0].amount


def test_the_cost_of_a_thousand_predictions_needs_predictions() -> None:
    assert unit_cost(Money.parse("3"), 2_000) == Money.parse("1.5")
    assert unit_cost(Money.parse("3"), 0) is None


def test_mixed_currencies_are_never_added(card: RateCard) -> None:
    charges = allocate([row()], card)
    euro = replace(charges[0], amount=Money(1, "EUR"))
    with pytest.raises(MoneyError):
        charges_total([*charges, euro])
