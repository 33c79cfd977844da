"""What Kueue writes into an object of one of its queues is neither drift nor put back."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.control.queued import joined, queue_leeway
from customhouse.control.shaping import shaped
from customhouse.control.stages import wanted
from customhouse.core.resource import Declaration, Leeway, Location, ResourceRef


def job(suspend: bool | None, *, queued: bool = True, kind: str = "Job") -> dict[str, Any]:
    labels = {"kueue.x-k8s.io/queue-name": "train"} if queued else {}
    said = {} if suspend is None else {"suspend": suspend}
    spec: dict[str, Any] = {"runPolicy": said} if kind == "PyTorchJob" else {**said, "parallelism": 2}
    api = "kubeflow.org/v1" if kind == "PyTorchJob" else "batch/v1"
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": "j", "namespace": "ml", "labels": labels},
        "spec": spec,
    }


def declared(manifest: dict[str, Any]) -> Declaration:
    return Declaration(ResourceRef.of(manifest), manifest, Location("j.yaml"))


def sent(manifest: dict[str, Any], live: dict[str, Any] | None, *, look: bool = False) -> Any:
    item = declared(manifest)
    return shaped(wanted(item, item.ref, correct=True), live, scaled=False, look=look)["spec"]


@pytest.mark.parametrize("look", [True, False])
@pytest.mark.parametrize(("git", "there"), [(True, False), (False, True)])
def test_suspend_is_kueues_once_the_object_is_there(git: bool, there: bool, look: bool) -> None:
    assert sent(job(git), job(there), look=look)["suspend"] is there
    assert sent(job(git, kind="PyTorchJob"), job(there, kind="PyTorchJob"), look=look)["runPolicy"] == {
        "suspend": there
    }


def test_at_first_it_is_made_as_declared_and_without_a_queue_it_stays_so() -> None:
    assert sent(job(True), None)["suspend"] is True
    assert sent(job(True, queued=False), job(False, queued=False))["suspend"] is True
    assert "suspend" not in sent(job(None), job(True))


def test_everything_else_of_it_is_held_as_declared() -> None:
    live = job(False)
    live["spec"]["parallelism"] = 9
    assert sent(job(True), live)["parallelism"] == 2


def test_what_kueue_has_made_smaller_stays_so() -> None:
    live = job(False)
    live["spec"]["parallelism"] = 1
    fields = {"f:spec": {"f:parallelism": {}}}
    live["metadata"]["managedFields"] = [{"manager": "kueue", "operation": "Update", "fieldsV1": fields}]
    assert sent(job(True), live)["parallelism"] == 1


def test_leeways_are_joined() -> None:
    own = Leeway(("/spec/a",), (".b",), ("hpa",))
    both = joined(own, queue_leeway(declared(job(True))))
    assert both is not None
    assert (both.pointers[0], both.paths, both.managers, both.respect) == ("/spec/a", (".b",), ("hpa", "kueue"), True)
    assert joined(own, None) is own
    assert joined(None, None) is None
