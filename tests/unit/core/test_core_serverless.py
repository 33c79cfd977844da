"""Reading of what scales by requests: Knative's annotations, KServe's fields, KEDA's objects; refusals with place."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.core.errors import DeclarationError
from customhouse.core.kpa import Scaler, ScaleRule
from customhouse.core.resource import ResourceRef
from customhouse.core.serverless import Elastic, duration, elastic

K = "autoscaling.knative.dev/"


def _kserve(predictor: dict[str, Any], notes: dict[str, Any] | None = None) -> Elastic | None:
    return _read("serving.kserve.io/v1beta1", "InferenceService", {"predictor": predictor}, notes)


def _read(version: str, kind: str, spec: dict[str, Any], notes: dict[str, Any] | None = None) -> Elastic | None:
    metadata = {"name": "a", "namespace": "n", "annotations": notes or {}}
    manifest = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
    return elastic(manifest, ResourceRef.of(manifest))


def test_a_predictor_follows_its_requests_when_it_says_so_and_not_else() -> None:
    assert _kserve({"minReplicas": 1, "maxReplicas": 3}) is None
    assert _kserve({"minReplicas": 1, "scaleMetric": "cpu", "scaleTarget": 80}) is None
    found = _kserve({"minReplicas": 0, "maxReplicas": 3, "containerConcurrency": 4})
    assert found is not None
    assert found.to_zero
    assert (found.rule.minimum, found.rule.maximum, round(found.rule.target, 6)) == (0, 3, 2.8)
    rate = _kserve({"maxReplicas": 2, "scaleMetric": "rps", "scaleTarget": 50})
    assert rate is not None
    assert (rate.rule.metric, rate.rule.minimum, rate.rule.target) == ("rps", 1, 35.0)


def test_the_predictors_annotations_hold_over_the_services() -> None:
    inner = {f"{K}window": "1m30s", f"{K}targetUtilizationPercentage": "50"}
    found = _kserve({"minReplicas": 0, "annotations": inner}, {f"{K}window": "10s", f"{K}target": "10"})
    assert found is not None
    assert (found.rule.stable_s, found.rule.target) == (90.0, 5.0)


def test_kserves_own_fields_hold_over_the_annotations_as_in_kserve() -> None:
    notes = {f"{K}minScale": "5", f"{K}max-scale": "9", f"{K}target": "50"}
    found = _kserve({"minReplicas": 0, "maxReplicas": 3, "scaleTarget": 10, "scaleMetric": "concurrency"}, notes)
    assert found is not None
    assert (found.rule.minimum, found.rule.maximum, found.rule.target) == (0, 3, 7.0)
    unsaid = _kserve({}, {f"{K}min-scale": "0"})
    assert unsaid is not None
    assert not unsaid.to_zero, "KServe writes its own default of 1 over the annotation"


def test_a_replica_is_never_aimed_above_what_it_takes_at_a_time() -> None:
    found = _kserve({"minReplicas": 0, "scaleTarget": 100, "containerConcurrency": 10})
    assert found is not None
    assert found.rule.target == 7.0


@pytest.mark.parametrize(
    ("notes", "place"),
    [
        ({f"{K}window": "2s"}, "window"),
        ({f"{K}window": "2h"}, "window"),
        ({f"{K}window": "99999999999999999999s"}, "window"),
        ({f"{K}colour": "red"}, "colour"),
        ({f"{K}class": "hpa.autoscaling.knative.dev"}, "class"),
        ({f"{K}activation-scale": "1.5"}, "activation-scale"),
        ({f"{K}activation-scale": 2}, "activation-scale"),
        ({f"{K}target": "-3"}, "target"),
        ({f"{K}target": "1e9"}, "target"),
        ({f"{K}metric": "memory"}, "metric"),
        ({f"{K}initial-scale": "0"}, "initial-scale"),
    ],
)
def test_what_would_be_ignored_is_refused_with_its_place(notes: dict[str, Any], place: str) -> None:
    with pytest.raises(DeclarationError) as error:
        _kserve({"minReplicas": 0, "maxReplicas": 4}, notes)
    assert error.value.where.startswith("/metadata/annotations")
    assert error.value.where.endswith(place)
    assert error.value.hint


def test_knative_and_kedas_objects_are_read_with_their_defaults() -> None:
    template = {"metadata": {"annotations": {f"{K}max-scale": "5"}}, "spec": {"containerConcurrency": 2}}
    service = _read("serving.knative.dev/v1", "Service", {"template": template})
    assert service is not None
    assert (service.to_zero, service.rule.maximum, service.concurrency) == (True, 5, 2)
    kept = {"metadata": {"annotations": {f"{K}minScale": "1"}}}
    warm = _read("serving.knative.dev/v1", "Service", {"template": kept})
    assert warm is not None
    assert not warm.to_zero
    narrow = {"metadata": {"annotations": {f"{K}min-scale": "3", f"{K}max-scale": "2"}}}
    with pytest.raises(DeclarationError, match="at most 2"):
        _read("serving.knative.dev/v1", "Service", {"template": narrow})
    keda = _read("keda.sh/v1alpha1", "ScaledObject", {"scaleTargetRef": {"name": "d"}, "cooldownPeriod": 60})
    assert keda is not None
    assert (keda.how, keda.target, keda.rule.maximum) == ("keda", ("Deployment", "d"), 100)
    assert (keda.polling_s, keda.cooldown_s, keda.to_zero) == (30.0, 60.0, True)
    spec = {
        "scaleTargetRef": {"name": "d"},
        "replicas": {"min": 1},
        "scalingMetric": {"requestRate": {"targetValue": 9}},
    }
    http = _read("http.keda.sh/v1alpha1", "HTTPScaledObject", spec)
    assert http is not None
    assert (http.how, http.to_zero, http.rule.metric, http.rule.target) == ("keda-http", False, "rps", 9.0)
    assert _read("apps/v1", "Deployment", {"replicas": 0}) is None


def test_go_durations() -> None:
    assert [duration(text) for text in ("90s", "1m30s", "1.5h", "250ms")] == [90.0, 90.0, 5400.0, 0.25]
    assert [duration(text) for text in ("", "90", "1 m", "-3s", "s")] == [None] * 5


def test_zero_comes_after_a_whole_window_and_the_retention_and_never_after_a_restart_at_once() -> None:
    scaler = Scaler(ScaleRule(target=7.0, maximum=3, stable_s=6, retention_s=4), second=100, ready=2)
    seen = []
    for second in range(100, 122):
        scaler.load(second, 0.0)
        if second % 2 == 0:
            seen.append(scaler.wanted(second, 2 if second < 108 else 1))
    assert seen[:4] == [2, 2, 2, 2], "a restart begins in panic: what runs is kept for a window"
    assert seen[-1] == 0
    assert seen == sorted(seen, reverse=True)
    assert seen.count(1) >= 2, "the last one is kept for its retention"
    assert scaler.woken(130) == 1
