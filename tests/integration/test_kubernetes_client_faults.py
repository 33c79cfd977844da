"""The Kubernetes client against a real API server behind a proxy that breaks answers, connections and streams."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.core.cluster import ApiKind, Apply, ClusterEvent, Delete, EventKind, Refusal, Scope, Written
from customhouse.core.errors import StateError
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes import reading, retries
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from faulty_proxy import Fault, FaultyProxy, Seen, status_answer
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")

MAPS = ApiKind("", "v1", "ConfigMap", "configmaps", True, ("list", "watch"))


@dataclass
class World:
    """A namespace, the real API server, the proxy before it and a client that talks through the proxy."""

    plane: ControlPlane
    proxy: FaultyProxy
    cluster: KubernetesCluster
    namespace: str

    def map(self, name: str, value: str = "1") -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}

    def path(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace}/configmaps" + (f"/{name}" if name else "")

    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.plane.call("GET", self.path())["items"]]

    def write(self, *changes: Apply | Delete) -> Sequence[Written]:
        return self.cluster.write(changes)


@pytest.fixture
def world(kubernetes: ControlPlane) -> Iterator[World]:
    proxy = FaultyProxy(kubernetes)
    access = replace(read_access([kubernetes.kubeconfig]), server=proxy.address)
    with KubernetesCluster(access, {}, SystemClock()) as cluster:
        yield World(kubernetes, proxy, cluster, kubernetes.namespace("faults"))
    proxy.stop()


def patches(seen: Seen) -> bool:
    return seen.method == "PATCH"


def watches(seen: Seen) -> bool:
    return seen.watches


def test_many_objects_are_written_at_a_time_and_the_results_keep_their_order(world: World) -> None:
    done = world.write(*(Apply(world.map(f"m-{index:02}")) for index in range(40)))
    assert [item.manifest["metadata"]["name"] for item in done if item.manifest] == [f"m-{i:02}" for i in range(40)]
    assert all(item.ok for item in done)
    assert 1 < world.proxy.most_at_once <= 24
    assert all("managedFields" not in item.manifest["metadata"] for item in done if item.manifest)


def test_changes_of_one_object_are_made_in_their_order(world: World) -> None:
    changes = [Apply(world.map("one", str(index))) for index in range(12)]
    others = [Apply(world.map(f"other-{index}")) for index in range(12)]
    world.write(*(change for pair in zip(changes, others, strict=True) for change in pair))
    assert world.plane.call("GET", world.path("one"))["data"] == {"value": "11"}


def test_an_api_that_is_too_busy_gets_less_at_a_time_and_everything_in_the_end(world: World) -> None:
    busy = world.proxy.fault(Fault(patches, 20, answer=status_answer(429, "TooManyRequests", {"Retry-After": "0"})))
    done = world.write(*(Apply(world.map(f"m-{index:02}")) for index in range(30)))
    assert [item.problem for item in done if not item.ok] == []
    assert busy.hit == 20
    assert len(world.names()) >= 30


@pytest.mark.parametrize("reset", ["before", "after"])
def test_an_apply_whose_connection_breaks_is_sent_again(world: World, reset: str) -> None:
    broken = world.proxy.fault(Fault(patches, 3, reset=reset))
    (done,) = world.write(Apply(world.map("a")))
    assert (done.ok, broken.hit) == (True, 3)


def test_an_apply_that_hangs_is_sent_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "REQUEST_S", 3.0)
    world.write(Apply(world.map("before")))
    hung = world.proxy.fault(Fault(patches, 1, hang=True))
    assert world.write(Apply(world.map("a")))[0].ok
    assert hung.hit == 1


def test_a_deletion_by_uid_is_sent_again_and_one_by_name_alone_is_told_as_unknown(world: World) -> None:
    first, second = (item.manifest for item in world.write(Apply(world.map("a")), Apply(world.map("b"))))
    assert first is not None
    assert second is not None
    world.proxy.fault(Fault(lambda seen: seen.method == "DELETE", 2, reset="after"))
    (by_name,) = world.write(Delete(ResourceRef.of(first)))
    (by_uid,) = world.write(Delete(ResourceRef.of(second), uid=second["metadata"]["uid"]))
    assert (by_name.ok, by_name.refusal, by_name.unknown) == (False, Refusal.UNREACHABLE, True)
    assert by_uid.ok
    sent = [seen.target for seen in world.proxy.seen if seen.method == "DELETE"]
    assert sum(target.endswith("/a") for target in sent) == 1
    assert not {"a", "b"} & set(world.names())


def test_an_internal_error_is_tried_a_few_times_more_and_then_told(world: World) -> None:
    broken = world.proxy.fault(Fault(patches, 9, answer=status_answer(500, "InternalError")))
    (refused,) = world.write(Apply(world.map("a")))
    assert (refused.ok, refused.refusal, refused.unknown, broken.hit) == (False, Refusal.BROKEN, True, 4)


def test_one_part_of_the_api_that_is_closed_holds_up_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "ALONE_S", 1.0)
    world.write(Apply(world.map("before")))
    world.proxy.fault(Fault(lambda seen: "/bad" in seen.target, 1000, answer=status_answer(503, "ServiceUnavailable")))
    done = world.write(*(Apply(world.map(name)) for name in ("bad-1", "bad-2", *(f"m-{index}" for index in range(60)))))
    assert [item.refusal for item in done[:2]] == [Refusal.BUSY, Refusal.BUSY]
    assert all(item.ok for item in done[2:])


def test_a_restart_of_the_api_in_the_middle_of_a_batch_loses_nothing(world: World) -> None:
    batch = [Apply(world.map(f"m-{index:03}")) for index in range(60)]
    world.write(Apply(world.map("before")))
    done: list[Sequence[Written]] = []
    writing = threading.Thread(target=lambda: done.append(world.cluster.write(batch)))
    seen = len(world.proxy.seen)
    writing.start()
    world.plane.until(lambda: len(world.proxy.seen) > seen + 10)
    world.proxy.down()
    world.proxy.up()
    writing.join(120)
    assert all(item.ok for item in done[0])
    assert len([name for name in world.names() if name.startswith("m-")]) == 60


def test_an_api_that_stays_away_ends_the_batch_once_with_what_is_not_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(Apply(world.map("before")))
    monkeypatch.setattr("customhouse.execution.adapters.kubernetes.transport.Tries", _impatient)
    world.proxy.down()
    done = world.write(*(Apply(world.map(f"m-{index:03}")) for index in range(500)))
    assert {(item.ok, item.refusal) for item in done} == {(False, Refusal.UNREACHABLE)}
    assert not done[-1].unknown  # it was not even tried
    assert world.proxy.address in done[-1].problem
    world.proxy.up()
    assert world.write(Apply(world.map("after")))[0].ok


def _impatient(*arguments: Any) -> retries.Tries:
    transport_, path, again, _, pace = arguments
    return retries.Tries(transport_, path, again, 1.0, pace)


class Heard:
    """A sink that keeps what a reader believes to exist, and what it was told."""

    def __init__(self) -> None:
        self.objects: dict[str, str] = {}
        self.synced = False
        self.told: list[tuple[EventKind, str]] = []
        self._changed = threading.Condition()

    def __call__(self, events: Sequence[ClusterEvent]) -> None:
        with self._changed:
            for event in events:
                name = event.manifest["metadata"]["name"] if event.manifest else event.problem
                self.told.append((event.event, name))
                if event.event is EventKind.RESTARTED:
                    self.objects, self.synced = {}, False
                elif event.event is EventKind.SYNCED:
                    self.synced = True
                elif event.event is EventKind.ADDED and event.manifest:
                    self.objects[name] = event.manifest.get("data", {}).get("value", "")
                elif event.event is EventKind.DELETED:
                    self.objects.pop(name, None)
            self._changed.notify_all()

    def until(self, true: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, 90), (self.objects, self.synced, self.told[-20:])

    def count(self, kind: EventKind) -> int:
        return sum(item is kind for item, _ in self.told)


@dataclass
class Watched:
    """What a watch of the namespace's ConfigMaps has told."""

    world: World
    heard: Heard

    def has(self, **objects: str) -> None:
        """Wait until exactly these are believed to exist (beside what every namespace has)."""
        self.heard.until(
            lambda: (
                self.heard.synced
                and {key: value for key, value in self.heard.objects.items() if key != "kube-root-ca.crt"} == objects
            )
        )

    def put(self, name: str, value: str = "1") -> None:
        self.world.plane.apply(self.world.path(name), self.world.map(name, value))


