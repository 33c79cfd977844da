"""What every kind of the table costs, and what other objects of the same state change about it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from customhouse._kit.money import Money, total
from customhouse.core.beside import Beside, beside
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.core.cost import WorkloadCost
from customhouse.core.errors import DeclarationError
from customhouse.core.kinds import kind_of
from customhouse.core.resource import Declaration, Location, Manifest, ResourceRef
from customhouse.observability.estimate import PriceSettings, change_costs, declared_cost, report, rescaled_costs
from customhouse.observability.prices import PriceBook
from kind_samples import SAMPLES, Sample

GOOGLE = PriceSettings("gcp", "us-central1")
AWS = PriceSettings()
OWN = b"""provider,region,instance_type,pricing,usd_per_hour,as_of
aws,us-east-1,unit/storage/gp3,OnDemand,0.0001,2026-11-01
aws,us-east-1,unit/storage,OnDemand,0.0002,2026-11-01
aws,us-east-1,unit/egress,OnDemand,0.09,2026-11-01
"""


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook.load()


def declared(manifest: Manifest) -> Declaration:
    return Declaration(ResourceRef.of(manifest), manifest, Location("a.yaml"))


def cost(
    manifest: Manifest, book: PriceBook, settings: PriceSettings = AWS, around: tuple[Manifest, ...] = ()
) -> WorkloadCost:
    found = declared_cost(declared(manifest), book, settings, beside(declared(item) for item in around))
    assert found is not None
    return found


def thing(kind: str, api_version: str, spec: Any, name: str = "x", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def deployment(replicas: int = 1, annotations: dict[str, str] | None = None, **pod: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "r/c:1", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
    spec = {"replicas": replicas, "template": {"spec": {"containers": [container], **pod}}}
    return thing("Deployment", "apps/v1", spec, "web", annotations=annotations or {})


def scaler(low: int, high: int, kind: str = "Deployment", name: str = "web") -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": kind, "name": name}
    spec = {"scaleTargetRef": target, "minReplicas": low, "maxReplicas": high}
    return thing("HorizontalPodAutoscaler", "autoscaling/v2", spec, "scale")


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_every_kind_of_the_table_is_priced_and_its_rows_add_up(sample: Sample, book: PriceBook) -> None:
    found = declared_cost(declared(sample.manifest()), book, AWS)
    row = kind_of(sample.api_version, sample.kind)
    if found is None:
        assert row is None or row.template or not row.pods
        return
    assert total((Money.parse(item["monthly"]) for item in found.breakdown), "USD") == found.monthly
    assert found.low <= found.monthly <= found.high
    pods = sum(most for _, _, most, _ in sample.runs)
    assert (found.high.pico > 0) == (pods > 0 or sample.kind == "NodePool")
    assert found.unpriced == () or sample.kind == "DaemonSet"


def test_sets_of_pods_are_priced_each_by_its_own_size_and_number(book: PriceBook) -> None:
    sample = next(one for one in SAMPLES if one.kind == "LeaderWorkerSet")
    rows = cost(sample.manifest(), book).breakdown
    assert {row["component"] for row in rows} == {"leader", "worker"}
    accelerators = [row for row in rows if row["item"] == "accelerator"]
    assert [(row["component"], row["quantity"], row["unit"]) for row in accelerators] == [("worker", "12", "H100")]


def test_what_a_pod_reserves_as_a_whole_is_paid_for(book: PriceBook) -> None:
    whole = {"resources": {"requests": {"cpu": "64", "memory": "256Gi"}}}
    large = cost(deployment(**whole), book)
    assert large.monthly.pico > 30 * cost(deployment(), book).monthly.pico
    bare = deployment(**whole)
    del bare["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert cost(bare, book).monthly == large.monthly
    assert cost(bare, book).unpriced == ()


def test_an_autoscaler_gives_its_target_the_range(book: PriceBook) -> None:
    alone = cost(deployment(3), book)
    scaled = cost(deployment(3), book, around=(scaler(2, 10),))
    assert alone.low == alone.monthly == alone.high
    each = alone.monthly.scale(1, 3)
    assert [abs(amount.pico - each.pico * n) < 100 for amount, n in ((scaled.low, 2), (scaled.high, 10))] == [True] * 2
    assert scaled.monthly == scaled.low
    assert cost(deployment(3), book, around=(scaler(2, 10, name="other"),)) == alone


def test_keda_scales_from_nothing_to_its_default_of_a_hundred(book: PriceBook) -> None:
    keda = thing("ScaledObject", "keda.sh/v1alpha1", {"scaleTargetRef": {"name": "web"}})
    found = cost(deployment(3), book, around=(keda,))
    one = cost(deployment(1), book).monthly
    assert (found.low, found.monthly) == (Money.zero("USD"), one)
    assert abs(found.high.pico - 100 * one.pico) < 1000


def test_two_autoscalers_of_one_target_count_with_the_wider_range() -> None:
    found = beside([declared(scaler(2, 5)), declared(scaler(1, 3))])
    assert (found.ranges["default", "Deployment", "web"].low, found.ranges["default", "Deployment", "web"].high) == (
        1,
        5,
    )


def test_an_autoscaler_that_changes_alone_changes_what_its_target_costs(book: PriceBook) -> None:
    target, old, new = declared(deployment()), declared(scaler(1, 2)), declared(scaler(5, 50))
    change = Change(Operation.UPDATE, new.ref, old, new, None, Actor(ActorKind.PERSON, "Ada"))
    before, after = beside([target, old]), beside([target, new])
    (found,) = rescaled_costs([change], [target, old], [target, new], book, AWS, before, after)
    assert found.ref == target.ref
    assert found.before is not None
    assert found.after is not None
    assert found.after.monthly.pico == pytest.approx(5 * found.before.monthly.pico, abs=100)
    assert rescaled_costs([change], [target, old], [target, old], book, AWS, before, before) == ()


def test_spot_is_expected_at_its_price_and_at_most_on_demand(book: PriceBook) -> None:
    spot = cost(deployment(nodeSelector={"cloud.google.com/gke-spot": "true"}), book, GOOGLE)
    plain = cost(deployment(), book, GOOGLE)
    assert spot.monthly < plain.monthly
    assert spot.high == plain.monthly
    assert (
        cost(deployment(nodeSelector={"karpenter.sh/capacity-type": "spot"}), book).high
        == cost(deployment(), book).high
    )  # no spot price there


@pytest.mark.parametrize(
    ("spec", "hours", "most"),
    [
        ({}, 1, 7),
        ({"backoffLimit": 0}, 1, 1),
        ({"completions": 10, "parallelism": 2, "backoffLimit": 5}, 5, Fraction(15, 2)),
        ({"activeDeadlineSeconds": 7200}, 2, 2),
        ({"activeDeadlineSeconds": 7200, "completions": 10, "backoffLimit": 50}, 2, 2),
        ({"suspend": True, "backoffLimit": 0}, 1, 1),
    ],
)
def test_a_job_counts_its_turns_and_at_most_its_retries_or_its_deadline(
    spec: dict[str, Any], hours: int, most: Fraction, book: PriceBook
) -> None:
    template = deployment()["spec"]["template"]
    found = cost(thing("Job", "batch/v1", {**spec, "template": template}), book)
    hour = cost(deployment(), book).monthly.scale(1, 730).pico * min(spec.get("parallelism", 1), 10)
    assert found.monthly.pico == pytest.approx(hour * hours, abs=1000)
    assert found.high.pico == pytest.approx(float(hour * most), abs=1000)
    assert (found.low.pico == 0) == bool(spec.get("suspend"))


def test_disks_are_priced_by_the_type_behind_their_class(book: PriceBook) -> None:
    spec = {"storageClassName": "premium-rwo", "resources": {"requests": {"storage": "100Gi"}}}
    claim = thing("PersistentVolumeClaim", "v1", spec)
    found = cost(claim, book, GOOGLE)
    assert found.monthly == Money.parse("0.0002361111").scale(73000)  # pd-ssd, 100 GiB, 730 hours
    assert (found.unpriced, found.uncounted) == ((), ())
    named = {**claim, "spec": {**spec, "storageClassName": "fast"}}
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "fast"},
        "parameters": {"type": "pd-ssd"},
    }
    assert cost(named, book, GOOGLE, (storage_class,)).monthly == found.monthly
    unknown = cost(named, book, GOOGLE)
    assert unknown.monthly == Money.zero("USD")
    assert unknown.uncounted == ("disk x (100Gi, class fast): no price in gcp us-central1",)


def test_a_book_of_ones_own_prices_disks_and_traffic(book: PriceBook) -> None:
    own = PriceBook.read(OWN, "own.csv", over=book)
    claim = {"metadata": {"name": "d"}, "spec": {"resources": {"requests": {"storage": "10Gi"}}}}
    stateful = deployment(3, {"customhouse.dev/egress-gib-month": "250.5"})
    stateful["kind"] = "StatefulSet"
    stateful["spec"]["volumeClaimTemplates"] = [claim]
    found = cost(stateful, own)
    rows = {row["item"]: row for row in found.breakdown}
    assert rows["storage d"]["monthly"] == "4.38"  # 3 × 10 GiB × 730 h × 0.0002
    assert (rows["egress"]["monthly"], rows["egress"]["hours"]) == ("22.545", "1")
    assert total((Money.parse(item["monthly"]) for item in found.breakdown), "USD") == found.monthly
    assert found.uncounted == ()
    assert len(cost(stateful, book).uncounted) == 2


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e99", "NaN", "", "9" * 40, "Infinity"])
def test_a_broken_number_in_an_annotation_is_an_error(value: str, book: PriceBook) -> None:
    for name in ("egress-gib-month", "throughput-tokens-per-second", "throughput-predictions-per-second"):
        with pytest.raises(DeclarationError, match=name):
            cost(deployment(1, {f"customhouse.dev/{name}": value}), book)


def test_throughput_gives_the_price_of_tokens_and_predictions_whatever_the_number_of_replicas(book: PriceBook) -> None:
    annotations = {
        "customhouse.dev/throughput-tokens-per-second": "2000",
        "customhouse.dev/throughput-predictions-per-second": "50",
    }
    one, three = (cost(deployment(n, annotations), book) for n in (1, 3))
    hour = one.monthly.pico / 730
    assert one.per_million_tokens is not None
    assert one.per_thousand_predictions is not None
    assert one.per_million_tokens.pico == pytest.approx(hour / 7.2, rel=1e-6)
    assert one.per_thousand_predictions.pico == pytest.approx(hour / 180, rel=1e-6)
    assert three.per_million_tokens == one.per_million_tokens
    assert cost(deployment(), book).per_million_tokens is None


def gpu(resource: str, product: str, count: int = 1) -> dict[str, Any]:
    resources = {"requests": {"cpu": "1", "memory": "1Gi", resource: count}}
    pod = {
        "containers": [{"name": "c", "image": "r/c:1", "resources": resources}],
        "nodeSelector": {"nvidia.com/gpu.product": product},
    }
    return deployment(**pod)


def test_a_mig_profile_costs_its_part_of_the_card(book: PriceBook) -> None:
    def accelerator(resource: str, count: int = 1) -> int:
        rows = cost(gpu(resource, "NVIDIA-H100-80GB-HBM3", count), book).breakdown
        return sum(Money.parse(row["monthly"]).pico for row in rows if row["item"] == "accelerator")

    whole = accelerator("nvidia.com/gpu")
    assert accelerator("nvidia.com/mig-1g.10gb") == pytest.approx(whole / 7, rel=1e-9)
    assert accelerator("nvidia.com/mig-3g.40gb", 2) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("resource", ["nvidia.com/gpu.shared", "nvidia.com/mig-1g.99gb.x", "aliyun.com/gpu-mem"])
def test_a_part_that_cannot_be_told_is_unpriced_and_neither_free_nor_a_whole_card(
    resource: str, book: PriceBook
) -> None:
    found = cost(gpu(resource, "NVIDIA-H100-80GB-HBM3"), book)
    assert found.unpriced
    assert not [row for row in found.breakdown if row["item"] == "accelerator"]


H100 = 'device.attributes["gpu.nvidia.com"].productName == "NVIDIA H100 80GB HBM3"'


def claims(expression: str = H100, count: int = 2) -> dict[str, Any]:
    exactly = {"deviceClassName": "gpu.nvidia.com", "count": count, "selectors": [{"cel": {"expression": expression}}]}
    spec = {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}}
    return thing("ResourceClaimTemplate", "resource.k8s.io/v1", spec, "h100")


def test_devices_of_a_claim_template_of_the_same_state_are_priced(book: PriceBook) -> None:
    pod = {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "h100"}]}
    claimed = cost(deployment(**pod), book, around=(claims(),))
    assert claimed.unpriced == ()
    assert claimed.monthly == cost(gpu("nvidia.com/gpu", "NVIDIA-H100-80GB-HBM3", 2), book).monthly
    assert "is not declared here" in cost(deployment(**pod), book).unpriced[0]
    unclear = claims(f"{H100} || true")
    assert "unnamed class" in cost(deployment(**pod), book, around=(unclear,)).unpriced[0]


def test_devices_that_kserve_claims_by_annotation_are_counted(book: PriceBook) -> None:
    prefix = "serving.kserve.io/exp-dra-"
    container = {"name": "main", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
    spec = {"model": {"uri": "hf://a/b"}, "template": {"containers": [container]}}

    def llm(**notes: str) -> WorkloadCost:
        annotations = {prefix + key.replace("_", "-"): value for key, value in notes.items()}
        return cost(thing("LLMInferenceService", "serving.kserve.io/v1alpha2", spec, annotations=annotations), book)

    plain = llm()
    assert plain.unpriced == ()
    assert "unnamed class" in llm(device_class="gpu.nvidia.com").unpriced[0]
    selector = "device.attributes['gpu.nvidia.com']['type'] == 'gpu'\ndevice.attributes['gpu.nvidia.com']['productName'] == 'NVIDIA H100 80GB'"  # noqa: E501 - as KServe's sample writes it
    named = llm(device_class="gpu.nvidia.com", device_count="2", cel_selector=selector)
    assert named.unpriced == ()
    assert named.monthly > plain.monthly.scale(10)


def test_a_claim_that_replicas_share_is_not_counted_for_each(book: PriceBook) -> None:
    pod = {"resourceClaims": [{"name": "gpu", "resourceClaimName": "h100"}]}
    shared = {**claims(), "kind": "ResourceClaim", "spec": claims()["spec"]["spec"]}
    assert cost(deployment(**pod), book, around=(shared,)).unpriced == ()
    assert "share" in cost(deployment(3, **pod), book, around=(shared,)).unpriced[0]


def test_machines_that_are_declared_cost_their_price(book: PriceBook) -> None:
    reference = {"kind": "AWSMachineTemplate", "name": "gpus"}
    spec = {"clusterName": "c", "replicas": 3, "template": {"spec": {"infrastructureRef": reference}}}
    machines = thing("MachineDeployment", "cluster.x-k8s.io/v1beta1", spec)
    template = thing(
        "AWSMachineTemplate",
        "infrastructure.cluster.x-k8s.io/v1beta2",
        {"template": {"spec": {"instanceType": "p5.48xlarge"}}},
        "gpus",
    )
    found = cost(machines, book, around=(template,))
    price = book.machine("aws", "us-east-1", "p5.48xlarge")
    assert price is not None
    assert found.monthly == price.per_hour.scale(3 * 730)
    assert "not declared here" in cost(machines, book).unpriced[0]


def test_a_node_pool_costs_nothing_by_itself_and_at_most_its_limits(book: PriceBook) -> None:
    sample = next(one for one in SAMPLES if one.kind == "NodePool").manifest()
    found = cost(sample, book)
    assert (found.low, found.monthly) == (Money.zero("USD"), Money.zero("USD"))
    assert found.high > Money.parse("10000")
    del sample["spec"]["limits"]
    assert cost(sample, book).uncounted == ("a NodePool without limits has no upper bound",)


def test_pods_of_an_unknown_kind_are_counted_by_what_they_say(book: PriceBook) -> None:
    template = deployment()["spec"]["template"]
    found = cost(thing("Thing", "example.org/v1", {"replicas": 4, "template": template}), book)
    assert found.monthly.pico == pytest.approx(4 * cost(deployment(), book).monthly.pico, abs=100)
    assert "is not a kind that is known" in found.uncounted[0]
    assert declared_cost(declared(thing("Thing", "example.org/v1", {"a": 1})), book, AWS) is None


def test_templates_cost_nothing_until_something_is_made_of_them(book: PriceBook) -> None:
    for kind in ("ServingRuntime", "WorkflowTemplate", "PodTemplate"):
        sample = next(one for one in SAMPLES if one.kind == kind)
        assert declared_cost(declared(sample.manifest()), book, AWS) is None


def test_what_is_not_counted_is_named_in_the_report(book: PriceBook) -> None:
    claim = next(one for one in SAMPLES if one.kind == "PersistentVolumeClaim").manifest()
    after = declared(claim)
    change = Change(Operation.CREATE, after.ref, None, after, None, Actor(ActorKind.PERSON, "Ada"))
    assert "no price in aws us-east-1" in report([change], book, AWS).unpriced[0]
    assert [item.after.uncounted != () for item in change_costs([change], book, AWS) if item.after] == [True]


def test_what_cannot_be_read_of_others_is_left_out() -> None:
    broken = scaler(1, 2)
    broken["spec"]["maxReplicas"] = "many"
    assert beside([declared(broken)]) == Beside()
