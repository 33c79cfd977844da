"""From observed use to requests and limits, with the risk stated."""

from __future__ import annotations

import numpy as np
import pytest

from customhouse.core.workload import workload
from customhouse.optimisation.rightsize import (
    MARGIN,
    RightsizePolicy,
    UsageSeries,
    recommend,
    upper_bound,
    windows_needed,
)

MIB = 1 << 20


def service(requests=None, limits=None):
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value is not None}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "fraud-detection", "namespace": "fraud"},
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "maxReplicas": 3,
                "model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/m", "resources": resources},
            }
        },
    }


BIG = service({"cpu": "1", "memory": "2Gi"}, {"cpu": "1", "memory": "2Gi"})


def usage(memory, cpu, count=400, window_s=300, seed=1):
    rng = np.random.default_rng(seed)
    return UsageSeries(
        window_s,
        tuple(int(value) for value in rng.normal(memory * MIB, memory * MIB * 0.02, count)),
        tuple(int(value) for value in rng.gamma(4.0, cpu / 4.0, count)),
    )


def recommended(manifest, seen, policy=None):
    return recommend(workload(manifest), seen, manifest, policy)


def test_over_provisioned_memory_is_cut_to_what_is_used_and_a_margin():
    found = recommended(BIG, usage(90, 100))
    values = {edit.pointer.rpartition("resources/")[2]: edit.value for edit in found.edits}
    assert values["limits/memory"] == values["requests/memory"] == "128Mi"
    assert set(values) == {"limits/memory", "requests/memory", "limits/cpu", "requests/cpu"}
    assert "at most 1 % of 5-minute windows above the new memory limit (95% confidence from 400" in found.risk


def test_the_edits_lead_to_fields_that_the_manifest_has():
    found = recommended(service(None, {"memory": "2Gi"}), usage(90, 200))
    assert [edit.pointer for edit in found.edits] == ["/spec/predictor/model/resources/limits/memory"]


def test_few_windows_are_said_to_be_few_and_get_a_wider_margin():
    many, few = recommended(BIG, usage(90, 200)), recommended(BIG, usage(90, 200, count=20))
    assert few.recommended["limits.memory"] > many.recommended["limits.memory"]
    assert "cannot be promised yet" in few.risk
    assert few.memory.reached is False
    assert few.memory.margin > MARGIN
    assert few.memory.risk == pytest.approx(1 - 0.05 ** (1 / few.memory.effective))


def test_too_short_a_look_recommends_nothing():
    assert recommended(BIG, usage(90, 200, count=11)) is None


def test_a_workload_of_the_right_size_is_left_alone():
    right = recommended(BIG, usage(90, 200)).recommended
    manifest = service(
        {"cpu": f"{right['requests.cpu']}m", "memory": right["requests.memory"]},
        {"cpu": f"{right['limits.cpu']}m", "memory": right["limits.memory"]},
    )
    assert recommended(manifest, usage(90, 200)) is None


def test_a_workload_that_is_too_small_is_told_to_grow():
    found = recommended(service({"memory": "64Mi"}, {"memory": "96Mi"}), usage(90, 200))
    assert found.recommended["limits.memory"] > 96 * MIB


def test_floors_and_units_are_kept():
    found = recommended(BIG, usage(3, 1), RightsizePolicy(memory_floor=128 * MIB, cpu_floor=100))
    assert found.recommended == {
        "limits.cpu": 200, "limits.memory": 128 * MIB, "requests.cpu": 100, "requests.memory": 128 * MIB,
    }  # fmt: skip
    large = recommended(service({"memory": "64Gi"}), usage(3000, 1))
    assert large.recommended["requests.memory"] % (64 * MIB) == 0


def test_the_cpu_request_is_never_above_its_limit():
    rng = np.random.default_rng(3)
    spiky = UsageSeries(300, tuple([90 * MIB] * 400), tuple(int(x) for x in np.where(rng.random(400) < 0.02, 3000, 40)))
    found = recommended(BIG, spiky)
    assert found.recommended["requests.cpu"] <= found.recommended["limits.cpu"]


def test_room_for_bursts_is_kept_but_not_added():
    steady = UsageSeries(300, tuple([90 * MIB] * 400), tuple([200] * 400))
    assert (
        recommended(BIG, steady).recommended["limits.cpu"] == 2 * recommended(BIG, steady).recommended["requests.cpu"]
    )
    tight = service({"cpu": "300m", "memory": "2Gi"}, {"cpu": "300m", "memory": "2Gi"})
    assert recommended(tight, steady).recommended["limits.cpu"] == 300


def test_init_containers_are_not_what_is_sized():
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {
            "initContainers": [{"name": "fetch", "image": "a", "resources": {"limits": {"memory": "4Gi"}}}],
            "containers": [{"name": "main", "image": "b", "resources": {"limits": {"memory": "2Gi"}}}],
        },
    }
    found = recommended(pod, usage(90, 200))
    assert [edit.pointer for edit in found.edits] == ["/spec/containers/0/resources/limits/memory"]


def test_windows_that_resemble_each_other_count_as_fewer():
    steps = np.repeat(np.random.default_rng(4).normal(100, 10, 40), 10).astype(int).tolist()
    bound = upper_bound(steps, risk=0.01, confidence=0.95)
    assert bound.windows == 400
    assert bound.effective < 60
    assert not bound.reached


@pytest.mark.parametrize(("count", "from_the_top"), [(299, 1), (472, 1), (473, 2), (627, 2), (628, 3)])
def test_the_order_statistic_is_the_tabulated_one(count, from_the_top):
    """Sample sizes for a 99 % quantile at 95 % confidence (Wilks 1941): 299, 473, 628 for the largest to third."""
    values = [index if index % 2 else count - 1 - index for index in range(count)]  # no positive autocorrelation
    distinct = [2 * value + index % 2 for index, value in enumerate(values)]
    bound = upper_bound(distinct, risk=0.01, confidence=0.95)
    assert bound.effective == count
    assert bound.statistic == sorted(distinct)[-from_the_top]


def test_the_number_of_windows_that_a_promise_needs_is_the_classic_one():
    assert (windows_needed(0.01, 0.95), windows_needed(0.05, 0.95)) == (299, 59)


@pytest.mark.parametrize(("values", "risk"), [([], 0.01), ([1], 0.0), ([1], 1.0)])
def test_a_bound_of_nothing_is_refused(values, risk):
    with pytest.raises(ValueError, match="an upper bound needs"):
        upper_bound(values, risk=risk, confidence=0.95)


def test_the_promise_holds_out_of_sample():
    """1 % of windows at 95 % confidence, by simulation on a skewed distribution, even without the margin."""
    rng = np.random.default_rng(5)
    broken = 0
    for _ in range(200):
        bound = upper_bound(rng.lognormal(10, 0.7, 600).astype(int).tolist(), risk=0.01, confidence=0.95)
        assert bound.reached
        # The true 99 % quantile of the distribution: exp(10 + 0.7 · 2.3263).
        broken += bound.statistic < np.exp(10 + 0.7 * 2.3263479)
    assert broken <= 18, broken  # 5 % of 200 is 10; above 18 once in 300 runs
