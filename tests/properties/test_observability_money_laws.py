"""Laws of money: whatever is counted is counted once, and parts add up to the pico-unit."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from customhouse._kit.money import Money, total
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.cost import Charge, Usage
from customhouse.core.errors import PriceError
from customhouse.core.observation import Observation
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.core.workload import workload
from customhouse.observability.allocate import allocate, by_label, charges_total
from customhouse.observability.budgets import Budget, spent
from customhouse.observability.estimate import PriceSettings, report
from customhouse.observability.prices import PACKAGED, PriceBook
from customhouse.observability.rates import RateCard
from customhouse.observability.telemetry import quantile
from customhouse.observability.usage import CPU_SECONDS, REQUESTS, usage

REF = ResourceRef("v1", "Pod", "ml", "p")
T0 = datetime(2026, 7, 1, tzinfo=UTC)
BOOK = PriceBook.load()
CARDS = [RateCard(BOOK, *place) for place in (("gcp", "us-central1"), ("aws", "us-east-1"), ("azure", "eastus"))]
WORK = workload(
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "ml"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "333m", "memory": "100Mi"}}}]},
    }
)

amounts = st.integers(0, 10**15)
rows = st.builds(
    lambda release, hour, ms, cpu, used, memory, peak, gpu: Usage(
        REF,
        f"v{release}",
        T0 + timedelta(hours=hour),
        T0 + timedelta(hours=hour + 1),
        ms,
        cpu,
        used,
        memory,
        peak,
        gpu,
    ),
    st.integers(0, 5),
    st.integers(0, 2),
    st.integers(0, 10**7),
    amounts,
    amounts,
    st.integers(0, 10**20),
    st.integers(0, 2**40),
    st.dictionaries(st.sampled_from(["T4", "H100", "H900"]), st.integers(0, 10**8), max_size=2),
)
usages = st.lists(rows, max_size=12, unique_by=lambda row: (row.release, row.start))


@given(usages, st.sampled_from(CARDS), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_charges_add_up_to_the_exact_total_of_each_interval_in_any_order(
    given_rows: list[Usage], card: RateCard, shuffle: random.Random
) -> None:
    charges = allocate(given_rows, card)
    for start in {row.start for row in given_rows}:
        exact = Fraction(0)
        for row in given_rows:
            if row.start != start:
                continue
            cpu = max(row.cpu_request_millicore_milliseconds, row.cpu_used_microseconds)
            memory = max(row.memory_request_byte_milliseconds, row.memory_peak_bytes * row.replica_milliseconds)
            units = {"vcpu": Fraction(cpu, 3_600_000_000), "GiB": Fraction(memory, 2**30 * 3_600_000)}
            units |= {name: Fraction(ms, 3_600_000) for name, ms in row.gpu_milliseconds.items()}
            for unit, quantity in units.items():
                rate = card.rate(unit)
                exact += quantity * rate.per_hour.pico if rate else 0
        assert total(c.amount for c in charges if c.start == start).pico == round(exact)
    mixed = list(given_rows)
    shuffle.shuffle(mixed)
    assert allocate(mixed, card) == charges
    assert total(by_label(charges, "x").values()) == charges_total(charges)
    keys = [(c.resource, c.release, c.start, c.end, c.category) for c in charges]
    assert len(keys) == len(set(keys))
    assert all(c.amount.pico >= 0 for c in charges)


samples = st.lists(
    st.tuples(st.integers(0, 3_600_000), st.floats(0, 1e6), st.integers(0, 10**6)), min_size=1, max_size=12
)


@given(samples, st.lists(st.integers(1, 3_599_999), max_size=4), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_cuts_of_an_hour_count_the_same_usage(
    points: list[tuple[int, float, int]], cuts: list[int], shuffle: random.Random
) -> None:
    assert WORK is not None
    observations = []
    for ms, cpu, requests in points:
        at = T0 + timedelta(milliseconds=ms)
        observations.append(Observation(at, "t", REF, "v1", CPU_SECONDS, "s", cpu, "a"))
        observations.append(Observation(at, "t", REF, "v1", REQUESTS, "1", requests, "a", {"code": "200"}))
    shuffle.shuffle(observations)
    bounds = sorted({0, 3_600_001, *cuts})
    intervals = [(T0 + timedelta(milliseconds=a), T0 + timedelta(milliseconds=b)) for a, b in pairwise(bounds)]
    known = {(REF, "v1"): WORK}
    parts = [row for start, end in intervals for row in usage(observations, known, start, end).rows]
    (whole,) = usage(observations + observations[:3], known, intervals[0][0], intervals[-1][1]).rows
    for field in (
        "replica_milliseconds",
        "cpu_used_microseconds",
        "cpu_request_millicore_milliseconds",
        "memory_request_byte_milliseconds",
        "requests",
    ):
        assert sum(getattr(part, field) for part in parts) == getattr(whole, field)


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**6), st.lists(st.integers(-100, 2_000_000), max_size=5))
def test_any_cuts_of_time_spend_a_charge_exactly_once(pico: int, seconds: int, cuts: list[int]) -> None:
    charge = Charge(REF, "v1", "", T0, T0 + timedelta(seconds=seconds), "compute", Money(pico))
    bounds = sorted({-200, 3_000_000, *cuts})
    budget = Budget("all", Money.parse("1"))
    parts = [spent(budget, [charge], T0 + timedelta(seconds=a), T0 + timedelta(seconds=b)) for a, b in pairwise(bounds)]
    assert total(parts) == charge.amount


PACKED = PACKAGED.read_bytes()
SHOWN = [("aws", "us-east-1", "p5.48xlarge"), ("azure", "eastus", "Standard_D4s_v5")]


@given(st.lists(st.tuples(st.integers(0, len(PACKED) - 1), st.integers(1, 255)), min_size=1, max_size=3))
@settings(deadline=None, max_examples=150)
@example([(0, 255)])
@example([(len(PACKED) - 4, 1)])
def test_a_damaged_archive_is_refused_or_gives_the_prices_that_were_packaged(flips: list[tuple[int, int]]) -> None:
    data = bytearray(PACKED)
    for place, mask in flips:
        data[place] ^= mask
    try:
        book = PriceBook.read(bytes(data), "damaged")
        prices = [book.machine(*key) for key in SHOWN]
        shapes = [book.shape(provider, name) for provider, _, name in SHOWN]
    except PriceError:
        return
    assert book.digest == BOOK.digest
    assert prices == [BOOK.machine(*key) for key in SHOWN]
    assert shapes == [BOOK.shape(provider, name) for provider, _, name in SHOWN]


HEADER = b"provider,region,instance_type,usd_per_hour,as_of\n"


@given(st.binary(max_size=200), st.sampled_from([b"", b"PK", HEADER, HEADER + b'aws,r,"']))
@settings(deadline=None)
def test_any_bytes_are_a_book_or_a_price_error(data: bytes, start: bytes) -> None:
    try:
        book = PriceBook.read(start + data, "any.csv")
    except PriceError:
        return
    for provider in book.providers():
        for region in book.regions(provider):
            RateCard(book, provider, region).rate("vcpu")


containers = st.fixed_dictionaries(
    {"cpu": st.integers(1, 200_000).map(lambda m: f"{m}m"), "memory": st.integers(1, 2**42).map(str)},
    optional={"nvidia.com/gpu": st.integers(1, 9)},
)


@given(
    st.lists(
        st.tuples(
            containers,
            st.sampled_from(["NVIDIA-H100-80GB-HBM3", "Tesla-T4", "NVIDIA-L4", "NVIDIA-H900"]),
            st.integers(0, 40),
            st.integers(0, 40),
        ),
        max_size=4,
    ),
    st.sampled_from(["aws/us-east-1", "azure/eastus", "gcp/us-central1"]),
)
@settings(deadline=None, max_examples=60)
def test_a_report_is_the_sum_of_its_workloads_and_each_the_sum_of_its_rows(
    declared: list[tuple[dict[str, object], str, int, int]], place: str
) -> None:
    changes = []
    for index, (requests, product, low, high) in enumerate(declared):
        manifest = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": f"s{index}", "namespace": "ml"},
            "spec": {
                "predictor": {
                    "minReplicas": low,
                    "maxReplicas": high,
                    "nodeSelector": {"nvidia.com/gpu.product": product},
                    "model": {"storageUri": "pvc://m/x", "resources": {"requests": requests}},
                }
            },
        }
        declaration = Declaration(ResourceRef.of(manifest), manifest, Location("a.yaml"))
        actor = Actor(ActorKind.PERSON, "Ada")
        changes.append(Change(Operation.CREATE, declaration.ref, None, declaration, None, actor))
    provider, _, region = place.partition("/")
    found = report(changes, BOOK, PriceSettings(provider, region))
    assert total(work.monthly for work in found.workloads) == found.after
    assert total(work.low for work in found.workloads) == found.low
    assert total(work.high for work in found.workloads) == found.high
    for work, (requests, product, _, _) in zip(found.workloads, declared, strict=True):
        assert total(Money.parse(row["monthly"]) for row in work.breakdown) == work.monthly
        assert work.low <= work.monthly <= work.high
        if product == "NVIDIA-H900" and "nvidia.com/gpu" in requests:
            assert work.unpriced
        if not work.unpriced:
            assert work.monthly.pico > 0


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_grow_with_their_rank_and_stay_in_the_buckets(counts: list[int], one: float, other: float) -> None:
    buckets, running = [], 0
    for index, count in enumerate(counts):
        running += count
        buckets.append((float(index + 1), running))
    low, high = (quantile(buckets, q) for q in sorted((one, other)))
    if running == 0:
        assert low is None
        return
    assert low is not None
    assert high is not None
    assert 0 <= low <= high + 1e-9
    assert high <= len(counts)
