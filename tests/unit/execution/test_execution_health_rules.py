"""Rules of health: for kinds that a table knows, for kinds that nobody knows, and for objects that hold nonsense."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.core.plan import Health, HealthStatus
from customhouse.execution.health import customized, health
from customhouse.execution.health.kinds import rows_of_all, rule_of
from customhouse.execution.health.table import compiled
from customhouse.execution.health.words import VOCABULARY, Tone, tone


def _of(kind: str, status: Any = None, spec: Any = None, **metadata: Any) -> Health:
    """The health of an object of `group/Kind`, a version between them does not matter."""
    group, _, name = kind.rpartition("/")
    manifest: dict[str, Any] = {"apiVersion": f"{group}/v1" if group else "v1", "kind": name, "metadata": metadata}
    if spec is not None:
        manifest["spec"] = spec
    if status is not None:
        manifest["status"] = status
    return health(manifest)


def _conditions(*written: str) -> dict[str, Any]:
    """`Ready=False/Reason message` as a status."""
    found = []
    for each in written:
        head, _, message = each.partition(" ")
        kind, _, rest = head.partition("=")
        state, _, reason = rest.partition("/")
        found.append({"type": kind, "status": state, "reason": reason, "message": message})
    return {"conditions": found}


def test_every_row_of_the_table_can_be_read_and_stands_once() -> None:
    rows = list(rows_of_all())
    heads = [head for head, _ in rows]
    assert len(heads) == len(set(heads)) > 250
    for head, steps in rows:
        assert "/" in head, head
        assert callable(compiled(steps)), head


@pytest.mark.parametrize("step", ["x", "[Ready]=True : X", "anything :", "[Ready : H", ".a b : H", "anything : nobody"])
def test_a_step_that_cannot_be_read_is_an_error(step: str) -> None:
    with pytest.raises(ValueError, match="health rule"):
        compiled((step,))


def test_an_exact_name_counts_before_a_pattern_and_a_longer_one_before_a_shorter() -> None:
    assert rule_of("s3.aws.crossplane.io", "ProviderConfig") is not rule_of("s3.aws.crossplane.io", "Bucket")
    assert rule_of("nobody.example.io", "Thing") is None
    assert rule_of("g" * 10_000, "Thing") is None


TABLE = [
    # (kind, status, spec, wanted); what the API's own documentation says of these states
    ("argoproj.io/Application", {"health": {"status": "Degraded"}}, {}, "Degraded"),
    ("argoproj.io/Application", {"sync": {}}, {}, "Progressing"),
    ("argoproj.io/Workflow", {"phase": "Running"}, {}, "Progressing"),
    ("argoproj.io/Workflow", {"phase": "Error", "message": "no"}, {}, "Degraded"),
    ("argoproj.io/AppProject", None, {}, "Healthy"),
    ("argoproj.io/Sensor", _conditions("TriggersProvided=False/InvalidTrigger no"), {}, "Degraded"),
    ("cert-manager.io/Certificate", _conditions("Ready=True/Ready"), {}, "Healthy"),
    ("cert-manager.io/Certificate", _conditions("Ready=False/DoesNotExist", "Issuing=True/x"), {}, "Progressing"),
    ("cert-manager.io/Certificate", _conditions("Ready=False/DoesNotExist", "Issuing=False/Failed no"), {}, "Degraded"),
    ("cert-manager.io/CertificateRequest", _conditions("Ready=False/Failed no"), {}, "Degraded"),
    ("helm.toolkit.fluxcd.io/HelmRelease", _conditions("Ready=False/UpgradeFailed no"), {}, "Degraded"),
    ("helm.toolkit.fluxcd.io/HelmRelease", _conditions("Ready=Unknown/Progressing x"), {}, "Progressing"),
    ("helm.toolkit.fluxcd.io/HelmRelease", _conditions("Ready=True/UpgradeSucceeded"), {"suspend": True}, "Suspended"),
    ("source.toolkit.fluxcd.io/GitRepository", _conditions("Ready=True/Succeeded"), {}, "Healthy"),
    ("s3.aws.upbound.io/Bucket", _conditions("Ready=True/Available", "Synced=True/ReconcileSuccess"), {}, "Healthy"),
    ("s3.aws.upbound.io/Bucket", _conditions("Ready=False/Creating", "Synced=False/ReconcileError no"), {}, "Degraded"),
    ("pkg.crossplane.io/Provider", _conditions("Installed=True", "Healthy=False/Unhealthy"), {}, "Degraded"),
    ("keda.sh/ScaledObject", _conditions("Ready=True", "Active=False", "Fallback=False"), {}, "Healthy"),
    ("keda.sh/ScaledObject", _conditions("Ready=True", "Paused=True/ScaledObjectPaused"), {}, "Suspended"),
    ("serving.knative.dev/Service", _conditions("Ready=False/RevisionFailed no"), {}, "Degraded"),
    ("serving.knative.dev/Service", _conditions("Ready=Unknown/RevisionMissing x"), {}, "Progressing"),
    ("serving.kserve.io/InferenceGraph", _conditions("Ready=True"), {}, "Healthy"),
    ("kueue.x-k8s.io/ClusterQueue", _conditions("Active=False/FlavorNotFound no"), {}, "Degraded"),
    ("kueue.x-k8s.io/ClusterQueue", _conditions("Active=True"), {"stopPolicy": "Hold"}, "Suspended"),
    ("kueue.x-k8s.io/Workload", _conditions("QuotaReserved=False/Pending x"), {}, "Progressing"),
    ("kueue.x-k8s.io/Workload", _conditions("Admitted=True", "Finished=True/JobFinished"), {}, "Healthy"),
    ("kubeflow.org/PyTorchJob", _conditions("Created=True", "Running=True"), {}, "Progressing"),
    ("kubeflow.org/PyTorchJob", _conditions("Created=True", "Failed=True/JobFailed no"), {}, "Degraded"),
    ("trainer.kubeflow.org/TrainJob", _conditions("Complete=True"), {}, "Healthy"),
    ("trainer.kubeflow.org/TrainJob", _conditions("Suspended=True"), {}, "Suspended"),
    ("jobset.x-k8s.io/JobSet", _conditions("Completed=True/AllJobsCompleted"), {}, "Healthy"),
    ("leaderworkerset.x-k8s.io/LeaderWorkerSet", _conditions("Available=False", "Progressing=True"), {}, "Progressing"),
    ("ray.io/RayCluster", {"state": "ready"}, {}, "Healthy"),
    ("ray.io/RayJob", {"jobStatus": "FAILED", "jobDeploymentStatus": "Complete", "message": "no"}, {}, "Degraded"),
    ("ray.io/RayService", {"serviceStatus": "Running"}, {}, "Healthy"),
    ("sparkoperator.k8s.io/SparkApplication", {"applicationState": {"state": "SUBMISSION_FAILED"}}, {}, "Degraded"),
    ("batch.volcano.sh/Job", {"state": {"phase": "Aborted"}}, {}, "Degraded"),
    ("cluster.x-k8s.io/Cluster", {"phase": "Provisioned", **_conditions("Ready=True")}, {}, "Healthy"),
    ("cluster.x-k8s.io/Cluster", {"phase": "Provisioned"}, {"paused": True}, "Suspended"),
    ("kyverno.io/ClusterPolicy", _conditions("Ready=True/Succeeded"), {}, "Healthy"),
    ("acid.zalan.do/postgresql", {"PostgresClusterStatus": "SyncFailed"}, {}, "Degraded"),
    ("gateway.networking.k8s.io/Gateway", _conditions("Accepted=True", "Programmed=True"), {}, "Healthy"),
    ("gateway.networking.k8s.io/Gateway", _conditions("Accepted=True", "Programmed=False/Pending"), {}, "Progressing"),
    ("monitoring.coreos.com/PrometheusRule", None, {"groups": []}, "Healthy"),
    ("velero.io/Backup", {"phase": "PartiallyFailed"}, {}, "Degraded"),
    ("tekton.dev/PipelineRun", _conditions("Succeeded=Unknown/Running x"), {}, "Progressing"),
    ("apiextensions.k8s.io/CustomResourceDefinition", _conditions("Established=True"), {}, "Healthy"),
    ("batch/CronJob", None, {"suspend": True}, "Suspended"),
    ("/Namespace", {"phase": "Terminating"}, {}, "Progressing"),
    ("/Node", _conditions("Ready=Unknown/NodeStatusUnknown Kubelet stopped"), {}, "Degraded"),
    ("/ConfigMap", None, None, "Healthy"),
    ("mutations.gatekeeper.sh/Assign", {"byPod": [{"id": "p", "errors": [{"message": "no"}]}]}, {}, "Degraded"),
    ("mutations.gatekeeper.sh/Assign", {"byPod": [{"id": "p"}]}, {}, "Healthy"),
    ("generators.external-secrets.io/Password", None, {}, "Healthy"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "status", "spec", "wanted"), TABLE)
def test_kinds_of_the_table(kind: str, status: Any, spec: Any, wanted: str) -> None:
    assert _of(kind, status, spec).status.value == wanted


NEVER_SEEN = [
    (_conditions("Ready=True/Fine all is well"), {}, "Healthy", "all is well"),
    (_conditions("Ready=False/Pending x"), {}, "Progressing", "x"),
    (_conditions("Ready=False/ReconcileError no"), {}, "Degraded", "no"),
    (_conditions("Ready=False/QuotaTooSmall no"), {}, "Degraded", "no"),
    (_conditions("Ready=Unknown/Checking x"), {}, "Progressing", "x"),
    (_conditions("Ready=True", "Degraded=True/x half of it is gone"), {}, "Degraded", "half of it is gone"),
    (_conditions("Ready=True", "Reconciling=True/NewSpec x"), {}, "Progressing", "x"),
    (_conditions("Ready=False/x x", "Stalled=True/Invalid no way"), {}, "Degraded", "x"),
    (_conditions("Available=True", "Progressing=True/NewReplicaSetAvailable"), {}, "Healthy", "Available is true"),
    (_conditions("Paused=True/ByUser later"), {}, "Suspended", "later"),
    (_conditions("Launched=True"), {}, "Progressing", "Launched is true"),
    (_conditions("NotReady=True/Timeout no"), {}, "Degraded", "no"),
    (_conditions("Synced=False/x no"), {}, "Degraded", "no"),
    ({"phase": "Provisioning"}, {}, "Progressing", "phase is Provisioning"),
    ({"state": "CrashLoopBackOff", "message": "no"}, {}, "Degraded", "no"),
    ({"phase": "Ready", "health": "red"}, {}, "Degraded", "health is red"),
    ({"phase": "Xyzzy"}, {}, "Unknown", "phase is 'Xyzzy', which is no word that is known"),
    ({"replicas": 3, "readyReplicas": 1}, {"replicas": 3}, "Progressing", "readyReplicas: 1 of 3"),
    ({"replicas": 3, "readyReplicas": 3}, {"replicas": 3}, "Healthy", "readyReplicas: 3 of 3"),
    ({"ready": False}, {}, "Progressing", "ready is false"),
    ({"ready": False, "failureMessage": "no"}, {}, "Degraded", "no"),
    ({"error": {"message": "no"}}, {}, "Degraded", "no"),
    ({"parents": [_conditions("Accepted=True"), _conditions("Accepted=False/x no")]}, {}, "Degraded", "no"),
    (_conditions("Ready=true/Fine yes"), {}, "Healthy", "yes"),
    ("Failed", {}, "Degraded", "phase is Failed"),
    ({"paused": True, "phase": "Running"}, {}, "Suspended", "paused is true"),
    ({"desiredNumberScheduled": 3, "numberReady": 2}, {}, "Progressing", "numberReady: 2 of 3"),
    ({"racks": {"a": {"members": 3, "readyMembers": 1}}}, {}, "Progressing", "readyMembers: 1 of 3"),
    ({"url": "https://x"}, {}, "Healthy", "its status tells of no condition, phase or error"),
    ({"conditions": []}, {}, "Progressing", "its status is empty"),
    (None, {}, "Progressing", "it has no status yet"),
    ({"phase": "Running"}, {"suspend": True}, "Suspended", "spec.suspend is true"),
    (
        _conditions("Synced=True/ReconcileSuccess"),
        {"forProvider": {"region": "eu"}},
        "Progressing",
        "it was handed over, and Ready is not told yet",
    ),
    (_conditions("Synced=True", "Ready=True/Available"), {"forProvider": {"region": "eu"}}, "Healthy", "Available"),
    ({"expectedNodes": 2}, {}, "Progressing", "expectedNodes is 2, and none is counted"),
    ({"expectedNodes": 2, "availableNodes": 2}, {}, "Healthy", "its status tells of no condition, phase or error"),
    (
        {"updatedReplicas": 7, "readyReplicas": 10},
        {"replicas": 10, "updateStrategy": {"rollingUpdate": {"partition": 3}}},
        "Suspended",
        "spec.updateStrategy leaves 3 of 10 as they were",
    ),
    (
        {"updatedReplicas": 6, "readyReplicas": 10},
        {"replicas": 10, "updateStrategy": {"rollingUpdate": {"partition": 3}}},
        "Progressing",
        "updatedReplicas: 6 of 10",
    ),
    (
        {"updatedReplicas": 7, "readyReplicas": 9},
        {"replicas": 10, "updateStrategy": {"rollingUpdate": {"partition": 3}}},
        "Progressing",
        "updatedReplicas: 7 of 10",
    ),
]


@pytest.mark.parametrize(("status", "spec", "wanted", "message"), NEVER_SEEN)
def test_kinds_never_seen(status: Any, spec: Any, wanted: str, message: str) -> None:
    assert _of("nobody.example.io/Thing", status, spec) == Health(HealthStatus(wanted), message)


def test_a_kind_without_the_subresource_is_not_waited_for() -> None:
    plain = {"apiVersion": "nobody.example.io/v1", "kind": "Thing", "spec": {}}
    assert health(plain).status is HealthStatus.PROGRESSING
    assert health(plain, reports=False) == Health(HealthStatus.HEALTHY, "its kind has no status")
    application = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}
    assert health(application, reports=False).status is HealthStatus.PROGRESSING
    assert health({**plain, "status": {"phase": "Failed"}}, reports=False).status is HealthStatus.DEGRADED


def test_what_runs_is_not_done_where_the_kind_is_one_that_ends() -> None:
    assert _of("nobody.example.io/ScanJob", {"phase": "Running"}).status is HealthStatus.PROGRESSING
    assert _of("nobody.example.io/Server", {"phase": "Running"}).status is HealthStatus.HEALTHY
    assert _of("nobody.example.io/ScanJob", {"startTime": "x"}).status is HealthStatus.PROGRESSING
    assert _of("nobody.example.io/ScanJob", {"startTime": "x", "endTime": "y"}).status is HealthStatus.HEALTHY


def test_a_status_of_an_older_generation_says_nothing() -> None:
    ready = _conditions("Ready=True")
    assert _of("nobody.example.io/Thing", {"observedGeneration": 1, **ready}, generation=2) == Health(
        HealthStatus.PROGRESSING, "the controller has not seen the latest change"
    )
    ready["conditions"][0]["observedGeneration"] = 1
    assert _of("nobody.example.io/Thing", ready, generation=2).status is HealthStatus.PROGRESSING


def test_what_is_deleted_is_progressing_and_says_what_it_waits_for() -> None:
    found = _of("/Pod", {"phase": "Failed"}, deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["example.io/hold"])
    assert found == Health(HealthStatus.PROGRESSING, "it is being deleted; it waits for example.io/hold")


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"])
def test_a_workload_that_no_controller_has_seen_is_not_healthy(kind: str) -> None:
    """Without a status, none wanted and none there are the same numbers."""
    assert _of(f"apps/{kind}", None, {"replicas": 0}, generation=1).status is HealthStatus.PROGRESSING


def test_somebodys_own_rule_comes_first_and_without_an_opinion_ours_does() -> None:
    rules = customized(lambda item: Health(HealthStatus.SUSPENDED) if item["kind"] == "Mine" else None)
    assert rules({"apiVersion": "x/v1", "kind": "Mine"}).status is HealthStatus.SUSPENDED
    assert rules({"apiVersion": "v1", "kind": "ConfigMap"}).status is HealthStatus.HEALTHY


def test_words_are_read_one_by_one() -> None:
    told = {
        "ReconcileError": Tone.FAILED,
        "NoErrors": Tone.GOOD,
        "NotReady": Tone.BUSY,
        "NonCompliant": Tone.FAILED,
        "InstallSucceeded": Tone.GOOD,
        "UpgradePending": Tone.BUSY,
        "ScalingUp": Tone.BUSY,
        "UP": Tone.GOOD,
        "down": Tone.FAILED,
        "UpToDate": Tone.GOOD,
        "ConfigOutOfSync": Tone.BUSY,
        "HEALTH_WARN": Tone.FAILED,
        "in progress": Tone.BUSY,
        "RolloutPaused": Tone.PAUSED,
        "Xyzzy": None,
        "": None,
    }
    assert {name: tone(name) for name in told} == told
    kinds = ("failed", "busy", "paused", "good")
    twice = {(a, b, word) for a in kinds for b in kinds if a < b for word in VOCABULARY[a] & VOCABULARY[b]}
    assert twice == set()
    assert VOCABULARY["strong"] <= VOCABULARY["failed"]


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(
    ["True", "False", "Unknown", "Ready", "Failed", "Paused", "1/3", "", "x", "2026-01-01T00:00:00Z", "conditions"]
)  # fmt: skip
_WORDS = """conditions status phase state type reason message replicas readyReplicas observedGeneration generation
suspend parents statuses environments health error annotations finalizers loadBalancer updateStrategy racks x"""
_KEYS = st.sampled_from(_WORDS.split())
_ANYTHING = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6), max_leaves=25
)
_KINDS = st.sampled_from([head for head, _ in rows_of_all()] + ["nobody.example.io/Thing", "apps/Deployment", "/Pod"])


@pytest.mark.parametrize("kind", ["/Pod", "apps/Deployment", "apps.kruise.io/CloneSet", "gloo.solo.io/Proxy", "x.io/Y"])
def test_a_number_that_nobody_can_write_out_is_none(kind: str) -> None:
    """Python refuses to make text of an integer of more than 4,300 digits; YAML's 0x... reads one."""
    large = 1 << 20_000
    for key in ("phase", "state", "replicas", "observedGeneration", "readyReplicas", "ready", "errors", "conditions"):
        status = {key: [{"type": large, "status": large}] if key == "conditions" else large}
        spec = {"replicas": large, "updateStrategy": {"partition": large}}
        assert isinstance(_of(kind, status, spec, generation=large, finalizers=[large]).message, str)
    assert _of(kind, {}, {}, deletionTimestamp="x", finalizers=[large]).status is HealthStatus.PROGRESSING


@settings(max_examples=150, deadline=None)
@given(kind=_KINDS, metadata=_ANYTHING, spec=_ANYTHING, status=_ANYTHING)
def test_nonsense_has_a_health_and_raises_nothing(kind: str, metadata: Any, spec: Any, status: Any) -> None:
    group, _, name = kind.replace("*", "x").rpartition("/")
    manifest = {"apiVersion": f"{group}/v1", "kind": name, "metadata": metadata, "spec": spec, "status": status}
    found = health(manifest)
    assert isinstance(found.status, HealthStatus)
    assert isinstance(found.message, str)
    assert len(found.message) < 10_000
