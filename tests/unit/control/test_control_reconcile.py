"""Planning and reconciling against a target that remembers everything it was told."""

from __future__ import annotations

import pytest
from control_world import Killed, MemoryStore, MemoryTarget, declare

from customhouse.control import inventory
from customhouse.control.plan import PRUNE, WAVE, plan
from customhouse.control.reconcile import DriftKind, ReconcileReport, reconcile
from customhouse.control.render import render
from customhouse.core.errors import StateError
from customhouse.core.plan import HealthStatus
from customhouse.core.resource import Declaration


@pytest.fixture
def target() -> MemoryTarget:
    return MemoryTarget()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def sync(
    target: MemoryTarget, store: MemoryStore, desired: tuple[Declaration, ...], revision: str = "r1", **options: object
) -> ReconcileReport:
    target.log.clear()
    return reconcile(target, store, "fleet", revision, desired, **options)  # type: ignore[arg-type]


def test_a_second_run_writes_nothing_at_all(target: MemoryTarget, store: MemoryStore) -> None:
    desired = declare(("a", "1"), ("b", "1"))
    assert sync(target, store, desired).ok
    writes = store.writes
    report = sync(target, store, desired)
    assert report.settled
    assert target.log == []
    assert store.writes == writes
    assert inventory.load(store, "local", "fleet").revision == "r1"
    assert report.status is HealthStatus.HEALTHY


def test_only_what_changed_is_patched_and_what_left_is_deleted_last(target: MemoryTarget, store: MemoryStore) -> None:
    sync(target, store, declare(("a", "1"), ("b", "1"), ("c", "1")))
    sync(target, store, declare(("b", "2"), ("c", "1"), ("d", "1")), "r2")
    assert target.log == ["patch b", "create d", "delete a"]


def test_a_field_that_is_no_longer_declared_is_taken_back(target: MemoryTarget, store: MemoryStore) -> None:
    sync(target, store, declare(("a", "1", {"x": "y"})))
    sync(target, store, declare(("a", "1")), "r2")
    assert target.log == ["patch a"]
    assert "annotations" not in next(iter(target.objects.values()))["metadata"]


def test_objects_of_others_are_never_deleted(target: MemoryTarget, store: MemoryStore) -> None:
    for item in declare(("foreign", "1"), ("mine", "1"), ("too", "1")):
        target.objects[item.ref] = item.manifest
    sync(target, store, declare(("mine", "1"), ("too", "1")))
    sync(target, store, declare(("mine", "1")), "r2")
    assert {ref.name for ref in target.objects} == {"foreign", "mine"}


def test_an_object_of_another_source_is_not_taken_over(target: MemoryTarget, store: MemoryStore) -> None:
    sync(target, store, declare(("a", "1")))
    report = reconcile(target, store, "other", "r1", declare(("a", "2"), ("b", "1")))
    assert report.blocked is not None
    assert "belongs to the source 'fleet'" in report.blocked
    assert [ref.name for ref in target.objects] == ["a"]


def test_an_empty_render_deletes_nothing(target: MemoryTarget, store: MemoryStore) -> None:
    sync(target, store, declare(("a", "1")))
    report = sync(target, store, (), "r2")
    assert report.blocked is not None
    assert "declares nothing" in report.blocked
    assert not report.ok
    assert len(target.objects) == 1
    assert sync(target, MemoryStore(), ()).settled


def test_a_prune_above_the_budget_is_blocked_until_it_is_raised(target: MemoryTarget, store: MemoryStore) -> None:
    sync(target, store, declare(("a", "1"), ("b", "1"), ("c", "1")))
    report = sync(target, store, declare(("a", "2")), "r2")
    assert report.blocked is not None
    assert "2 of 3 objects would be deleted (ConfigMap default/b, ConfigMap default/c)" in report.blocked
    assert target.log == []
    assert sync(target, store, declare(("a", "2")), "r2", prune_budget_percent=70).ok
    assert len(target.objects) == 1


def test_an_object_that_asks_to_be_kept_is_kept(target: MemoryTarget, store: MemoryStore) -> None:
    sync(target, store, declare(("a", "1", {PRUNE: "disabled"}), ("b", "1")))
    report = sync(target, store, declare(("b", "1")), "r2")
    assert [ref.name for ref in report.kept] == ["a"]
    assert len(target.objects) == 2
    assert report.settled


def test_drift_is_seen_told_apart_and_healed(target: MemoryTarget, store: MemoryStore) -> None:
    desired = declare(("a", "1"), ("b", "1"))
    sync(target, store, desired)
    target.objects[desired[0].ref] = {**desired[0].manifest, "data": {"k": "evil"}}
    del target.objects[desired[1].ref]
    report = sync(target, store, desired)
    assert [(item.kind, item.ref.name) for item in report.drift] == [
        (DriftKind.ALTERED, "a"),
        (DriftKind.MISSING, "b"),
    ]
    assert report.drift[0].diff[0].live == "evil"
    assert report.health is not None
    assert report.health[desired[1].ref].status is HealthStatus.MISSING
    assert report.status is HealthStatus.MISSING
    assert sync(target, store, desired).settled


def test_a_new_revision_is_not_drift(target: MemoryTarget, store: MemoryStore) -> None:
    sync(target, store, declare(("a", "1")))
    assert sync(target, store, declare(("a", "2")), "r2").drift == ()


