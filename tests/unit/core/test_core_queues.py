"""What Kueue's quota lets in, as `core.queues` reads it; the real controller says the same in the integration tests."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.core.podsets import pod_sets
from customhouse.core.queues import Landing, Queues, queue_of, queues
from customhouse.core.resource import ResourceRef
from queue_shop import H100, L4, QUEUED, flavor, job, local, of, queue, quota, thing


def known(*manifests: dict[str, Any]) -> Queues:
    return queues((ResourceRef.of(item), item) for item in manifests)


def landing(found: Queues, manifest: dict[str, Any]) -> Landing:
    ref = ResourceRef.of(manifest)
    made = found.landing(manifest, ref, pod_sets(manifest, ref.api_version, ref.kind))
    assert made is not None
    return made


def test_pods_land_on_the_flavors_that_can_take_them_in_the_order_of_the_queue() -> None:
    found = known(flavor("l4", L4), flavor("h100", H100), local(), queue("gpus", ("l4", of("4")), ("h100", of("8"))))
    both = landing(found, job(2, 2))
    assert [(str(place), place.labels) for place in both.places[0]] == [("l4", L4), ("h100", H100)]
    assert [str(place) for place in landing(found, job(2, 4)).places[0]] == ["h100"]
    assert [str(place) for place in landing(found, job(1, 1, H100)).places[0]] == ["h100"]
    elsewhere = job(1, 1, {"pool": "any"})  # a label that no flavor has is the scheduler's business
    assert len(landing(found, elsewhere).places[0]) == 2


def test_what_is_asked_at_once_is_held_against_the_most_that_there_can_be() -> None:
    found = known(flavor("h100", H100), local(), queue("gpus", ("h100", of("8"))))
    (lack,) = landing(found, job(3, 4)).lacks
    assert (lack.flavor, lack.resource, lack.asked, lack.most, lack.sure) == ("h100", "nvidia.com/gpu", 12, 8, True)
    slow = landing(found, job(20, 0)).lacks
    assert [(lack.resource, lack.asked, lack.most) for lack in slow] == [
        ("cpu", 80_000, 64_000),
        ("memory", 320 * 2**30, 256 * 2**30),
    ]


def test_of_several_flavors_that_are_too_small_the_largest_is_told() -> None:
    found = known(flavor("l4", L4), flavor("h100", H100), local(), queue("gpus", ("l4", of("4")), ("h100", of("8"))))
    assert [(lack.flavor, lack.most) for lack in landing(found, job(1, 9)).lacks] == [("h100", 8)]


def test_what_may_be_borrowed_counts_and_lending_bounds_it() -> None:
    spare = queue("spare", ("h100", of("6", lendingLimit="4")), cohort="all")
    limited = queue("gpus", ("h100", of("8", borrowingLimit="2")), cohort="all")
    free = queue("gpus", ("h100", of("8")), cohort="all")
    shop = (flavor("h100", H100), local(), spare)
    assert landing(known(*shop, limited), job(1, 10)).lacks == ()
    assert [(lack.most, lack.sure) for lack in landing(known(*shop, limited), job(1, 11)).lacks] == [(10, True)]
    assert landing(known(*shop, free), job(1, 12)).lacks == ()
    # A queue of the cohort that is declared elsewhere may lend more.
    assert [(lack.most, lack.sure) for lack in landing(known(*shop, free), job(1, 13)).lacks] == [(12, False)]
    above = thing("Cohort", "all", {"parentName": "root"})
    pool = thing("Cohort", "root", {"resourceGroups": [{"coveredResources": ["nvidia.com/gpu"], "flavors": [
        {"name": "h100", "resources": [quota("nvidia.com/gpu", "100")]}]}]})  # fmt: skip
    assert landing(known(*shop, free, above, pool), job(1, 112)).lacks == ()


def test_a_cohort_that_is_its_own_parent_ends() -> None:
    ring = [thing("Cohort", "a", {"parentName": "b"}), thing("Cohort", "b", {"parentName": "a"})]
    found = known(flavor("h100", H100), local(), queue("gpus", ("h100", of("8")), cohort="a"), *ring)
    assert landing(found, job(1, 8)).lacks == ()


def test_taints_keep_pods_away_unless_the_pod_or_the_flavor_stands_them() -> None:
    taint = {"key": "spot", "value": "true", "effect": "NoSchedule"}
    gpus = queue("gpus", ("h100", of("8")))
    found = known(flavor("h100", H100, nodeTaints=[taint]), local(), gpus)
    (lack, *_) = landing(found, job()).lacks
    assert (lack.flavor, lack.most) == ("h100", None)
    assert landing(found, job(tolerations=[{"key": "spot", "operator": "Exists"}])).lacks == ()
    assert landing(found, job(tolerations=[{"key": "spot", "value": "false"}])).lacks != ()
    own = flavor("h100", H100, nodeTaints=[taint], tolerations=[{"key": "spot", "value": "true"}])
    assert landing(known(own, local(), gpus), job()).lacks == ()
    soft = flavor("h100", H100, nodeTaints=[{**taint, "effect": "PreferNoSchedule"}])
    assert landing(known(soft, local(), gpus), job()).lacks == ()


@pytest.mark.parametrize(
    ("shop", "said"),
    [
        ((), "no LocalQueue train is declared in namespace ml"),
        ((local(),), "its ClusterQueue gpus is not declared"),
        ((local(stopPolicy="Hold"), queue("gpus", ("h100", of("8")))), "stopped (Hold)"),
        ((local(), queue("gpus", ("h100", of("8")), stopPolicy="HoldAndDrain")), "stopped (HoldAndDrain)"),
        ((local(), queue("gpus", ("h100", of("8")), namespaceSelector=None)), "no namespaceSelector"),
        ((local(stopPolicy="None"), queue("gpus", ("h100", of("8")), stopPolicy="None")), ""),
    ],
)
def test_a_queue_that_lets_nothing_in_says_why(shop: tuple[dict[str, Any], ...], said: str) -> None:
    found = landing(known(flavor("h100", H100), *shop), job())
    assert said in found.problem
    assert bool(found.problem) == bool(said)


def test_what_no_quota_covers_is_told_and_left_to_kueues_configuration() -> None:
    found = known(flavor("cpus", {}), local(), queue("gpus", ("cpus", [quota("cpu", "64"), quota("memory", "1Ti")])))
    (lack,) = landing(found, job()).lacks
    assert (lack.resource, lack.most, lack.sure) == ("nvidia.com/gpu", None, False)


def test_pods_of_a_server_are_let_in_one_by_one_and_a_job_may_be_made_smaller() -> None:
    found = known(flavor("h100", H100), local(), queue("gpus", ("h100", of("8"))))
    pods = job(1, 8)["spec"]["template"]
    server = thing("Deployment", "web", {"replicas": 9, "template": pods}, "apps/v1", labels=QUEUED)
    assert landing(found, server).lacks == ()
    wide = job(9, 4)
    assert landing(found, wide).lacks != ()
    wide["metadata"]["annotations"] = {"kueue.x-k8s.io/job-min-parallelism": "2"}
    assert landing(found, wide).lacks == ()


def test_every_way_to_name_a_queue_is_read_and_a_queue_that_cannot_be_read_is_left_out() -> None:
    found = known(flavor("h100", H100), local(), queue("gpus", ("h100", of("8"))))
    cron = thing(
        "CronJob", "nightly", {"jobTemplate": {"metadata": {"labels": QUEUED}, "spec": job()["spec"]}}, "batch/v1"
    )
    assert landing(found, cron).queue == "train"
    bare = job()
    bare["metadata"] = {"name": "j", "namespace": "ml", "annotations": QUEUED}
    assert landing(found, bare).queue == "train"
    del bare["metadata"]["annotations"]
    ref = ResourceRef.of(bare)
    assert found.landing(bare, ref, pod_sets(bare, ref.api_version, ref.kind)) is None
    for broken in ({"resourceGroups": "x"}, {"resourceGroups": [1]}, {"resourceGroups": [{"flavors": [{"resources": [
        {"name": "cpu", "nominalQuota": "many"}]}]}]}):  # fmt: skip
        assert known(thing("ClusterQueue", "gpus", broken)).cluster == {}


def test_a_name_that_kueue_does_not_read_holds_nothing_back() -> None:
    named, label = {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "q"}}}, {"kueue.x-k8s.io/queue-name": "q"}
    own = {"name": "j", "namespace": "ml", "labels": label}
    bare = {"name": "j", "namespace": "ml"}

    def named_by(version: str, kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> str:
        manifest = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
        return queue_of(manifest, ResourceRef.of(manifest))

    assert named_by("batch/v1", "Job", bare, {"template": named}) == ""
    assert named_by("batch/v1", "Job", own, {}) == "q"
    assert named_by("batch/v1", "CronJob", own, {"jobTemplate": {}}) == ""
    assert named_by("batch/v1", "CronJob", bare, {"jobTemplate": named}) == "q"
    assert named_by("apps/v1", "Deployment", bare, {"template": named}) == "q"
