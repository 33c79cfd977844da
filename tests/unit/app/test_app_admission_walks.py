"""What a walk on Argo Rollouts and KServe writes, at a webhook that refuses whatever no commit declares.

A rollback is one of these writes: it puts back the version before, which the allowed commit no longer declares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_app_admission import asked, manifest
from test_app_admission_steering import REVISION, WALKER, gate

from customhouse.app.admission import Admission
from customhouse.core.change import Revision
from customhouse.execution.kserve import weighted_inference
from customhouse.execution.traffic import stepped_rollout

__all__ = ["gate"]  # a fixture
PINNED = "apexlogic.com/team/app@sha256:"


def rollout(digit: str) -> dict[str, Any]:
    found = manifest(image=PINNED + digit * 32)
    found |= {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    found["metadata"]["annotations"] = {"customhouse.dev/rollout": "canary"}
    found["spec"]["strategy"] = {"canary": {"maxSurge": 1, "steps": [{"setWeight": 20}, {"pause": {}}]}}
    return found


def inference(digit: str) -> dict[str, Any]:
    pod = manifest(image=PINNED + digit * 32)["spec"]["template"]["spec"]
    found = {**manifest(), "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    found["metadata"]["annotations"] = {"customhouse.dev/rollout": "canary"}
    pod["containers"][0]["name"] = "kserve-container"
    found["spec"] = {"predictor": {"minReplicas": 2, "maxReplicas": 2, **pod}}
    return found


Make = Callable[[str], dict[str, Any]]
Weigh = Callable[[dict[str, Any], int | None], dict[str, Any]]
KINDS = pytest.mark.parametrize(
    ("make", "weigh"), [(rollout, stepped_rollout), (inference, weighted_inference)], ids=["rollouts", "kserve"]
)
ALLOWED = pytest.mark.parametrize("allowed", [None, REVISION], ids=["records", "installed"])


def written(one: Admission, after: dict[str, Any], before: dict[str, Any], **more: Any) -> str:
    return one.validate(asked(after, operation="UPDATE", oldObject=before, **more)).answer.message


@KINDS
@ALLOWED
def test_each_step_is_let_in_for_who_walks_it(
    gate: Callable[..., Admission], make: Make, weigh: Weigh, allowed: Revision | None
) -> None:
    one = gate(make("cd"), allowed=allowed)
    for percent, before in ((0, make("ab")), (20, weigh(make("cd"), 0)), (None, weigh(make("cd"), 20))):
        assert "revision-required" not in written(one, weigh(make("cd"), percent), before, userInfo=WALKER), percent


@KINDS
@ALLOWED
def test_the_version_before_can_be_put_back_while_git_declares_the_next_one(
    gate: Callable[..., Admission], make: Make, weigh: Weigh, allowed: Revision | None
) -> None:
    one = gate(make("cd"), allowed=allowed)
    said = one.validate(
        asked(weigh(make("ab"), None), operation="UPDATE", oldObject=weigh(make("cd"), 20), userInfo=WALKER)
    )
    assert "revision-required" not in said.answer.message


@KINDS
def test_nobody_else_puts_anything_back(gate: Callable[..., Admission], make: Make, weigh: Weigh) -> None:
    message = written(gate(make("cd")), weigh(make("ab"), None), weigh(make("cd"), 20))
    assert "revision-required" in message


@KINDS
def test_what_is_put_back_meets_the_rules_of_today(gate: Callable[..., Admission], make: Make, weigh: Weigh) -> None:
    strange = make("ab")
    spec = strange["spec"]["predictor"] if "predictor" in strange["spec"] else strange["spec"]["template"]["spec"]
    spec["containers"][0]["image"] = "elsewhere.example/app@sha256:" + "ab" * 32
    said = gate(make("cd")).validate(
        asked(weigh(strange, None), operation="UPDATE", oldObject=weigh(make("cd"), 20), userInfo=WALKER)
    )
    assert not said.answer.allowed
    assert "image" in said.answer.message


@KINDS
def test_where_git_declares_no_rollout_nothing_is_put_back(
    gate: Callable[..., Admission], make: Make, weigh: Weigh
) -> None:
    plain = make("cd")
    plain["metadata"]["annotations"] = {}
    assert "revision-required" in written(gate(plain), make("ab"), plain, userInfo=WALKER)


@KINDS
def test_what_is_made_anew_is_not_put_back(gate: Callable[..., Admission], make: Make, weigh: Weigh) -> None:
    other = make("ab")
    outcome = gate(make("cd")).validate(asked(other, userInfo=WALKER))
    assert "revision-required" in outcome.answer.message