@pytest.fixture
def watched(world: World, monkeypatch: pytest.MonkeyPatch) -> Watched:
    # What takes minutes in earnest is the same in seconds.
    monkeypatch.setattr(reading, "WATCH_S", 20)
    monkeypatch.setattr(reading, "_MARKED_SILENCE_S", 3.0)
    monkeypatch.setattr(reading, "_SILENCE_S", 10.0)
    monkeypatch.setattr(reading, "_PATIENT_S", 0.3)
    return Watched(world, Heard())


def begin(watched: Watched) -> Callable[[], None]:
    return watched.world.cluster.watch([MAPS], watched.heard, Scope(watched.world.namespace))


def stream_error(code: int) -> bytes:
    status = {"kind": "Status", "code": code, "reason": "Expired" if code == 410 else "InternalError", "message": "no"}
    return json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(watches, 2, answer=status_answer(429, "TooManyRequests", {"Retry-After": "0"})), id="429"),
        pytest.param(Fault(watches, 2, answer=status_answer(500, "InternalError")), id="500"),
        pytest.param(Fault(watches, 2, answer=(200, {"Content-Type": "application/json"}, b"")), id="empty"),
        pytest.param(Fault(watches, 2, answer=(502, {}, b"<html>bad gateway</html>")), id="502"),
        pytest.param(Fault(watches, 2, reset="before"), id="reset"),
        pytest.param(Fault(watches, 2, lines=1), id="ends-before-it-is-complete"),
        pytest.param(Fault(watches, 2, lines=1, end_with=b'{"type":"ADDED","object":{"metad'), id="cut-in-a-line"),
        pytest.param(Fault(watches, 2, lines=1, end_with=b"\x00\xff not json\n"), id="garbage"),
        pytest.param(
            Fault(watches, 2, lines=1, end_with=b'{"type":"ADDED","object":{"metadata":[]}}\n'), id="no-object"
        ),
        pytest.param(Fault(watches, 2, lines=1, end_with=stream_error(500)), id="error-event"),
        pytest.param(Fault(watches, 2, lines=1, end_with=stream_error(410)), id="expired"),
        pytest.param(Fault(watches, 2, drip=7), id="drip"),
    ],
)
def test_a_first_state_that_goes_wrong_is_told_again_until_it_is_whole(watched: Watched, fault: Fault) -> None:
    watched.put("a")
    watched.put("b", "2")
    broken = watched.world.proxy.fault(replace(fault))
    stop = begin(watched)
    watched.has(a="1", b="2")
    watched.put("c", "3")
    watched.has(a="1", b="2", c="3")
    watched.world.plane.call("DELETE", watched.world.path("a"))
    watched.has(b="2", c="3")
    stop()
    assert broken.hit >= 1


