"""What is kept of a cluster: never less in silence, and owners by uid."""

from __future__ import annotations

from typing import Any

from customhouse.core.cluster import ApiKind, ClusterEvent, EventKind, Listed
from customhouse.execution.live import Ancestry, LiveIndex, worth_listing

PODS = ApiKind("", "v1", "Pod", "pods", True, ("list", "watch"))
SETS = ApiKind("apps", "v1", "ReplicaSet", "replicasets", True, ("list", "watch"))


def thing(name: str, uid: str = "", owner: dict[str, Any] | None = None, kind: ApiKind = PODS) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "n", "uid": uid}
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def owner(uid: str, **other: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set", "uid": uid, "controller": True, **other}


def told(event: EventKind, manifest: dict[str, Any] | None = None, problem: str = "") -> ClusterEvent:
    return ClusterEvent(event, PODS, manifest, problem)


def names(index: LiveIndex) -> list[str]:
    return [item["metadata"]["name"] for item in index.picture().objects]


def test_a_kind_is_a_problem_until_all_of_it_is_known() -> None:
    index = LiveIndex()
    index.expect([PODS, SETS])
    assert set(index.picture().problems) == {"pods", "replicasets.apps"}
    index.put(Listed(SETS))
    index.take([told(EventKind.RESTARTED), told(EventKind.ADDED, thing("a"))])
    assert index.picture().problems == {"pods": "being listed"}
    assert not index.wait(0)
    index.take([told(EventKind.SYNCED)])
    assert index.picture().problems == {}
    assert index.wait(0)


def test_changes_replace_and_deletions_remove() -> None:
    index = LiveIndex()
    index.take([told(EventKind.RESTARTED), told(EventKind.ADDED, thing("a", "1")), told(EventKind.SYNCED)])
    index.take([told(EventKind.ADDED, thing("a", "2")), told(EventKind.ADDED, thing("b"))])
    assert [item["metadata"]["uid"] for item in index.picture().objects] == ["2", ""]
    index.take([told(EventKind.DELETED, thing("a", "2"))])
    assert names(index) == ["b"]
    index.take([told(EventKind.RESTARTED)])
    assert names(index) == []


def test_a_watch_that_fails_keeps_what_it_knew_and_says_so() -> None:
    index = LiveIndex()
    index.take([told(EventKind.RESTARTED), told(EventKind.ADDED, thing("a")), told(EventKind.SYNCED)])
    index.take([told(EventKind.FAILED, problem="Forbidden: no")])
    assert names(index) == ["a"]
    assert index.picture().problems == {"pods": "Forbidden: no"}


def test_what_does_not_fit_is_a_problem_and_room_comes_back() -> None:
    index = LiveIndex(max_objects=2)
    index.put(Listed(PODS, (thing("a"), thing("b"), thing("c"))))
    assert names(index) == ["a", "b"]
    assert "more than 2 objects" in index.picture().problems["pods"]
    index.put(Listed(PODS, (thing("a"),)))
    assert index.picture().problems == {}
    small = LiveIndex(max_bytes=200)
    small.put(Listed(PODS, (thing("x" * 300),)))
    assert "200 bytes" in small.picture().problems["pods"]
    index.forget(PODS)
    assert names(index) == []


def test_secrets_events_and_measurements_are_not_listed() -> None:
    def kind(group: str, name: str, *verbs: str) -> ApiKind:
        return ApiKind(group, "v1", name, name.lower() + "s", True, verbs or ("list",))

    kinds = [PODS, kind("", "Secret"), kind("", "Event"), kind("metrics.k8s.io", "PodMetrics"), kind("x.io", "Secret")]
    assert [item.resource for item in worth_listing(kinds)] == ["pods", "secrets.x.io"]
    assert worth_listing([kind("", "Binding"), kind("authentication.k8s.io", "TokenReview", "create")]) == ()


def test_an_owner_is_one_that_exists_and_is_what_is_claimed() -> None:
    set_ = thing("set", "u1", kind=SETS)
    made = thing("pod", "u2", owner("u1"))
    ancestry = Ancestry([set_, made])
    assert ancestry.ancestors(made) == (set_,)
    for wrong in (
        owner("u9"),
        owner("u1", kind="Deployment"),
        owner("u1", name="another"),
        owner("u1", apiVersion="evil.io/v1"),
        owner("u1", controller=False),
        owner("u1", controller="true"),
        owner(""),
        {"uid": "u1"},
    ):
        assert ancestry.ancestors(thing("pod", "u3", wrong)) == (), wrong
    elsewhere = thing("pod", "u4", owner("u1"))
    elsewhere["metadata"]["namespace"] = "other"
    assert ancestry.ancestors(elsewhere) == ()


def test_owners_in_a_circle_end() -> None:
    one = thing("set", "u1", owner("u2"), kind=SETS)
    two = thing("set", "u2", owner("u1"), kind=SETS)
    assert Ancestry([one, two]).ancestors(one) == (two,)
    self_owned = thing("set", "u1", owner("u1"), kind=SETS)
    assert Ancestry([self_owned]).ancestors(self_owned) == ()


def test_a_watch_that_failed_and_goes_on_is_a_problem_no_more_and_what_was_too_much_still_is() -> None:
    index = LiveIndex(max_objects=1)
    index.take([told(EventKind.RESTARTED), told(EventKind.ADDED, thing("a")), told(EventKind.SYNCED)])
    index.take([told(EventKind.FAILED, problem="connection refused")])
    assert list(index.picture().problems.values()) == ["connection refused"]
    index.take([told(EventKind.SYNCED)])
    assert index.picture().problems == {}
    index.take([told(EventKind.ADDED, thing("b")), told(EventKind.FAILED, problem="reset"), told(EventKind.SYNCED)])
    assert ["more than 1" in problem for problem in index.picture().problems.values()] == [True]
