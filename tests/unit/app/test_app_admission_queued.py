"""A Job in a queue of Kueue is what Git declares, suspended or sent to a flavor; anything else of it is judged anew."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from test_app_admission import LABELS, admission, asked, manifest, recorded

from customhouse.app.admission_context import key_of
from customhouse.app.governance import Governance, governance
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.policy.adapters.regorus import RegorusEngine
from queue_shop import flavor, local, queue, quota

CONTROLLER = {"username": "system:serviceaccount:kueue-system:kueue-controller-manager"}
TOLERATION = {"key": "dear", "operator": "Exists"}


@pytest.fixture(scope="module")
def governing() -> Governance:
    return governance(None, None)


@pytest.fixture(scope="module")
def engine() -> RegorusEngine:
    return RegorusEngine(compile_packaged=True)


def job(*, queued: bool = True) -> dict[str, Any]:
    template = manifest()["spec"]["template"]
    template["spec"]["restartPolicy"] = "Never"
    labels = {**LABELS, **({"kueue.x-k8s.io/queue-name": "train"} if queued else {})}
    metadata = {"name": "tune", "namespace": "prod", "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}


def kind_of(governing: Governance, engine: RegorusEngine, git: dict[str, Any], live: dict[str, Any]) -> str:
    shop = [
        flavor("near", {"pool": "near"}, tolerations=[TOLERATION]),
        queue("gpus", ("near", [quota("cpu", "8"), quota("memory", "8Gi")])),
        local(),
    ]
    shop[2]["metadata"]["namespace"] = "prod"
    declared = [Declaration(ResourceRef.of(item), item, Location("queues.yaml")) for item in shop]
    item, found = recorded(governing, git)
    one = admission(governing, engine, declared=(*declared, item), recorded={key_of(item.ref): found})
    return one.validate(asked(live, operation="UPDATE", oldObject=git, userInfo=CONTROLLER)).kind


def sent(**pod: Any) -> dict[str, Any]:
    live = copy.deepcopy(job())
    live["spec"]["suspend"] = False
    live["spec"]["template"]["spec"] |= pod
    return live


def test_waiting_and_running_where_its_queue_sends_it_is_what_is_declared(
    governing: Governance, engine: RegorusEngine
) -> None:
    waiting = {**job(), "spec": {**job()["spec"], "suspend": True}}
    assert kind_of(governing, engine, job(), waiting) == "recorded"
    assert kind_of(governing, engine, waiting, sent()) == "recorded"
    near = sent(nodeSelector={"pool": "near"}, tolerations=[TOLERATION])
    assert kind_of(governing, engine, job(), near) == "recorded"


@pytest.mark.parametrize(
    "pod",
    [
        {"nodeSelector": {"pool": "dear"}, "tolerations": [TOLERATION]},
        {"nodeSelector": {"pool": "near", "more": "x"}, "tolerations": [TOLERATION]},
        {"nodeSelector": {"pool": "near"}, "tolerations": [{"operator": "Exists"}]},
        {"hostNetwork": True},
    ],
    ids=["another flavor", "more labels", "more tolerations", "another pod"],
)
def test_what_no_queue_gives_is_judged_as_new(
    governing: Governance, engine: RegorusEngine, pod: dict[str, Any]
) -> None:
    assert kind_of(governing, engine, job(), sent(**pod)) == "new"


def test_without_a_queue_to_be_suspended_is_another_object(governing: Governance, engine: RegorusEngine) -> None:
    git = job(queued=False)
    assert kind_of(governing, engine, git, {**git, "spec": {**git["spec"], "suspend": True}}) == "new"
