"""What queues and node pools may cost at most, and what a workload costs on each of its queue's flavors."""

from __future__ import annotations

from typing import Any

import pytest
from test_observability_kinds import AWS, cost, declared, deployment, thing

from customhouse._kit.money import Money
from customhouse.core.beside import beside
from customhouse.core.change import Actor, ActorKind, Change, Operation
from customhouse.observability.estimate import report
from customhouse.observability.prices import PriceBook
from queue_shop import H100, L4, flavor, job, local, of, queue, quota

SPOT = {"karpenter.sh/capacity-type": "spot"}


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook.load()


def machine(book: PriceBook, name: str) -> Money:
    found = book.machine("aws", "us-east-1", name)
    assert found is not None
    return found.per_hour


def test_the_quota_of_a_queue_is_worth_the_machines_that_hold_it(book: PriceBook) -> None:
    shop = (flavor("h100", H100), flavor("l4", L4), local())
    found = cost(queue("gpus", ("h100", of("16", "100", "200Gi"))), book, around=shop)
    assert (found.low.pico, found.monthly.pico, found.room) == (0, 0, True)
    # Two p5.48xlarge hold sixteen H100; CPU and memory are there with them.
    assert abs(found.high.pico - machine(book, "p5.48xlarge").pico * 2 * 730) <= found.high.pico // 10
    small = cost(queue("gpus", ("h100", of("16", "100", "200Gi")), ("l4", of("4", "8", "8Gi"))), book, around=shop)
    assert found.high < small.high


def test_a_local_queue_is_worth_what_it_leads_to(book: PriceBook) -> None:
    shop = (flavor("h100", H100), queue("gpus", ("h100", of("8"))))
    assert cost(local(), book, around=shop).high == cost(shop[1], book, around=shop).high
    assert cost(local(cluster="other"), book, around=shop).uncounted == ("its ClusterQueue other is not declared here",)


def test_what_may_be_borrowed_is_part_of_the_worth(book: PriceBook) -> None:
    shop = (flavor("h100", H100), queue("spare", ("h100", of("8", "1", "1Gi")), cohort="all"))

    def worth(**more: str) -> tuple[int, tuple[str, ...]]:
        found = cost(queue("gpus", ("h100", of("8", "1", "1Gi", **more)), cohort="all"), book, around=shop)
        return found.high.pico, found.uncounted

    bounded, _ = worth(borrowingLimit="0")
    assert worth(borrowingLimit="8")[0] == 2 * bounded
    free, notes = worth()
    assert free == 2 * bounded
    assert "without a borrowingLimit" in notes[0]


def test_a_flavor_of_a_machine_type_or_a_part_of_a_card_has_its_price(book: PriceBook) -> None:
    typed = {**H100, "node.kubernetes.io/instance-type": "p5.48xlarge"}
    found = cost(queue("gpus", ("a", of("8", "1", "1Gi"))), book, around=(flavor("a", typed),))
    assert found.high == machine(book, "p5.48xlarge").scale(730)
    parts = [quota("nvidia.com/mig-3g.40gb", "16")]
    found = cost(queue("gpus", ("a", parts)), book, around=(flavor("a", typed),))
    assert found.high == machine(book, "p5.48xlarge").scale(730)


@pytest.mark.parametrize(
    ("labels", "quotas", "said"),
    [
        ({}, [quota("nvidia.com/gpu", "8")], "its labels do not say what that is"),
        ({"nvidia.com/gpu.product": "H900"}, [quota("nvidia.com/gpu", "8")], "no price in aws us-east-1"),
        (H100, [quota("nvidia.com/mig-9g.999gb", "8")], "its labels do not say what that is"),
        ({"node.kubernetes.io/instance-type": "x9.huge"}, [quota("cpu", "8")], "machine x9.huge: no price"),
        ({**H100, "node.kubernetes.io/instance-type": "m7i.large"}, [quota("nvidia.com/gpu", "8")], "no accelerators"),
    ],
)
def test_what_has_no_price_is_named_and_never_free(
    book: PriceBook, labels: dict[str, str], quotas: list[dict[str, Any]], said: str
) -> None:
    found = cost(queue("gpus", ("a", quotas)), book, around=(flavor("a", labels),))
    assert found.high.pico == 0
    assert any(said in note for note in found.uncounted)
    unknown = cost(queue("gpus", ("a", quotas)), book)
    assert "flavor a of gpus: it is not declared here" in unknown.uncounted


def test_a_job_costs_what_its_queue_sends_it_to(book: PriceBook) -> None:
    shop = (flavor("l4", L4), flavor("h100", H100), local())
    both = queue("gpus", ("l4", of("4")), ("h100", of("8")))
    alone = cost(job(1, 1), book)
    assert alone.unpriced == ("1 × accelerator of an unnamed class",)
    found = cost(job(1, 1), book, around=(*shop, both))
    assert found.unpriced == ()
    assert found.monthly == found.low == cost(job(1, 1, L4), book).monthly
    assert cost(job(1, 1, L4), book).high < cost(job(1, 1, H100), book).high
    assert found.high == cost(job(1, 1, H100), book).high
    assert "flavor l4 of queue train" in found.breakdown[0]["source"]
    only = cost(job(1, 1, H100), book, around=(*shop, both))
    assert (only.low, only.high) == (only.monthly, cost(job(1, 1, H100), book).high)


