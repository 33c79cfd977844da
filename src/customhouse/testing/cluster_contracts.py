"""Contract suite of Cluster: what reconciling rests on, of a real API and of the fake alike.

Run by pytest. Subclass it and give it the fixtures `cluster: Cluster` (applies as the field manager `customhouse`),
`namespace: str` (an empty one that exists) and `other: Callable[[dict], None]` (applies an object by force as another
field manager, `other`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from customhouse.core.cluster import (
    ApiKind,
    Apply,
    Cluster,
    ClusterChange,
    ClusterEvent,
    Delete,
    EventKind,
    Refusal,
    Remove,
    Scope,
    Written,
    managers_of,
)
from customhouse.core.resource import ResourceRef
from customhouse.testing.target_contracts import eventually

MAPS = ApiKind("", "v1", "ConfigMap", "configmaps", namespaced=True, verbs=("get", "list", "watch"))


def config_map(namespace: str, name: str = "one", **data: str) -> dict[str, Any]:
    """A ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def ref(namespace: str, name: str = "one") -> ResourceRef:
    """The reference of a ConfigMap."""
    return ResourceRef("v1", "ConfigMap", namespace, name)


def made(cluster: Cluster, change: ClusterChange) -> Written:
    """What came of one change."""
    (answer,) = cluster.write([change])
    return answer


