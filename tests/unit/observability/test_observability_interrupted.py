"""What interruptions are expected to cost stands in the price of spot capacity, as a row of its own."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from customhouse.core.resource import ResourceRef
from customhouse.core.workload import workload
from customhouse.observability.estimate import PriceSettings, workload_cost
from customhouse.observability.interrupted import ExpectedInterruption
from customhouse.observability.prices import PriceBook

OFTEN = ExpectedInterruption("g4dn[.].*", 73_000, 60)
"""Once an hour, an hour lost each time: an hour of work costs twice."""


def deployment(selector: dict[str, str]) -> dict[str, Any]:
    container = {"name": "a", "image": "x", "resources": {"requests": {"cpu": "2", "memory": "4Gi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n"},
        "spec": {"replicas": 2, "template": {"spec": {"nodeSelector": selector, "containers": [container]}}},
    }


SPOT = {"karpenter.sh/capacity-type": "spot", "node.kubernetes.io/instance-type": "g4dn.xlarge"}


def cost(selector: dict[str, str], *expected: ExpectedInterruption, provider: str = "gcp") -> Any:
    manifest = deployment(selector)
    work = workload(manifest, ResourceRef.of(manifest))
    assert work is not None
    regions = {"gcp": "us-central1", "aws": "us-east-1"}
    settings = PriceSettings(provider, regions[provider], interruptions=expected)
    return workload_cost(work, PriceBook.load(), settings)


@pytest.mark.parametrize("provider", ["gcp", "aws"])
def test_what_is_expected_is_a_row_of_its_own_and_in_the_sum(provider: str) -> None:
    plain, found = cost(SPOT, provider=provider), cost(SPOT, OFTEN, provider=provider)
    assert abs(found.monthly.pico - 2 * plain.monthly.pico) <= 4  # each row is rounded once
    row = found.breakdown[-1]
    assert row["item"] == "expected interruptions"
    assert "73000 % of such machines taken a month, 60 minutes lost each time" in row["source"]
    assert found.high >= plain.high


def test_the_first_entry_that_matches_counts() -> None:
    other = ExpectedInterruption(".*", 1, 1)
    assert cost(SPOT, OFTEN, other) == cost(SPOT, OFTEN)
    assert cost(SPOT, other, OFTEN) == cost(SPOT, other)


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"karpenter.sh/capacity-type": "on-demand", "node.kubernetes.io/instance-type": "g4dn.xlarge"},
        {"karpenter.sh/capacity-type": "spot", "node.kubernetes.io/instance-type": "m5.large"},
        {"karpenter.sh/capacity-type": "spot"},
    ],
)
def test_nothing_is_added_on_demand_nor_for_machines_of_which_nothing_is_said(selector: dict[str, str]) -> None:
    assert cost(selector, OFTEN) == cost(selector)


def test_pods_that_name_no_machine_are_matched_by_an_entry_for_all() -> None:
    every = ExpectedInterruption(".*", 20, 90)
    plain, found = (cost({"karpenter.sh/capacity-type": "spot"}, *given) for given in ((), (every,)))
    share = Fraction(found.monthly.pico - plain.monthly.pico, plain.monthly.pico)
    assert abs(share - every.share) < Fraction(1, 10**9)
