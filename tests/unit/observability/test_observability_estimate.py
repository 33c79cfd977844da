"""What a workload is estimated to cost a month, and what is said when it has no price."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from customhouse._kit.money import Money, total
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.cost import HOURS_PER_MONTH
from customhouse.core.errors import DeclarationError, PriceError
from customhouse.core.resource import Declaration, Location, Manifest, ResourceRef
from customhouse.core.workload import workload
from customhouse.observability.alternatives import LIMIT, alternatives
from customhouse.observability.estimate import (
    HELD,
    PriceSettings,
    change_costs,
    report,
    workload_cost,
)
from customhouse.observability.packing import whole_machines
from customhouse.observability.prices import PriceBook
from customhouse.observability.rates import RateCard

AWS = PriceSettings("aws", "us-east-1")
AZURE = PriceSettings("azure", "westeurope")
GOOGLE = PriceSettings("gcp", "us-central1")


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook.load()


def service(
    name: str = "fraud",
    *,
    cpu: str | None = "500m",
    memory: str | None = "512Mi",
    gpus: int = 0,
    product: str | None = None,
    low: int = 1,
    high: int = 1,
    spot: bool = False,
) -> Manifest:
    requests: dict[str, Any] = {}
    if cpu:
        requests["cpu"] = cpu
    if memory:
        requests["memory"] = memory
    if gpus:
        requests["nvidia.com/gpu"] = gpus
    selector = {"nvidia.com/gpu.product": product} if product else {}
    if spot:
        selector["customhouse.dev/capacity"] = "spot"
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "ml", "labels": {"customhouse.dev/team": "risk"}},
        "spec": {
            "predictor": {
                "minReplicas": low,
                "maxReplicas": high,
                "nodeSelector": selector,
                "model": {
                    "modelFormat": {"name": "onnx"},
                    "storageUri": "pvc://models/fraud/v1",
                    "resources": {"requests": requests},
                },
            }
        },
    }


def job(kind: str = "Job", annotations: dict[str, str] | None = None, **spec: Any) -> Manifest:
    template = {
        "spec": {
            "containers": [
                {"name": "t", "image": "x", "resources": {"requests": {"cpu": "2", "memory": "4Gi"}}},
            ]
        }
    }
    body: dict[str, Any] = {"template": template, **spec}
    if kind == "CronJob":
        body = {"schedule": spec.pop("schedule"), "jobTemplate": {"spec": {"template": template, **spec}}}
    return {
        "apiVersion": "batch/v1",
        "kind": kind,
        "metadata": {"name": "train", "namespace": "ml", "annotations": annotations or {}},
        "spec": body,
    }


def cost(manifest: Manifest, book: PriceBook, settings: PriceSettings = AWS) -> Any:
    work = workload(manifest)
    assert work is not None
    return workload_cost(work, book, settings, manifest)


def change(before: Manifest | None, after: Manifest | None) -> Change:
    present = after or before
    assert present is not None
    ref = ResourceRef.of(present)

    def declared(manifest: Manifest | None) -> Declaration | None:
        return None if manifest is None else Declaration(ref, manifest, Location("a.yaml"))

    operation = Operation.UPDATE if before and after else Operation.CREATE if after else Operation.DELETE
    return Change(operation, ref, declared(before), declared(after), None, Actor(ActorKind.PERSON, "Ada"))


def test_a_service_costs_its_requests_at_the_unit_rates_for_730_hours(book: PriceBook) -> None:
    found = cost(service(), book)
    card = RateCard(book, "aws", "us-east-1")
    vcpu, gib = card.rate("vcpu"), card.rate("GiB")
    assert vcpu
    assert gib
    expected = vcpu.per_hour.scale(500 * HOURS_PER_MONTH, 1000) + gib.per_hour.scale(HOURS_PER_MONTH, 2)
    assert found.monthly == found.low == found.high == expected
    assert found.unpriced == ()


def test_the_rows_of_the_breakdown_add_up_to_the_workload(book: PriceBook) -> None:
    for manifest in (service(low=3), service(gpus=1, product="NVIDIA-L4", low=2), job(activeDeadlineSeconds=1801)):
        found = cost(manifest, book)
        assert total(Money.parse(row["monthly"]) for row in found.breakdown) == found.monthly
        assert all(row["source"] and row["unit"] for row in found.breakdown)


def test_the_range_covers_the_replicas_of_the_autoscaler(book: PriceBook) -> None:
    found = cost(service(low=2, high=10), book)
    assert found.low == found.monthly
    assert found.high == found.monthly.scale(5)


def test_a_service_that_scales_to_zero_costs_one_replica_and_at_least_nothing(book: PriceBook) -> None:
    found = cost(service(low=0, high=3), book)
    assert found.low == Money.zero()
    assert found.monthly == cost(service(), book).monthly
    assert found.high == found.monthly.scale(3)


def test_eight_h100_cost_the_whole_machine_though_little_cpu_is_asked_for(book: PriceBook) -> None:
    found = cost(service(gpus=8, product="NVIDIA-H100-80GB-HBM3"), book)
    assert found.monthly == Money.parse("55.04").scale(HOURS_PER_MONTH)
    held = next(row for row in found.breakdown if row["item"] == HELD)
    assert "p5.48xlarge" in held["source"]
    assert "whole machine 40179.20 USD a month" in held["source"]


def test_one_h100_is_its_share_of_the_cheapest_machine_that_fits(book: PriceBook) -> None:
    found = cost(service(gpus=1, product="NVIDIA-H100-80GB-HBM3"), book, AZURE)
    machine = book.machine("azure", "westeurope", "Standard_NC40ads_H100_v5")
    assert machine
    assert found.monthly == machine.per_hour.scale(HOURS_PER_MONTH)


def test_cpu_that_takes_most_of_an_accelerated_machine_is_paid_for(book: PriceBook) -> None:
    small = cost(service(gpus=1, product="Tesla-T4", cpu="1", memory="1Gi"), book)
    large = cost(service(gpus=1, product="Tesla-T4", cpu="60", memory="1Gi"), book)
    assert small.monthly == Money.parse("0.526").scale(HOURS_PER_MONTH)
    # g4dn.16xlarge has one T4 and is taken whole; 60 of g4dn.metal's 96 vCPU would be 4.89 an hour.
    assert large.monthly == Money.parse("4.352").scale(HOURS_PER_MONTH)


def test_an_accelerator_that_google_prices_by_itself_is_added_to_cpu_and_memory(book: PriceBook) -> None:
    with_gpu = cost(service(gpus=2, product="nvidia-tesla-t4"), book, GOOGLE)
    without = cost(service(), book, GOOGLE)
    assert with_gpu.monthly - without.monthly == Money.parse("0.35").scale(2 * HOURS_PER_MONTH)


@pytest.mark.parametrize(
    ("gpus", "product", "says"),
    [
        (8, "NVIDIA-H900", "8 × NVIDIA-H900: no price in aws us-east-1"),
        (1, None, "1 × accelerator of an unnamed class"),
        (16, "NVIDIA-H100-80GB-HBM3", "16 × H100: no machine of aws us-east-1 that has a price is large enough"),
    ],
)
def test_an_accelerator_without_a_price_is_named_and_never_free(
    book: PriceBook, gpus: int, product: str | None, says: str
) -> None:
    found = cost(service(gpus=gpus, product=product), book)
    assert found.unpriced == (says,)
    shown = report([change(None, service(gpus=gpus, product=product))], book, AWS)
    assert shown.unpriced == (f"InferenceService ml/fraud: {says}",)


def test_a_label_that_names_an_accelerator_otherwise_has_the_price_of_its_class(book: PriceBook) -> None:
    found = cost(service(gpus=1, product="NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition"), book)
    assert found.monthly == Money.parse("3.36312").scale(HOURS_PER_MONTH)


def test_a_container_that_requests_nothing_is_unpriced(book: PriceBook) -> None:
    found = cost(service(cpu=None, memory=None), book)
    assert found.monthly == Money.zero()
    assert found.unpriced == (
        "container kserve-container: no cpu request",
        "container kserve-container: no memory request",
    )


def test_spot_without_a_spot_price_costs_on_demand_and_says_so(book: PriceBook) -> None:
    found = cost(service(spot=True), book)
    assert found.monthly == cost(service(), book).monthly
    assert all("no spot price in the book" in row["source"] for row in found.breakdown)
    assert cost(service(spot=True), book, GOOGLE).monthly < cost(service(), book, GOOGLE).monthly


def test_a_job_is_priced_for_its_deadline_and_the_runs_it_states(book: PriceBook) -> None:
    hour = cost(job(activeDeadlineSeconds=3600), book)
    assert cost(job(activeDeadlineSeconds=1800), book).monthly.scale(2) == hour.monthly
    thirty = cost(job(annotations={"customhouse.dev/runs-per-month": "30"}, activeDeadlineSeconds=3600), book)
    assert thirty.monthly == hour.monthly.scale(30)
    assert "30 runs a month" in thirty.breakdown[0]["source"]


def test_a_job_without_a_deadline_says_what_was_assumed(book: PriceBook) -> None:
    found = cost(job(), book)
    assert "assumed: no activeDeadlineSeconds" in found.breakdown[0]["source"]
    settings = PriceSettings("aws", "us-east-1", job_hours=Fraction(1, 2), job_runs=4)
    assert cost(job(), book, settings).monthly == found.monthly.scale(2)


def test_an_expected_duration_prices_a_job_and_the_deadline_bounds_it(book: PriceBook) -> None:
    found = cost(job(annotations={"customhouse.dev/expected-duration": "15m"}, activeDeadlineSeconds=3600), book)
    assert found.high == found.monthly.scale(4)


def test_a_cron_job_is_priced_by_its_schedule(book: PriceBook) -> None:
    hourly = cost(job("CronJob", schedule="0 * * * *", activeDeadlineSeconds=3600), book)
    always = cost(service(cpu="2", memory="4Gi"), book)
    assert hourly.monthly == always.monthly


@pytest.mark.parametrize(
    "annotations",
    [
        {"customhouse.dev/runs-per-month": "often"},
        {"customhouse.dev/runs-per-month": "-1"},
        {"customhouse.dev/expected-duration": "soon"},
        {"customhouse.dev/expected-duration": "-1h"},
    ],
)
def test_a_broken_annotation_is_an_error(book: PriceBook, annotations: dict[str, str]) -> None:
    with pytest.raises(DeclarationError):
        cost(job(annotations=annotations), book)


def test_a_daemon_set_is_counted_per_node_and_the_missing_number_is_said(book: PriceBook) -> None:
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "ml"},
        "spec": {"template": job()["spec"]["template"]},
    }
    unknown = cost(manifest, book)
    assert "every node" in unknown.unpriced[0]
    known = cost(manifest, book, PriceSettings("aws", "us-east-1", daemonset_nodes=3))
    assert known.unpriced == ()
    assert known.monthly == unknown.monthly.scale(3)


def test_a_report_shows_before_and_after_and_its_totals_are_its_workloads(book: PriceBook) -> None:
    before, after = service(low=1), service(low=4, high=6)
    shown = report([change(before, after), change(None, service("new")), change(service("old"), None)], book, AWS)
    one = cost(service(), book).monthly
    assert shown.before == one.scale(2)
    assert shown.after == one.scale(5)
    assert (shown.low, shown.high) == (one.scale(5), one.scale(7))
    assert total(work.monthly for work in shown.workloads) == shown.after
    document = shown.to_json()
    assert Decimal(document["monthly_after"]) == one.scale(5).to_decimal()
    assert document["book"] == {"digest": book.digest, "as_of": "2026-07-20T13:44:30Z"}


def test_objects_that_run_nothing_cost_nothing_and_are_not_listed(book: PriceBook) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}}
    assert change_costs([change(None, config)], book, AWS) == ()
    assert report([], book, AWS).after == Money.zero()


def test_an_unpriced_state_before_the_change_is_said_too(book: PriceBook) -> None:
    shown = report([change(service(gpus=1), service())], book, AWS)
    assert shown.unpriced == ("InferenceService ml/fraud (before): 1 × accelerator of an unnamed class",)


def test_a_setting_that_the_book_cannot_serve_is_an_error(book: PriceBook) -> None:
    with pytest.raises(PriceError, match="eu-west-1"):
        cost(service(), book, PriceSettings("aws", "eu-west-1"))
    with pytest.raises(PriceError, match="EUR"):
        cost(service(), book, PriceSettings(currency="EUR"))


@pytest.mark.parametrize("changes", [{"cpu": "9e18"}, {"memory": "8Ei"}, {"high": 10**30}, {"low": 10**18}])
def test_a_declaration_of_absurd_size_is_refused_and_breaks_nothing(book: PriceBook, changes: dict[str, Any]) -> None:
    with pytest.raises((PriceError, DeclarationError), match=r"1000000000 USD a month|no machine|whole number"):
        cost(service(**changes), book)


def test_an_unnamed_accelerator_is_shown_classes_that_have_a_price(book: PriceBook) -> None:
    work = workload(service(gpus=2))
    assert work
    found = alternatives(work, book, AWS)
    assert found
    assert all(item.saving == Money.zero() and "2 × unknown" in item.description for item in found)


def test_the_denied_eight_h100_are_shown_one_h100_and_smaller_classes(book: PriceBook) -> None:
    work = workload(service(gpus=8, product="NVIDIA-H100-80GB-HBM3"))
    assert work
    found = alternatives(work, book, AWS)
    described = [item.description for item in found]
    assert any(text.startswith("1 × H100 instead of 8 × H100 (80 GiB") for text in described)
    assert any(text.startswith("1 × L4 instead of 8 × H100 (24 GiB") for text in described)
    assert len(found) <= LIMIT
    assert [item.saving.pico for item in found] == sorted((item.saving.pico for item in found), reverse=True)
    now = cost(service(gpus=8, product="NVIDIA-H100-80GB-HBM3"), book).monthly
    assert all(item.monthly + item.saving == now for item in found)


def test_alternatives_stay_within_the_classes_that_the_tier_allows(book: PriceBook) -> None:
    work = workload(service(gpus=8, product="NVIDIA-H100-80GB-HBM3"))
    assert work
    for item in alternatives(work, book, AWS, ["L4"]):
        assert "× L4 " in item.description


def test_alternatives_never_change_the_maker_or_the_architecture(book: PriceBook) -> None:
    work = workload(service(gpus=1, product="NVIDIA-H100-80GB-HBM3"))
    assert work
    text = " ".join(item.description for item in alternatives(work, book, AWS))
    assert not any(name in text for name in ("RADEON", "GAUDI", "T4G", "ALVEO"))


def test_another_region_is_named_when_it_is_much_cheaper(book: PriceBook) -> None:
    work = workload(service(low=2))
    assert work
    found = alternatives(work, book, PriceSettings("azure", "brazilsouth"))
    assert any(item.description.startswith("region ") for item in found)
    alone = alternatives(work, book, PriceSettings("azure", "brazilsouth"), other_regions=False)
    assert [item.description for item in alone] == ["1 replica instead of 2"]


def test_spot_is_an_alternative_only_where_it_has_a_price(book: PriceBook) -> None:
    work = workload(service())
    assert work
    assert [item.description for item in alternatives(work, book, GOOGLE)] == [
        "interruptible (spot) capacity instead of on-demand"
    ]
    assert alternatives(work, book, AWS) == ()


def test_the_whole_machine_figure_packs_replicas(book: PriceBook) -> None:
    work = workload(service(gpus=1, product="Tesla-T4", cpu="4", memory="8Gi", low=3))
    assert work
    found = whole_machines(work, book, AWS)
    assert found
    assert (found.instance_type, found.count) == ("g4dn.xlarge", 3)
    assert found.monthly == Money.parse("0.526").scale(3 * HOURS_PER_MONTH)
    unnamed = workload(service(gpus=1))
    assert unnamed
    assert whole_machines(unnamed, book, AWS) is None


def test_whole_machines_are_amd64_unless_the_workload_asks_otherwise(book: PriceBook) -> None:
    manifest = service(cpu="2", memory="4Gi", low=4)
    work = workload(manifest)
    assert work
    found = whole_machines(work, book, AWS)
    assert found
    shape = book.shape("aws", found.instance_type)
    assert shape
    assert shape.architecture == "amd64"
    manifest["spec"]["predictor"]["nodeSelector"]["kubernetes.io/arch"] = "arm64"
    work = workload(manifest)
    assert work
    arm = whole_machines(work, book, AWS)
    assert arm
    shape = book.shape("aws", arm.instance_type)
    assert shape
    assert shape.architecture == "arm64"