def test_an_expired_place_is_told_as_a_new_beginning_and_deletions_in_between_are_seen(watched: Watched) -> None:
    watched.put("a")
    watched.put("b")
    watched.world.proxy.fault(Fault(watches, 1, lines=4))  # a, b, kube-root-ca.crt and the mark: then the stream ends
    gone = watched.world.proxy.fault(
        Fault(lambda seen: seen.watches and "resourceVersion=" in seen.target, 1, answer=status_answer(410, "Expired"))
    )
    stop = begin(watched)
    watched.has(a="1", b="1")
    watched.world.plane.call("DELETE", watched.world.path("a"))
    watched.put("c")
    watched.heard.until(lambda: watched.heard.count(EventKind.RESTARTED) == 2)
    watched.has(b="1", c="1")
    stop()
    assert gone.hit == 1


def test_a_stream_that_falls_silent_without_an_end_is_given_up_and_taken_up_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_SILENCE_S", 2.0)
    watched.put("a")
    silent = watched.world.proxy.fault(Fault(watches, 2, lines=1, hang=True))
    stop = begin(watched)
    watched.has(a="1")
    watched.put("b")
    watched.has(a="1", b="1")
    stop()
    assert silent.hit == 2


def test_a_restart_of_the_api_between_two_events_loses_none(watched: Watched) -> None:
    watched.put("a")
    stop = begin(watched)
    watched.has(a="1")
    watched.world.proxy.down()
    watched.put("b")
    watched.world.plane.call("DELETE", watched.world.path("a"))
    watched.heard.until(lambda: watched.heard.count(EventKind.FAILED) >= 1)
    before = watched.heard.count(EventKind.SYNCED)
    watched.world.proxy.up()
    watched.has(b="1")
    watched.heard.until(lambda: watched.heard.count(EventKind.SYNCED) > before)
    stop()
    assert watched.heard.count(EventKind.RESTARTED) == 1  # taken up where it was


def test_a_sink_that_asks_the_cluster_is_told_so_instead_of_waiting_for_ever(watched: Watched) -> None:
    watched.put("a")
    problems: list[str] = []

    def sink(events: Sequence[ClusterEvent]) -> None:
        watched.heard(events)
        problems.extend(event.problem for event in events if event.event is EventKind.FAILED)
        if not problems:
            watched.world.cluster.get([ResourceRef("v1", "ConfigMap", watched.world.namespace, "a")])

    stop = watched.world.cluster.watch([MAPS], sink, Scope(watched.world.namespace))
    watched.has(a="1")
    stop()
    assert "a sink asks the cluster" in problems[0]


def test_a_client_that_is_closed_ends_what_is_under_way_with_an_error(world: World) -> None:
    access = replace(read_access([world.plane.kubeconfig]), server=world.proxy.address)
    cluster = KubernetesCluster(access, {}, SystemClock())
    cluster.write([Apply(world.map("before"))])
    hung = world.proxy.fault(Fault(patches, 1, hang=True))
    raised: list[BaseException] = []

    def write() -> None:
        try:
            cluster.write([Apply(world.map("a"))])
        except StateError as error:
            raised.append(error)

    writing = threading.Thread(target=write)
    writing.start()
    world.plane.until(lambda: hung.hit)
    cluster.close()
    writing.join(60)
    assert len(raised) == 1


def test_a_sink_that_fails_is_told_everything_again(watched: Watched) -> None:
    watched.put("a")
    failures = 2

    def sink(events: Sequence[ClusterEvent]) -> None:
        nonlocal failures
        if failures and any(event.event is EventKind.ADDED for event in events):
            failures -= 1
            raise ValueError("a bug of the reader")
        watched.heard(events)

    stop = watched.world.cluster.watch([MAPS], sink, Scope(watched.world.namespace))
    watched.has(a="1")
    stop()
    assert any(kind is EventKind.FAILED and "a bug of the reader" in name for kind, name in watched.heard.told)
