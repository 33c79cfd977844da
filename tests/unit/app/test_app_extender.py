"""The extender's generations: which rules and prices hold, and what happens when newer ones cannot be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app.extender import BLIND_S, Extending
from customhouse.app.extender_configuration import certificates_of, scheduler_configuration
from customhouse.app.extender_spec import Interruption, interruption_factor
from customhouse.app.settings import Settings
from customhouse.core.cluster import ClusterEvent, EventKind
from customhouse.core.errors import ConfigError, SourceError
from customhouse.execution.extender_nodes import NODES, PODS, facts_of

NOW = datetime(2026, 9, 1, tzinfo=UTC)
RULES = """
apiVersion: customhouse.dev/v1
policy: {requireSignedCommits: false}
prices: {provider: aws, region: us-east-1, maxAgeDays: 100}
tiers:
  namespaces: {"serving-*": [critical-inference]}
"""


class World:
    """A `customhouse.yaml`, an extender that reads it, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "customhouse.yaml"
        self.file.write_text(RULES)
        self.clock = FixedClock(NOW)
        self.told: list[tuple[str, dict[str, Any]]] = []
        settings = Settings(state=folder / "state", config=self.file)
        self.settings = settings
        self.extending = Extending(settings, None, self.clock, lambda event, fields: self.told.append((event, fields)))

    def know(self, *nodes: Any) -> None:
        occupancy = self.extending.occupancy
        occupancy.nodes_sink([*(ClusterEvent(EventKind.ADDED, NODES, node) for node in nodes), *synced(NODES)])
        occupancy.pods_sink(synced(PODS))

    def left(self, namespace: str, tier: str, *names: str, **spec: Any) -> list[str]:
        pod = {"metadata": {"namespace": namespace, "labels": {"customhouse.dev/tier": tier}}, "spec": spec}
        answer = json.loads(self.extending.filter(json.dumps({"Pod": pod, "NodeNames": names}).encode())[0])
        found: list[str] = answer["NodeNames"]
        return found


def synced(kind: Any) -> list[ClusterEvent]:
    return [ClusterEvent(EventKind.SYNCED, kind)]


def node(name: str, machine: str, spot: bool = False, **labels: str) -> Any:
    named = {"node.kubernetes.io/instance-type": machine, "topology.kubernetes.io/region": "us-east-1", **labels}
    capacity = {"karpenter.sh/capacity-type": "spot" if spot else "on-demand"}
    return {
        "metadata": {"name": name, "labels": {**named, **capacity}},
        "spec": {"providerID": f"aws:///us-east-1a/{name}"},
        "status": {"allocatable": {"cpu": "4", "memory": "16Gi"}},
    }


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_tier_is_granted_by_namespace_and_not_by_a_label(world: World) -> None:
    world.know(node("own", "m7i.xlarge"), node("spot", "m7i.xlarge", spot=True))
    assert world.left("serving-fraud", "critical-inference", "own", "spot") == ["own"]
    # It may not ask for that tier here, so it is placed as `standard`.
    assert world.left("elsewhere", "critical-inference", "own", "spot") == ["own", "spot"]


def test_a_claim_of_devices_is_held_to_the_classes_of_a_tier(world: World) -> None:
    product = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    world.know(node("h100", "p5.48xlarge", False, **product), node("plain", "m7i.xlarge"))
    claim = [{"name": "gpu", "resourceClaimTemplateName": "h100"}]
    assert world.left("elsewhere", "standard", "h100", "plain") == ["h100", "plain"]
    assert world.left("elsewhere", "standard", "h100", "plain", resourceClaims=claim) == []


def test_newer_rules_hold_at_once_and_broken_ones_never(world: World) -> None:
    world.know(node("own", "m7i.xlarge"), node("spot", "m7i.xlarge", spot=True))
    world.file.write_text(RULES + "  definitions: {standard: {spot: forbidden}}\n")
    world.extending.look()
    assert world.left("x", "standard", "own", "spot") == ["own"]
    world.file.write_text(RULES + "  definitions: {standard: {spot: sometimes}}\n")
    world.extending.look()
    world.extending.look()
    assert world.left("x", "standard", "own", "spot") == ["own"]
    assert "sometimes" in world.extending.problem
    assert [event for event, _ in world.told].count("rules-refused") == 1
    world.file.write_text(RULES)
    world.extending.look()
    assert world.extending.problem == ""
    assert world.left("x", "standard", "own", "spot") == ["own", "spot"]


def test_old_prices_are_told_and_not_used(world: World) -> None:
    found = facts_of(node("a", "m7i.xlarge"))
    assert world.extending.generation.prices(found)
    world.clock.advance(timedelta(days=300).total_seconds())
    world.extending.look()
    assert world.extending.generation.prices(found) is None
    assert "days old" in dict(world.told)["prices-not-used"]["problem"]
    world.know(node("a", "m7i.xlarge"), node("b", "m7i.24xlarge"))
    assert world.left("x", "standard", "a", "b") == ["a", "b"]  # nothing is blocked by it