class ClusterContract:
    """What any Cluster does."""

    def test_an_apply_that_changes_nothing_keeps_the_version(self, cluster: Cluster, namespace: str) -> None:
        """So a second run writes nothing."""
        first = made(cluster, Apply(config_map(namespace, a="1"), force=True))
        second = made(cluster, Apply(config_map(namespace, a="1"), force=True))
        assert first.manifest is not None
        assert second.manifest is not None
        assert first.manifest["metadata"]["resourceVersion"] == second.manifest["metadata"]["resourceVersion"]

    def test_a_field_that_is_no_longer_applied_goes(self, cluster: Cluster, namespace: str) -> None:
        """Unless somebody else owns it too."""
        made(cluster, Apply(config_map(namespace, a="1", b="2"), force=True))
        answer = made(cluster, Apply(config_map(namespace, a="1"), force=True))
        assert answer.manifest is not None
        assert answer.manifest["data"] == {"a": "1"}

    def test_a_dry_run_tells_what_would_be_and_changes_nothing(self, cluster: Cluster, namespace: str) -> None:
        """The answer has the version of the state that it was made from."""
        first = made(cluster, Apply(config_map(namespace, a="1"), force=True))
        would = made(cluster, Apply(config_map(namespace, a="2"), force=True, dry_run=True))
        assert first.manifest is not None
        assert would.manifest is not None
        assert would.manifest["data"] == {"a": "2"}
        assert would.manifest["metadata"]["resourceVersion"] == first.manifest["metadata"]["resourceVersion"]
        assert would.manifest["metadata"]["uid"] == first.manifest["metadata"]["uid"]
        (live,) = cluster.get([ref(namespace)])
        assert live is not None
        assert live["data"] == {"a": "1"}
        assert made(cluster, Apply(config_map(namespace, "two"), dry_run=True)).ok
        assert list(cluster.get([ref(namespace, "two")])) == [None]

    def test_what_another_manager_owns_is_a_conflict_without_force(
        self, cluster: Cluster, namespace: str, other: Callable[[dict[str, Any]], None]
    ) -> None:
        """With force it is taken over; what has the same value is shared."""
        made(cluster, Apply(config_map(namespace, a="1"), force=True))
        other(config_map(namespace, a="2", b="2"))
        refused = made(cluster, Apply(config_map(namespace, a="1")))
        assert (refused.ok, refused.refusal) == (False, Refusal.CONFLICT)
        answer = made(cluster, Apply(config_map(namespace, a="1"), force=True))
        assert answer.manifest is not None
        assert answer.manifest["data"] == {"a": "1", "b": "2"}
        (live,) = cluster.get([ref(namespace)])
        assert live is not None
        owned = {(item.name, item.operation): item.fields for item in managers_of(live)}
        assert owned["customhouse", "Apply"]["f:data"].keys() - {"."} == {"f:a"}
        assert "f:b" in next(fields for (name, _), fields in owned.items() if name == "other")["f:data"]

    def test_another_manager_of_ours_adds_to_the_very_object_and_takes_its_own_away(
        self, cluster: Cluster, namespace: str
    ) -> None:
        """Neither takes the other's fields along; an object of another uid, or none, is a conflict."""
        first = made(cluster, Apply(config_map(namespace, a="1"), force=True)).manifest
        assert first is not None
        place: dict[str, Any] = {"name": "one", "namespace": namespace, "uid": first["metadata"]["uid"]}
        beside = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": place}
        noted = {**beside, "metadata": {**place, "annotations": {"customhouse.dev/touched": "1"}}}
        answer = made(cluster, Apply(noted, force=True, manager="beside"))
        assert answer.manifest is not None
        assert answer.manifest["data"] == {"a": "1"}
        again = made(cluster, Apply(config_map(namespace, a="1"), force=True))
        assert again.manifest is not None
        assert again.manifest["metadata"]["annotations"] == {"customhouse.dev/touched": "1"}
        answer = made(cluster, Apply(beside, force=True, manager="beside"))
        assert answer.manifest is not None
        assert not answer.manifest["metadata"].get("annotations")
        assert answer.manifest["data"] == {"a": "1"}
        made(cluster, Delete(ref(namespace)))
        gone = made(cluster, Apply(noted, force=True, manager="beside"))
        assert (gone.ok, gone.refusal) == (False, Refusal.CONFLICT)
        assert list(cluster.get([ref(namespace)])) == [None]

    def test_fields_are_taken_only_from_the_state_that_was_looked_at(
        self, cluster: Cluster, namespace: str, other: Callable[[dict[str, Any]], None]
    ) -> None:
        """Others' fields go, and their ownership with them; a dry run takes nothing."""
        made(cluster, Apply(config_map(namespace, a="1"), force=True))
        other(config_map(namespace, b="2", c="3"))
        (live,) = cluster.get([ref(namespace)])
        assert live is not None
        uid, version = str(live["metadata"]["uid"]), str(live["metadata"]["resourceVersion"])
        stale = made(cluster, Remove(ref(namespace), ("/data/b",), uid, str(int(version) - 1)))
        assert (stale.ok, stale.refusal) == (False, Refusal.CONFLICT)
        assert not made(cluster, Remove(ref(namespace), ("/data/b",), "no-such-uid", version)).ok
        assert made(cluster, Remove(ref(namespace), ("/data/b",), uid, version, dry_run=True)).ok
        (same,) = cluster.get([ref(namespace)])
        assert same is not None
        assert same["data"] == {"a": "1", "b": "2", "c": "3"}
        answer = made(cluster, Remove(ref(namespace), ("/data/b", "/data/c"), uid, version))
        assert answer.manifest is not None
        assert answer.manifest["data"] == {"a": "1"}

    def test_a_deletion_names_the_very_object_and_its_state(self, cluster: Cluster, namespace: str) -> None:
        """Another uid, or an older state, is a conflict; what is not there is no error."""
        first = made(cluster, Apply(config_map(namespace, a="1"), force=True)).manifest
        assert first is not None
        uid, version = str(first["metadata"]["uid"]), str(first["metadata"]["resourceVersion"])
        made(cluster, Apply(config_map(namespace, a="2"), force=True))
        for change in (
            Delete(ref(namespace), uid="00000000-0000-0000-0000-000000000000"),
            Delete(ref(namespace), uid, version),
        ):
            answer = made(cluster, change)
            assert (answer.ok, answer.refusal) == (False, Refusal.CONFLICT)
        assert made(cluster, Delete(ref(namespace), uid)).ok
        assert eventually(lambda: list(cluster.get([ref(namespace)])) == [None])
        gone = made(cluster, Delete(ref(namespace), uid))
        assert (gone.ok, gone.manifest) == (True, None)

    def test_a_finalizer_holds_an_object_that_is_deleted(self, cluster: Cluster, namespace: str) -> None:
        """The deletion is accepted, and the object says since when it waits."""
        held = config_map(namespace, a="1")
        held["metadata"]["finalizers"] = ["example.com/wait"]
        made(cluster, Apply(held, force=True))
        answer = made(cluster, Delete(ref(namespace)))
        assert answer.ok
        (live,) = cluster.get([ref(namespace)])
        assert live is not None
        assert live["metadata"]["deletionTimestamp"]
        made(cluster, Apply(config_map(namespace, a="1"), force=True))  # takes the finalizer away
        assert eventually(lambda: list(cluster.get([ref(namespace)])) == [None])

    def test_no_namespace_and_no_kind_are_told_apart(self, cluster: Cluster, namespace: str) -> None:
        """Both may come later; neither is an error of the object."""
        assert made(cluster, Apply(config_map(f"{namespace}-no"), force=True)).refusal is Refusal.NO_NAMESPACE
        widget = {**config_map(namespace), "apiVersion": "no.example.com/v1", "kind": "Widget"}
        assert made(cluster, Apply(widget, force=True)).refusal is Refusal.NO_KIND

    def test_a_watch_tells_what_is_there_and_then_what_happens(self, cluster: Cluster, namespace: str) -> None:
        """In order, with versions that grow."""
        made(cluster, Apply(config_map(namespace, "before"), force=True))
        seen: list[ClusterEvent] = []
        changed = threading.Condition()

        def sink(events: Sequence[ClusterEvent]) -> None:
            with changed:
                seen.extend(events)

        stop = cluster.watch([MAPS], sink, Scope(namespace))
        try:
            assert self._until(cluster, lambda: any(item.event is EventKind.SYNCED for item in seen))
            assert seen[0].event is EventKind.RESTARTED
            made(cluster, Apply(config_map(namespace, "after"), force=True))
            made(cluster, Delete(ref(namespace, "before")))
            assert self._until(cluster, lambda: any(item.event is EventKind.DELETED for item in seen))
        finally:
            stop()
        told = [(item.event, item.manifest["metadata"]["name"]) for item in seen if item.manifest is not None]
        told = [item for item in told if item[1] in ("before", "after")]
        assert told == [(EventKind.ADDED, "before"), (EventKind.ADDED, "after"), (EventKind.DELETED, "before")]
        versions = [int(item.manifest["metadata"]["resourceVersion"]) for item in seen[1:] if item.manifest is not None]
        assert versions[-1] == max(versions)

    @staticmethod
    def _until(cluster: Cluster, holds: Callable[[], bool]) -> bool:
        deliver = getattr(cluster, "deliver", lambda: None)

        def look() -> bool:
            deliver()
            return holds()

        return eventually(look)

    def test_a_list_is_of_one_namespace_and_of_labels(self, cluster: Cluster, namespace: str) -> None:
        """As inventories are found."""
        marked = config_map(namespace, "marked")
        marked["metadata"]["labels"] = {"example.com/mark": "v1"}
        made(cluster, Apply(marked, force=True))
        made(cluster, Apply(config_map(namespace, "plain"), force=True))
        (listed,) = cluster.list([MAPS], Scope(namespace, "example.com/mark"))
        assert [item["metadata"]["name"] for item in listed.objects] == ["marked"]