def test_a_refused_action_does_not_stop_the_others_and_is_tried_again(target: MemoryTarget, store: MemoryStore) -> None:
    target.refuse = {"a"}
    report = sync(target, store, declare(("a", "1"), ("b", "1")))
    assert not report.ok
    assert [ref.name for ref in target.objects] == ["b"]
    assert inventory.load(store, "local", "fleet").revision == ""
    target.refuse = set()
    assert sync(target, store, declare(("a", "1"), ("b", "1"))).ok
    assert target.log == ["create a"]
    assert inventory.load(store, "local", "fleet").revision == "r1"


def test_a_delete_that_is_refused_is_not_forgotten(target: MemoryTarget, store: MemoryStore) -> None:
    sync(target, store, declare(("a", "1"), ("b", "1")))
    target.refuse = {"a"}
    assert not sync(target, store, declare(("b", "1")), "r2").ok
    target.refuse = set()
    sync(target, store, declare(("b", "1")), "r2")
    assert target.log == ["delete a"]


def test_a_wave_waits_until_the_one_before_is_healthy(target: MemoryTarget, store: MemoryStore) -> None:
    desired = declare(("late", "1", {WAVE: "2"}), ("early", "1"))
    target.unhealthy = {"early"}
    for _ in range(3):
        report = sync(target, store, desired)
        assert [ref.name for ref in report.waiting] == ["early"]
        assert [ref.name for ref in target.objects] == ["early"]
    assert inventory.load(store, "local", "fleet").revision == ""
    target.unhealthy = set()
    assert sync(target, store, desired).waiting == ()
    assert target.log == ["create late"]
    assert sync(target, store, desired).settled


def test_kinds_are_ordered_and_deleted_in_reverse(target: MemoryTarget, store: MemoryStore) -> None:
    kinds = ("InferenceService", "Ingress", "Odd", "Namespace", "ConfigMap")
    text = "---\n".join(
        f"apiVersion: {'serving.kserve.io/v1' if kind == 'InferenceService' else 'v1'}\nkind: {kind}\n"
        f"metadata: {{name: {kind.lower()}}}\n"
        for kind in kinds
    )
    desired = render({"a.yaml": text.encode()})
    sync(target, store, desired)
    order = ["namespace", "configmap", "inferenceservice", "odd", "ingress"]
    assert target.log == [f"create {name}" for name in order]
    keeper = declare(("keep", "1"))
    sync(target, store, (*desired, *keeper))
    sync(target, store, keeper, "r2", prune_budget_percent=100)
    assert target.log == [f"delete {name}" for name in reversed(order)]


def test_objects_that_a_rollout_walks_are_left_alone_and_not_lost(target: MemoryTarget, store: MemoryStore) -> None:
    desired = declare(("a", "1"), ("b", "1"))
    ref = desired[0].ref
    sync(target, store, desired, hold=(ref,))
    assert target.log == ["create b"]
    assert inventory.load(store, "local", "fleet").find(ref) is not None
    target.objects[ref] = {**desired[0].manifest, "spec": {"predictor": {"canaryTrafficPercent": 10}}}
    assert sync(target, store, desired, hold=(ref,)).settled
    sync(target, store, declare(("b", "1")), "r2")
    assert target.log == ["delete a"]


@pytest.mark.parametrize("moment", range(6))
def test_a_kill_at_any_moment_loses_no_object(target: MemoryTarget, store: MemoryStore, moment: int) -> None:
    sync(target, store, declare(("a", "1"), ("b", "1"), ("keep", "1")))
    if moment < 2:
        store.kill_on_write = moment
    else:
        target.kill_after = moment - 2
    second = declare(("b", "2"), ("c", "1"), ("keep", "1"))
    try:
        sync(target, store, second, "r2")
    except Killed:
        pass
    else:
        assert moment == 5, "the process was to be killed"
    store.kill_on_write = target.kill_after = None
    assert sync(target, store, second, "r2").ok
    assert sync(target, store, second, "r2").settled
    assert {ref.name for ref in target.objects} == {"b", "c", "keep"}
    # Whatever was made before the kill is known, so it can go.
    sync(target, store, declare(("keep", "1")), "r3", prune_budget_percent=100)
    assert {ref.name for ref in target.objects} == {"keep"}


def test_a_generated_name_and_an_odd_wave_block_with_the_place() -> None:
    generated = render({"a.yaml": b"apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: train-}\n"})
    outcome = plan("local", "r", generated, {}, inventory.Inventory("local", "fleet"))
    assert outcome.blocked is not None
    assert outcome.blocked.startswith("a.yaml:1:1: Job has generateName")
    outcome = plan("local", "r", declare(("a", "1", {WAVE: "soon"})), {}, inventory.Inventory("local", "fleet"))
    assert outcome.blocked is not None
    assert "not a whole number" in outcome.blocked


@pytest.mark.parametrize("document", [{}, [], "x", {"schema": "v9"}, {"schema": inventory.SCHEMA, "objects": [{}]}])
def test_an_inventory_that_cannot_be_read_stops_everything(
    target: MemoryTarget, store: MemoryStore, document: object
) -> None:
    store.values["inventory/local/fleet"] = document
    with pytest.raises(StateError):
        sync(target, store, declare(("a", "1")))
    assert target.log == []
