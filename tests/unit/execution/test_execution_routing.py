"""The gateway's choice: weights are kept exactly, replicas take turns, a whole routing is taken or refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from customhouse.execution.adapters.local.holding import Holder, Refused
from customhouse.execution.adapters.local.routing import Replica, RoutingError, Service, Table


def _table(weights: dict[str, int], replicas: int = 2) -> tuple[Table, Service]:
    table = Table()
    revisions = {
        release: {"weight": weight, "replicas": {f"{release}{n}": f"/nowhere/{release}{n}" for n in range(replicas)}}
        for release, weight in weights.items()
    }
    table.configure({"services": {"ns/name": {"revisions": revisions}}})
    for replica in table.replicas():
        replica.ready = True
    return table, table.services["ns/name"]


def _draw(service: Service, count: int) -> list[str]:
    found = [service.choose(set()) for _ in range(count)]
    return [replica.release for replica in found if replica is not None]


@pytest.mark.parametrize("weight", [0, 1, 10, 33, 50, 100])
def test_the_share_of_a_canary_is_exact_in_every_hundred(weight: int) -> None:
    _, service = _table({"old": 100 - weight, "new": weight})
    for _ in range(3):
        assert Counter(_draw(service, 100))["new"] == weight


def test_the_share_is_spread_and_not_in_one_run() -> None:
    _, service = _table({"old": 90, "new": 10})
    drawn = _draw(service, 100)
    gaps = [
        b - a
        for a, b in zip(
            [i for i, r in enumerate(drawn) if r == "new"],
            [i for i, r in enumerate(drawn) if r == "new"][1:],
            strict=False,
        )
    ]
    assert set(gaps) == {10}


def test_replicas_take_turns_and_the_busy_one_is_spared() -> None:
    _, service = _table({"old": 100})
    first, second = service.choose(set()), service.choose(set())
    assert first is not None
    assert second is not None
    assert first.id != second.id
    first.in_flight = 3
    assert {chosen.id for _ in range(5) if (chosen := service.choose(set()))} == {second.id}


def test_another_revision_answers_when_the_chosen_one_has_no_ready_replica() -> None:
    table, service = _table({"old": 50, "new": 50})
    for replica in table.replicas():
        replica.ready = replica.release == "old"
    assert set(_draw(service, 10)) == {"old"}
    for replica in table.replicas():
        replica.ready = False
    assert service.choose(set()) is None


def test_a_revision_without_weight_gets_nothing_even_alone() -> None:
    _, service = _table({"new": 0})
    assert service.choose(set()) is None


def test_a_broken_routing_changes_nothing() -> None:
    table, service = _table({"old": 100})
    broken = {"services": {"ns/name": {"revisions": {"old": {"weight": 101, "replicas": {}}}}}}
    for document in (broken, {"services": {"../x/y": {"revisions": {}}}}):
        with pytest.raises(RoutingError):
            table.configure(document)
    assert len(service.revisions["old"].replicas) == 2
    with pytest.raises(RoutingError):
        service.weigh({"unknown": 100})


def test_replicas_that_stay_are_kept_with_what_is_known_of_them() -> None:
    table, service = _table({"old": 100})
    kept = service.revisions["old"].replicas["old0"]
    spec = {"weight": 100, "replicas": {"old0": "/nowhere/old0"}}
    table.configure({"services": {"ns/name": {"revisions": {"old": spec}}}})
    assert service.revisions["old"].replicas == {"old0": kept}


def test_a_prediction_is_labelled_once_and_wrong_labels_cost_nothing() -> None:
    _, service = _table({"old": 100})
    service.remember("id", "old", "[[0.9],[0.2]]")
    for labels in ([1], [1, 2], [-1, 0]):
        with pytest.raises(ValueError, match="label"):
            service.label("id", labels)
    assert service.label("id", [1, 0]) == "old"
    assert service.traffic["old"].outcomes == {"tp": 1, "tn": 1}
    with pytest.raises(LookupError):
        service.label("id", [1, 0])


@pytest.mark.parametrize("how", ["weights", "routing"])
def test_who_waits_for_a_release_that_is_rolled_back_is_answered_by_another(how: str) -> None:
    async def wait() -> tuple[bool, str]:
        table, service = _elastic({"bad": (100, 0), "good": (0, 1)})
        waiting = asyncio.ensure_future(Holder(600.0).send(service, b"", 1.0))
        await asyncio.sleep(0)
        asked = service.revisions["bad"].load.inside == 1
        if how == "weights":
            service.weigh({"good": 100})
        else:
            table.configure(_routing({"bad": (0, 0), "good": (100, 1)}))
        replica, _ = await waiting
        return asked, replica.release

    assert asyncio.run(wait()) == (True, "good")


def test_who_waits_for_a_service_that_is_deleted_is_told_at_once() -> None:
    async def wait() -> None:
        table, service = _elastic({"only": (100, 0)})
        waiting = asyncio.ensure_future(Holder(600.0).send(service, b"", 1.0))
        await asyncio.sleep(0)
        table.configure({"services": {}})
        with pytest.raises(Refused, match="no release"):
            await waiting

    asyncio.run(wait())


class _Answers(Replica):
    async def exchange(self, data: bytes, timeout_s: float) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, data


def _routing(shares: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Release → weight and number of replicas, of which each takes one request at a time."""
    revisions = {
        release: {
            "weight": weight,
            "limit": 1,
            "replicas": {f"{release}{n}": f"/nowhere/{release}" for n in range(count)},
        }
        for release, (weight, count) in shares.items()
    }
    return {"services": {"ns/name": {"revisions": revisions}}}


def _elastic(shares: dict[str, tuple[int, int]]) -> tuple[Table, Service]:
    table = Table()
    table.configure(_routing(shares))
    service = table.services["ns/name"]
    for release, revision in service.revisions.items():
        for identity in revision.replicas:
            made = revision.replicas[identity] = _Answers(identity, release, f"/nowhere/{release}", service)
            made.ready = True
    return table, service
