"""What a workload costs over the whole range that autoscalers keep it in: fewest and most, smallest and largest."""

from __future__ import annotations

from typing import Any

import pytest
from test_observability_kinds import AWS, GOOGLE, cost, declared, deployment, scaler, thing

from customhouse._kit.money import Money
from customhouse.core.beside import beside
from customhouse.core.errors import DeclarationError
from customhouse.observability.budgets import Budget, budget_change, budget_most, budget_rise
from customhouse.observability.estimate import ChangeCost
from customhouse.observability.prices import PriceBook


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook.load()


def vertical(*policies: dict[str, Any], mode: str = "Auto", name: str = "web") -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    spec = {
        "targetRef": target,
        "updatePolicy": {"updateMode": mode},
        "resourcePolicy": {"containerPolicies": list(policies)},
    }
    return thing("VerticalPodAutoscaler", "autoscaling.k8s.io/v1", spec, "size")


def policy(least: dict[str, str] | None, most: dict[str, str] | None, name: str = "*", **more: Any) -> dict[str, Any]:
    return {"containerName": name, "minAllowed": least or {}, "maxAllowed": most or {}, **more}


def sized(cpu: str, memory: str, replicas: int = 1) -> dict[str, Any]:
    found = deployment(replicas)
    found["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] = {"cpu": cpu, "memory": memory}
    return found


WIDE = policy({"cpu": "250m", "memory": "512Mi"}, {"cpu": "4", "memory": "8Gi"})


def test_a_vertical_autoscaler_gives_the_smallest_and_the_largest_replica(book: PriceBook) -> None:
    found = cost(deployment(3), book, around=(vertical(WIDE),))
    assert found.monthly == cost(deployment(3), book).monthly
    assert found.low == cost(sized("250m", "512Mi", 3), book).monthly
    assert found.high == cost(sized("4", "8Gi", 3), book).monthly
    assert found.replica == cost(sized("4", "8Gi"), book).monthly
    assert "VerticalPodAutoscaler" in found.breakdown[0]["source"]


def test_both_autoscalers_multiply(book: PriceBook) -> None:
    found = cost(deployment(3), book, around=(vertical(WIDE), scaler(2, 10)))
    assert found.low == cost(sized("250m", "512Mi", 2), book).monthly
    assert found.monthly == cost(deployment(2), book).monthly
    assert found.high == cost(sized("4", "8Gi", 10), book).monthly


def test_one_that_only_recommends_or_leaves_a_container_alone_changes_no_price(book: PriceBook) -> None:
    alone = cost(deployment(3), book)
    assert cost(deployment(3), book, around=(vertical(WIDE, mode="Off"),)) == alone
    assert cost(deployment(3), book, around=(vertical(WIDE, name="other"),)) == alone
    off = vertical(WIDE, policy(None, None, "c", mode="Off"))
    found = cost(deployment(3), book, around=(off,))
    assert (found.low, found.monthly, found.high) == (alone.low, alone.monthly, alone.high)
    memory = cost(deployment(1), book, around=(vertical({**WIDE, "controlledResources": ["memory"]}),))
    assert memory.high == cost(sized("1", "8Gi"), book).monthly


def test_without_a_bound_the_figure_says_that_it_does_not_hold_the_upper_end(book: PriceBook) -> None:
    found = cost(deployment(3), book, around=(vertical(),))
    assert found.high == found.monthly
    assert found.low == cost(sized("25m", "250Mi", 3), book).monthly  # the recommender's floor
    assert [item.split(":")[0] for item in found.uncounted] == ["cpu of container c", "memory of container c"]


def test_a_size_that_no_machine_has_is_named_and_not_priced_below_the_declared_one(book: PriceBook) -> None:
    gpu = deployment(1, nodeSelector={"cloud.google.com/gke-accelerator": "nvidia-l4"})
    gpu["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/gpu": "1"}
    found = cost(gpu, book, GOOGLE, around=(vertical(policy(None, {"cpu": "900", "memory": "9Ti"})),))
    assert found.low <= found.monthly == found.high
    assert found.unpriced == ()
    assert "at the upper end" in found.uncounted[-1]


@pytest.mark.parametrize(
    "broken",
    [{"cpu": "four"}, {"memory": "-1Gi"}, {"cpu": []}, {"memory": "9" * 40}],
    ids=["text", "below", "list", "far"],
)
def test_a_broken_bound_is_refused_where_it_stands_and_priced_nowhere(book: PriceBook, broken: Any) -> None:
    from customhouse.core.sizes import target_sizes

    bad = declared(vertical(policy(None, broken)))
    with pytest.raises(DeclarationError) as caught:
        target_sizes(bad.manifest, bad.ref)
    assert caught.value.where.startswith("/spec/resourcePolicy/containerPolicies/0/maxAllowed")
    assert beside([bad]).sizes == {}


def test_a_budget_is_asked_at_the_declared_size_and_at_the_upper_end(book: PriceBook) -> None:
    ref = declared(deployment()).ref
    before = cost(deployment(), book, around=(scaler(1, 2),))
    after = cost(deployment(), book, around=(scaler(1, 9),))
    budget = Budget("all", Money.parse("1"))
    change = [ChangeCost(ref, before, after, {})]
    assert budget_change(budget, change).pico == 0
    assert budget_most(budget, change) == after.high - before.monthly
    assert budget_rise(budget, change) == after.high - before.high
    assert budget_most(Budget("other", Money.parse("1"), namespaces=("other",)), change).pico == 0
    limits = {"cpu": "8", "memory": "32Gi"}
    pool = cost(thing("NodePool", "karpenter.sh/v1", {"limits": limits}), book, AWS)
    assert pool.high.pico > 0
    assert budget_most(budget, [ChangeCost(ref, None, pool, {})]).pico == 0  # what runs there is counted itself