def test_a_node_is_priced_as_its_machine_or_by_its_parts_or_not_at_all(world: World) -> None:
    prices = world.extending.generation.prices
    whole, parts = prices(facts_of(node("a", "m7i.xlarge"))), prices(facts_of(node("b", "of-my-own")))
    assert whole is not None
    assert parts is not None
    assert 0.5 < parts / whole < 2
    odd = node("c", "of-my-own", False, **{"nvidia.com/gpu.product": "Nobody-Knows-9000"})
    odd["status"]["allocatable"]["nvidia.com/gpu"] = "1"
    assert prices(facts_of(odd)) is None
    assert prices(facts_of(node("d", "m7i.xlarge", False, **{"topology.kubernetes.io/region": "mars-1"}))) is None
    assert prices.unpriced == 2


def test_expected_interruptions_are_in_the_price_of_spot(world: World) -> None:
    before = world.extending.generation.prices(facts_of(node("a", "m7i.xlarge", spot=True)))
    rates = '{machines: "m7i[.].*", percentPerMonth: 7300, lostMinutes: 360}'
    world.file.write_text(RULES.replace("maxAgeDays: 100", f"maxAgeDays: 100, interruptions: [{rates}]"))
    world.extending.look()
    after = world.extending.generation.prices(facts_of(node("a", "m7i.xlarge", spot=True)))
    assert before is not None
    assert after == pytest.approx(1.6 * before)  # a tenth of an interruption an hour, six hours each
    assert interruption_factor([Interruption("g5.*", 100)], "m7i.xlarge") == 1
    world.file.write_text(RULES.replace("maxAgeDays: 100", 'interruptions: [{machines: "(", percentPerMonth: 1}]'))
    with pytest.raises(ConfigError, match=r"customhouse.yaml:4.*no regular expression"):
        Extending(world.settings, None, world.clock, lambda *_: None)


def test_nothing_is_answered_by_who_does_not_know_the_cluster(world: World) -> None:
    assert "not known yet" in world.extending.ready()
    world.know(node("a", "m7i.xlarge"))
    assert world.extending.ready() == ""
    world.extending.occupancy.nodes_sink([ClusterEvent(EventKind.FAILED, NODES, problem="connection refused")])
    assert world.extending.ready() == ""  # what is known is not yet old
    world.clock.advance(BLIND_S + 1)
    assert "connection refused" in world.extending.ready()
    world.extending.occupancy.nodes_sink(synced(NODES))
    assert world.extending.ready() == ""


def test_the_printed_configuration_never_shows_a_key(world: World) -> None:
    certificates, client = certificates_of(world.settings, ("localhost",), None, None, NOW)
    assert client is not None
    text = scheduler_configuration("https://localhost:8444", certificates.authorities(), client, "s", None)
    extender = json.loads(text)["extenders"][0]
    assert extender["ignorable"]
    assert extender["nodeCacheCapable"]
    assert extender["enableHTTPS"]
    assert client.key.read_text().splitlines()[1] not in text
    assert client.key.stat().st_mode & 0o777 == 0o600
    document = json.loads(text)
    assert document["leaderElection"]["resourceName"] == "s", "not the Lease of the scheduler that is there already"
    usual = scheduler_configuration("https://x", certificates.authorities(), client, "default-scheduler", None)
    assert "leaderElection" not in json.loads(usual)
    again = certificates_of(world.settings, ("localhost",), None, None, NOW + timedelta(days=200))[1]
    assert again is not None
    assert again.certificate.read_bytes() == client.certificate.read_bytes()


def test_a_node_that_says_more_than_its_machine_has_is_taken_last_and_told(world: World) -> None:
    """Its share of the price would be half of what it is, and the devices are not there."""
    a10g = {"nvidia.com/gpu.product": "NVIDIA-A10G"}
    nodes = [node(name, "g5.12xlarge", False, **a10g) for name in ("honest", "lies", "shares", "negative")]
    for item, said in zip(nodes, ("4", "8", "16", "-4"), strict=True):
        item["status"]["allocatable"] |= {"cpu": "48", "memory": "192Gi", "nvidia.com/gpu": said}
    nodes[2]["metadata"]["labels"]["nvidia.com/gpu.product"] = "NVIDIA-A10G-SHARED"
    world.know(*nodes)
    prices = world.extending.generation.prices
    found = {item["metadata"]["name"]: prices(facts_of(item)) for item in nodes}
    assert found["honest"] is not None
    assert found["honest"] == found["shares"]
    assert [prices.doubts(facts_of(item)) for item in nodes] == [False, True, False, True]
    assert prices.doubted == {"lies": "says 8 nvidia.com/gpu; a g5.12xlarge has 4"}
    assert "negative: allocatable nvidia.com/gpu" in world.extending.occupancy.unreadable()[0]
    pod = {
        "metadata": {"namespace": "x", "uid": "1"},
        "spec": {"containers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}]},
    }
    body = json.dumps({"Pod": pod, "NodeNames": ["honest", "lies", "negative"]}).encode()
    scores = {item["Host"]: item["Score"] for item in json.loads(world.extending.prioritise(body))}
    assert scores["honest"] > scores["lies"]
    assert scores["honest"] > scores["negative"]


def test_a_repository_that_was_busy_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.extending.generation.number
    read = world.extending._read

    def busy(number: int) -> Any:
        raise SourceError("cannot lock ref")

    monkeypatch.setattr(world.extending, "_read", busy)
    world.file.write_text(RULES + "  definitions: {standard: {spot: forbidden}}\n")
    world.extending.look()
    assert "cannot lock ref" in world.extending.problem
    monkeypatch.setattr(world.extending, "_read", read)
    world.extending.look()
    assert (world.extending.problem, world.extending.generation.number) == ("", before + 1)
