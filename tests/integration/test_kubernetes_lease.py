"""Leader election on a real API server: one leads, whatever the clocks say and whoever dies."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from customhouse._kit.clock import FixedClock, SystemClock
from customhouse.core.cluster import Apply, Delete
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes import lease as lease_module
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from customhouse.execution.adapters.kubernetes.lease import DURATION_S, RENEW_S, Election, Lease
from faulty_proxy import Fault, FaultyProxy
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")


@dataclass
class Candidate:
    """A controller with clocks of its own."""

    lease: Lease
    clock: FixedClock


@dataclass
class World:
    plane: ControlPlane
    cluster: KubernetesCluster
    namespace: str

    def candidate(self, name: str, cluster: KubernetesCluster | None = None, *, hours: int = 0) -> Candidate:
        clock = FixedClock(datetime(2026, 11, 22, 12, tzinfo=UTC) + timedelta(hours=hours))
        return Candidate(Lease(cluster or self.cluster, self.namespace, "customhouse", name, clock), clock)

    @property
    def path(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/customhouse"

    def spec(self) -> dict[str, object]:
        found: dict[str, object] = self.plane.call("GET", self.path)["spec"]
        return found


@pytest.fixture
def world(kubernetes: ControlPlane) -> Iterator[World]:
    with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
        yield World(kubernetes, cluster, kubernetes.namespace("lease"))


def test_the_first_leads_and_the_second_only_when_the_first_has_been_silent_for_long_enough(world: World) -> None:
    first, second = world.candidate("first"), world.candidate("second")
    assert first.lease.attempt()
    assert not second.lease.attempt()
    assert second.lease.holder == "first"
    for _ in range(5):  # the first renews: the second's patience begins anew each time
        first.clock.advance(DURATION_S - 1)
        second.clock.advance(DURATION_S - 1)
        assert first.lease.attempt()
        assert not second.lease.attempt()
    second.clock.advance(DURATION_S)
    assert not second.lease.attempt()
    second.clock.advance(1)
    assert second.lease.attempt()
    assert world.spec()["leaseTransitions"] == 1
    assert not first.lease.attempt()
    assert first.lease.holder == "second"


def test_a_leader_that_cannot_renew_stops_before_another_may_begin(world: World) -> None:
    first = world.candidate("first")
    assert first.lease.attempt()
    first.clock.advance(RENEW_S - 0.5)
    assert first.lease.leads
    first.clock.advance(0.5)
    assert not first.lease.leads
    assert RENEW_S < DURATION_S


@pytest.mark.parametrize("hours", [-9000, -1, 1, 9000])
def test_clocks_that_differ_elect_nobody_wrongly(world: World, hours: int) -> None:
    first, second = world.candidate("first"), world.candidate("second", hours=hours)
    assert first.lease.attempt()
    assert not second.lease.attempt()
    second.clock.advance(DURATION_S)
    assert not second.lease.attempt()
    assert first.lease.attempt()
    second.clock.advance(1)
    assert not second.lease.attempt()


def test_what_is_given_back_is_free_at_once(world: World) -> None:
    first, second = world.candidate("first"), world.candidate("second")
    assert first.lease.attempt()
    first.lease.release()
    assert not first.lease.leads
    assert second.lease.attempt()
    first.lease.release()  # it is not ours any more
    assert world.spec()["holderIdentity"] == "second"


def test_of_many_that_try_at_once_one_leads(world: World) -> None:
    for _ in range(5):
        candidates = [world.candidate(f"c{index}") for index in range(8)]
        start = threading.Barrier(len(candidates))

        def attempt(candidate: Candidate, start: threading.Barrier = start) -> None:
            start.wait()
            for _ in range(3):
                candidate.lease.attempt()

        threads = [threading.Thread(target=attempt, args=(item,)) for item in candidates]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (leader,) = [item for item in candidates if item.lease.leads]
        assert {item.lease.holder for item in candidates} == {leader.lease.holder}
        ref = ResourceRef("coordination.k8s.io/v1", "Lease", world.namespace, "customhouse")
        assert world.cluster.write([Delete(ref)])[0].ok


def test_a_renewal_whose_answer_was_lost_is_no_loss_of_the_lead(world: World) -> None:
    proxy = FaultyProxy(world.plane)
    try:
        access = replace(read_access([world.plane.kubeconfig]), server=proxy.address)
        with KubernetesCluster(access, {}, SystemClock()) as cluster:
            first = world.candidate("first", cluster)
            proxy.fault(Fault(lambda seen: seen.method == "PATCH", 1, reset="after"))
            assert first.lease.attempt()  # made, answer lost, sent again: a conflict with itself
            proxy.fault(Fault(lambda seen: seen.method == "PATCH", 1, reset="after"))
            assert first.lease.attempt()
        assert world.spec()["holderIdentity"] == "first"
        assert world.spec()["leaseTransitions"] == 0
    finally:
        proxy.stop()


def test_a_lease_that_somebody_deletes_or_edits_is_taken_up_again_or_lost(world: World) -> None:
    first, second = world.candidate("first"), world.candidate("second")
    assert first.lease.attempt()
    world.plane.call("DELETE", world.path)
    assert second.lease.attempt()
    assert not first.lease.attempt()
    edited = {"spec": {"holderIdentity": "somebody"}}
    world.plane.call("PATCH", world.path, edited, content="application/merge-patch+json")
    assert not second.lease.attempt()
    assert second.lease.holder == "somebody"


def test_without_the_right_to_it_nobody_leads_and_the_reason_is_told(world: World) -> None:
    accounts = f"/api/v1/namespaces/{world.namespace}/serviceaccounts"
    world.plane.call("POST", accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = world.plane.call("POST", f"{accounts}/nobody/token", request)["status"]["token"]
    access = replace(read_access([world.plane.kubeconfig]), token=token)
    with KubernetesCluster(access, {}, SystemClock()) as cluster:
        candidate = world.candidate("nobody", cluster)
        assert not candidate.lease.attempt()
    assert "cannot get resource" in candidate.lease.problem


def test_an_election_renews_by_itself_hands_over_when_it_ends_and_is_followed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "PAUSE_S", 0.05)
    monkeypatch.setattr(lease_module, "RENEW_S", 300.0)
    monkeypatch.setattr(lease_module, "DURATION_S", 500)
    changed = threading.Condition()
    told: list[tuple[str, bool]] = []

    def hear(name: str, leads: bool) -> None:
        with changed:
            told.append((name, leads))
            changed.notify_all()

    def until(*wanted: tuple[str, bool]) -> None:
        with changed:
            assert changed.wait_for(lambda: told == list(wanted), 90), told

    lease = [Lease(world.cluster, world.namespace, "customhouse", secrets.token_hex(4), SystemClock()) for _ in "ab"]
    first = Election(lease[0], lambda leads: hear("first", leads))
    until(("first", True))
    second = Election(lease[1], lambda leads: hear("second", leads))
    first.close()
    until(("first", True), ("second", True))
    assert [item.leads for item in lease] == [False, True]
    second.close()


def test_another_controllers_record_is_respected(world: World) -> None:
    """What client-go writes, with the duration that it names."""
    spec = {
        "holderIdentity": "other_1",
        "leaseDurationSeconds": 60,
        "acquireTime": "2020-01-01T00:00:00.000000Z",
        "renewTime": "2020-01-01T00:00:00.000000Z",
        "leaseTransitions": 3,
    }
    metadata = {"name": "customhouse", "namespace": world.namespace}
    manifest = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
    assert world.cluster.write([Apply(manifest)])[0].ok
    candidate = world.candidate("ours")
    assert not candidate.lease.attempt()
    candidate.clock.advance(60)
    assert not candidate.lease.attempt()
    candidate.clock.advance(1)
    assert candidate.lease.attempt()
    assert world.spec()["leaseTransitions"] == 4