def test_a_flavor_without_a_price_is_named_beside_the_range(book: PriceBook) -> None:
    shop = (flavor("l4", L4), flavor("other", {"nvidia.com/gpu.product": "H900"}), local())
    found = cost(job(), book, around=(*shop, queue("gpus", ("l4", of("4")), ("other", of("8")))))
    assert found.unpriced == ()
    assert "in flavor other: 1 × H900: no price in aws us-east-1" in found.uncounted


def pool(types: list[str], **limits: str) -> dict[str, Any]:
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": types}
    spec = {"limits": limits, "template": {"spec": {"requirements": [requirement]}}}
    return thing("NodePool", "karpenter.sh/v1", spec)


def test_a_pool_that_names_its_machines_is_bounded_by_the_first_limit(book: PriceBook) -> None:
    p5 = machine(book, "p5.48xlarge")  # 192 vCPU, 8 H100
    assert cost(pool(["p5.48xlarge"], **{"nvidia.com/gpu": "16"}), book).high == p5.scale(2 * 730)
    assert cost(pool(["p5.48xlarge"], cpu="192", **{"nvidia.com/gpu": "16"}), book).high == p5.scale(730)
    assert cost(pool(["p5.48xlarge"], nodes="3", cpu="19200"), book).high == p5.scale(3 * 730)
    mixed = cost(pool(["p5.48xlarge", "m7i.large"], **{"nvidia.com/gpu": "16"}), book)
    assert mixed.high.pico == 0  # machines without a GPU are bought without an end
    assert "no limit of the NodePool bounds the machines that it names" in mixed.uncounted
    dear = cost(pool(["p5.48xlarge", "m7i.large"], cpu="192"), book)
    assert dear.high == p5.scale(730)
    assert "machine x9.huge: no price" in cost(pool(["x9.huge"], cpu="4"), book, AWS).uncounted[0]


def claimed(*ways: dict[str, Any]) -> dict[str, Any]:
    request = {"name": "gpu", "firstAvailable": list(ways)} if len(ways) > 1 else {"name": "gpu", "exactly": ways[0]}
    return thing("ResourceClaimTemplate", "resource.k8s.io/v1", {"spec": {"devices": {"requests": [request]}}}, "gpus")


def way(product: str, profile: str = "", count: int = 1, name: str = "gpu.nvidia.com") -> dict[str, Any]:
    said = [f'device.attributes["{name}"].productName == "{product}"'] if product else []
    said += [f'device.attributes["{name}"].profile == "{profile}"'] if profile else []
    selectors = [{"cel": {"expression": item}} for item in said]
    return {"deviceClassName": name, "count": count, "selectors": selectors}


def claiming() -> dict[str, Any]:
    return deployment(resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "gpus"}])


def counted(name: str, number: int, product: str) -> dict[str, Any]:
    found = deployment(nodeSelector={"nvidia.com/gpu.product": product})
    found["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = {name: str(number)}
    return found


def test_a_part_of_a_card_by_claim_costs_what_it_does_by_name(book: PriceBook) -> None:
    product = "NVIDIA H100 80GB HBM3"
    part = cost(claiming(), book, around=(claimed(way(product, "3g.40gb", 2)),))
    assert part.unpriced == ()
    by_name = cost(counted("nvidia.com/mig-3g.40gb", 2, "NVIDIA-H100-80GB-HBM3"), book)
    assert part.monthly == by_name.monthly
    assert cost(claiming(), book, around=(claimed(way(product, "9g.99gb")),)).unpriced != ()
    assert cost(claiming(), book, around=(claimed({**way(product), "capacity": {"requests": {}}}),)).unpriced != ()


def test_alternatives_of_a_claim_are_the_range(book: PriceBook) -> None:
    either = claimed(way("NVIDIA L4"), way("NVIDIA H100 80GB HBM3"))
    found = cost(claiming(), book, around=(either,))
    assert found.monthly == found.low == cost(counted("nvidia.com/gpu", 1, "NVIDIA-L4"), book).monthly
    assert found.high == cost(counted("nvidia.com/gpu", 1, "NVIDIA-H100-80GB-HBM3"), book).monthly
    strange = cost(claiming(), book, around=(claimed(way("NVIDIA L4"), way("H900")),))
    assert strange.unpriced == ()
    assert "with another device of the claim: 1 × H900: no price in aws us-east-1" in strange.uncounted


def test_the_class_of_a_claim_may_name_the_card(book: PriceBook) -> None:
    selectors = way("NVIDIA L4")["selectors"]
    kind = thing("DeviceClass", "resource.k8s.io/v1", {"selectors": selectors}, "team")
    template = claimed({"deviceClassName": "team"})
    assert cost(claiming(), book, around=(template,)).unpriced == ("1 × team: no price in aws us-east-1",)
    found = cost(claiming(), book, around=(template, kind))
    assert found.monthly == cost(counted("nvidia.com/gpu", 1, "NVIDIA-L4"), book).monthly


def test_room_is_no_part_of_the_total(book: PriceBook) -> None:
    shop = [flavor("l4", L4), queue("gpus", ("l4", of("4"))), local(), job(1, 1)]
    made = [declared(item) for item in shop]
    actor = Actor(ActorKind.PERSON, "Ada")
    found = report(
        [Change(Operation.CREATE, item.ref, None, item, None, actor) for item in made], book, AWS, around=beside(made)
    )
    rooms = [work for work in found.workloads if work.room]
    assert sorted(work.resource.kind for work in rooms) == ["ClusterQueue", "LocalQueue"]
    assert all(work.high > found.high for work in rooms)
    assert found.high == next(work.high for work in found.workloads if not work.room)
    assert [row["room"] for row in found.to_json()["workloads"]].count(True) == 2
