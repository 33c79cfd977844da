"""The audit of a real cluster: what is applied is judged as it was at the gate, and nothing is passed over silently."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import FixedClock, SystemClock
from customhouse.app import wiring
from customhouse.app.admission_context import AdmissionContext, Recorded, key_of
from customhouse.app.audit import Auditor, AuditReport
from customhouse.app.audit_reports import policy_reports, publish
from customhouse.app.audit_scene import Scene, scene_of_cluster
from customhouse.app.audit_spec import AuditSpec
from customhouse.app.auditing import AuditRequest, Watch
from customhouse.app.auditing_background import AuditWatch, BackgroundAudit
from customhouse.app.clearance import Clearance, Judgement, Question, Spend
from customhouse.app.governance import Governance, governance
from customhouse.app.named_files import NamedFiles
from customhouse.app.settings import Settings, read_settings
from customhouse.cli.program import run
from customhouse.core.change import Revision, SignatureState
from customhouse.core.cluster import Apply, Delete, EventKind
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
CONFIGURATION = """
apiVersion: customhouse.dev/v1
policy:
  trustedRegistries: [apexlogic.com/]
  requireSignedCommits: false
"""
MANIFESTS = f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: scorer
  namespace: NAMESPACE
  labels: {{customhouse.dev/owner: ada, customhouse.dev/team: risk}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: scorer}}}}
  template:
    metadata: {{labels: {{app: scorer}}}}
    spec:
      containers:
        - name: scorer
          image: apexlogic.com/scorer@{DIGEST}
          ports: [{{containerPort: 8080}}]
          resources: {{requests: {{cpu: 500m, memory: 1Gi}}, limits: {{cpu: "1", memory: 1Gi}}}}
          livenessProbe: {{httpGet: {{path: /live, port: 8080}}}}
      initContainers:
        - {{name: fetch, image: "docker.io/library/busybox:latest", command: [sh]}}
---
apiVersion: v1
kind: Service
metadata: {{name: scorer, namespace: NAMESPACE}}
spec: {{selector: {{app: scorer}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: NAMESPACE}}
data: {{threshold: "0.5"}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: scorer, namespace: NAMESPACE}}
spec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: scorer}}, minReplicas: 1, maxReplicas: 3}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly, namespace: NAMESPACE}}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
            - {{name: train, image: "apexlogic.com/train:1", resources: {{requests: {{cpu: "2", memory: 4Gi}}}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: default-deny, namespace: NAMESPACE}}
spec: {{podSelector: {{}}, policyTypes: [Ingress, Egress]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: everything, namespace: NAMESPACE}}
rules: [{{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}}]
"""


@dataclass
class World:
    """A namespace of the cluster, files that declare what is in it, and the two ways to judge."""

    plane: ControlPlane
    cluster: KubernetesCluster
    namespace: str
    folder: Path
    settings: Settings

    def write(self, text: str) -> None:
        (self.folder / "all.yaml").write_text(text.replace("NAMESPACE", self.namespace))

    def documents(self) -> list[dict[str, Any]]:
        return list(yaml.safe_load_all((self.folder / "all.yaml").read_text()))

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        for done in self.cluster.write([Apply(item) for item in manifests]):
            assert done.ok, done.problem

    def gate(self, revision: Revision | None = None) -> Judgement:
        governing = governance(None, None, self.settings.config)
        tree = NamedFiles([str(self.folder)])
        question = Question(governing, tree, "files", (), revision, "cluster", Spend())
        return self._clearance().judge(question)

    def audit(self, context: AdmissionContext | None = None) -> AuditReport:
        context = context or AdmissionContext(governance(None, None, self.settings.config))
        auditor = Auditor(context, wiring.engine(self.settings), FixedClock(NOW), self._clearance())
        return auditor.audit(self.scene(), keep_facts=True)

    def scene(self) -> Scene:
        """What the cluster has in this namespace: tests share the cluster."""
        scene = scene_of_cluster(self.cluster, "test")
        return replace(scene, declarations=tuple(d for d in scene.declarations if d.ref.namespace == self.namespace))

    def refs(self, kind: str) -> list[ResourceRef]:
        return [item.ref for item in self.scene().declarations if item.ref.kind == kind]

    def _clearance(self) -> Clearance:
        return Clearance(wiring.engine(self.settings), FixedClock(NOW), self.folder)


@pytest.fixture
def world(kubernetes: ControlPlane, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "rules").mkdir()
    (tmp_path / "files").mkdir()
    config = tmp_path / "rules" / "customhouse.yaml"
    config.write_text(CONFIGURATION)
    settings = read_settings(state=str(tmp_path / "state"), engine="embedded", config=str(config))
    with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
        yield World(kubernetes, cluster, kubernetes.namespace("audit"), tmp_path / "files", settings)


def test_what_is_applied_gets_the_decision_of_the_gate_byte_for_byte(world: World) -> None:
    world.write(MANIFESTS)
    judgement = world.gate()
    judged = {decision.resource: decision for decision in judgement.decisions}
    facts = {change.ref: document for change, document in zip(judgement.changes, judgement.facts, strict=True)}
    world.apply(*world.documents())
    world.plane.until(lambda: len(world.refs("Pod")) == 2)

    report = world.audit()

    live = {item.decision.resource: item for item in report.audited}
    assert report.undecided == ()
    assert len(judged) == 7
    for ref, decision in judged.items():
        assert report.facts[ref].document == facts[ref].document
        assert canonical_json(live[ref].decision.body()) == canonical_json(decision.body())
    assert report.denied, "a wildcard role, an image without a digest"


def test_what_a_commit_brought_is_judged_in_that_commit_until_somebody_edits_it(world: World) -> None:
    world.write(MANIFESTS)
    revision = Revision("c" * 40, (), "Ada <ada@example.com>", NOW, "scorer", SignatureState.VERIFIED, "ada")
    judgement = world.gate(revision)
    recorded = {
        key_of(change.ref): Recorded(change.after, canonical_json(facts.document))
        for change, facts in zip(judgement.changes, judgement.facts, strict=True)
        if change.after is not None
    }
    context = AdmissionContext(governance(None, None, world.settings.config), recorded=recorded)
    world.apply(*world.documents())

    report = world.audit(context)

    live = {item.decision.resource: item for item in report.audited}
    for decision in judgement.decisions:
        assert live[decision.resource].way == "recorded"
        assert live[decision.resource].decision.digest == decision.digest
        assert live[decision.resource].decision.revision == revision.id

    deployment = world.documents()[0]
    deployment["spec"]["replicas"] = 5
    world.apply(deployment)
    context = replace(context, governing=_requiring_revisions(context.governing))
    edited = {item.decision.resource.kind: item for item in world.audit(context).audited}["Deployment"]
    assert edited.way == "new"
    assert edited.decision.revision is None
    assert "revision-required" in {finding.rule for finding in edited.decision.findings}


def test_pods_of_a_deployment_are_judged_for_security_and_cost_nothing_of_their_own(world: World) -> None:
    world.write(MANIFESTS)
    world.apply(*world.documents())
    world.plane.until(lambda: len(world.refs("Pod")) == 2)

    report = world.audit()

    derived = [item for item in report.audited if item.way == "derived" and item.decision.resource.kind == "Pod"]
    assert [str(item.owner) for item in derived] == [f"Deployment {world.namespace}/scorer"] * 2
    for item in derived:
        assert report.facts[item.decision.resource].document["cost"]["monthly_after_micro"] == 0
        assert {finding.category.value for finding in item.decision.findings} == {"security"}
        assert "image-not-pinned" in {finding.rule for finding in item.decision.findings} or item.decision.findings
    assert report.cost.after == world.gate().cost.after


def test_a_pod_that_names_an_owner_that_did_not_make_it_is_charged_for(world: World) -> None:
    world.write(MANIFESTS)
    world.apply(*world.documents())
    world.plane.until(lambda: len(world.refs("ReplicaSet")) == 1)
    owner = next(item for item in world.scene().declarations if item.ref.kind == "ReplicaSet")
    claim = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner.ref.name, "controller": True}
    real = {**claim, "uid": owner.manifest["metadata"]["uid"]}
    world.apply(
        _pod(world.namespace, "large", real, cpu="16"),
        _pod(world.namespace, "renamed", {**real, "name": "another"}, cpu="100m"),
    )

    report = world.audit()

    ways = {item.decision.resource.name: item.way for item in report.audited}
    assert ways["large"] == "new", "it is larger than what the owner declares"
    cost = report.facts[ResourceRef("v1", "Pod", world.namespace, "large")].document["cost"]
    assert cost["monthly_after_micro"] > 0
    assert ways.get("renamed", "new") == "new", "the uid exists, and the name is another's"


def test_an_object_that_cannot_be_judged_is_told_and_the_others_are_judged(world: World) -> None:
    # The API server takes it, and the projection does not: a text of more than 64 KiB in an annotation.
    long = {"note": "x" * 70_000}
    broken = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "broken", "namespace": world.namespace, "annotations": long},
        "spec": {"ports": [{"port": 1}]},
    }
    fine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fine", "namespace": world.namespace}}
    world.apply(broken, fine)

    report = world.audit()

    assert [item.resource.name for item in report.undecided] == ["broken"]
    assert "fine" in {item.decision.resource.name for item in report.audited}
    assert not report.complete


def test_reports_are_objects_of_the_cluster_and_only_ours_are_removed(world: World) -> None:
    world.plane.install_crds("policy-report")
    world.write(MANIFESTS)
    world.apply(*world.documents())
    place = f"/apis/wgpolicyk8s.io/v1alpha2/namespaces/{world.namespace}/policyreports"
    base = {"apiVersion": "wgpolicyk8s.io/v1alpha2", "kind": "PolicyReport"}
    labels = {"app.kubernetes.io/managed-by": "customhouse"}
    # Another tool's; one of ours that is stale; one that somebody dressed up as ours.
    world.plane.apply(f"{place}/cpol-x", {**base, "metadata": {"name": "cpol-x", "namespace": world.namespace}})
    stale = {**base, "metadata": {"name": "customhouse-audit-9", "namespace": world.namespace, "labels": labels}}
    world.apply(stale)
    dressed = {**base, "metadata": {"name": "customhouse-audit-x", "namespace": world.namespace, "labels": labels}}
    world.plane.apply(f"{place}/customhouse-audit-x", dressed, manager="kyverno")

    report = world.audit()
    done = publish(world.cluster, report)

    assert (done.problems, done.written, done.removed) == ((), 1, 1)
    names = {item["metadata"]["name"] for item in world.plane.call("GET", place)["items"]}
    assert names == {"cpol-x", "customhouse-audit", "customhouse-audit-x"}
    ours = world.plane.call("GET", f"{place}/customhouse-audit")
    counted = sum(count for (_, _, severity, _), count in report.counts().items() if severity == "error")
    assert ours["summary"]["fail"] == counted > 0
    assert {row["resources"][0]["uid"] for row in ours["results"]} <= {item.uid for item in report.audited}
    (wanted,) = policy_reports(report)
    assert {key: ours[key] for key in ("results", "summary")} == {key: wanted[key] for key in ("results", "summary")}


def test_a_namespace_that_goes_away_meanwhile_needs_no_report(world: World) -> None:
    world.plane.install_crds("policy-report")
    metadata = {"name": "kept", "namespace": world.namespace, "finalizers": ["customhouse.dev/test"]}
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    world.apply(kept)
    report = world.audit()
    world.plane.call("DELETE", f"/api/v1/namespaces/{world.namespace}")
    try:
        assert publish(world.cluster, report).problems == ()
    finally:
        world.apply({**kept, "metadata": {**metadata, "finalizers": []}})
    world.plane.until(lambda: world.cluster.get([ResourceRef("v1", "Namespace", "", world.namespace)]) == [None])
    assert publish(world.cluster, report).problems == ()


def test_a_report_of_another_tool_with_our_name_stays_as_it_is(world: World) -> None:
    world.plane.install_crds("policy-report")
    world.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": world.namespace}})
    place = f"/apis/wgpolicyk8s.io/v1alpha2/namespaces/{world.namespace}/policyreports/customhouse-audit"
    theirs = {
        "apiVersion": "wgpolicyk8s.io/v1alpha2",
        "kind": "PolicyReport",
        "metadata": {"name": "customhouse-audit", "namespace": world.namespace},
        "summary": {"fail": 7},
    }
    world.plane.apply(place, theirs, manager="kyverno")

    done = publish(world.cluster, world.audit())

    assert done.written == 0
    assert "conflict" in done.problems[0]
    assert world.plane.call("GET", place)["summary"]["fail"] == 7


@pytest.fixture(scope="module")
def account(kubernetes: ControlPlane, repository_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig of the service account of deploy/audit/rbac.yaml."""
    kubernetes.install_crds("policy-report")
    with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
        documents = yaml.safe_load_all((repository_root / "deploy/audit/rbac.yaml").read_text())
        for done in cluster.write([Apply(item, force=True) for item in documents]):
            assert done.ok, done.problem
    path = "/api/v1/namespaces/customhouse-system/serviceaccounts/customhouse-audit/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = kubernetes.call("POST", path, asked)["status"]["token"]
    document = json.loads(kubernetes.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    file = tmp_path_factory.mktemp("account") / "kubeconfig"
    file.write_text(json.dumps(document))
    return file


def test_the_shipped_role_is_enough_for_an_audit_with_reports_and_for_nothing_else(
    world: World, account: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": world.namespace}})
    config = str(world.settings.config)
    status = run(
        ["audit", "--kubeconfig", str(account), "--config", config, "--engine", "embedded", "--report", "-o", "json"]
    )
    said = capsys.readouterr()
    told = json.loads(said.out)
    own = {
        "apps",
        "batch",
        "autoscaling",
        "policy",
        "rbac.authorization.k8s.io",
        "networking.k8s.io",
        "serving.kserve.io",
    }
    refused = {name for name in told["unlisted"] if "." not in name or name.partition(".")[2] in own}
    assert refused == set(), told["unlisted"]
    assert [line for line in said.err.splitlines() if world.namespace in line] == [], "its report was written"
    # Other tests define kinds of their own in this cluster: the role does not list them, and the audit says so.
    assert (status == 3) == (not told["complete"])
    place = f"/apis/wgpolicyk8s.io/v1alpha2/namespaces/{world.namespace}/policyreports/customhouse-audit"
    assert world.plane.call("GET", place)["kind"] == "PolicyReport"

    token = json.loads(account.read_text())["users"][0]["user"]["token"]
    for method, path, body in (
        ("GET", f"/api/v1/namespaces/{world.namespace}/secrets", None),
        ("GET", f"/api/v1/namespaces/{world.namespace}/configmaps/a", None),
        ("DELETE", f"/api/v1/namespaces/{world.namespace}/configmaps/a", None),
        ("POST", f"/api/v1/namespaces/{world.namespace}/pods", _pod(world.namespace, "p", None, cpu="1")),
    ):
        with pytest.raises(KubernetesError) as refusal:
            world.plane.call(method, path, body, token=token)
        assert refusal.value.status == 403


def test_a_kind_that_may_not_be_listed_is_named_and_the_audit_is_not_complete(
    world: World, account: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    role = world.plane.call("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/customhouse-audit")
    less = [rule for rule in role["rules"] if rule["apiGroups"] != ["batch"]]
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/customhouse-audit"
    world.plane.call("PUT", path, {**role, "rules": less})
    try:
        arguments = ["audit", "--kubeconfig", str(account), "--engine", "embedded"]
        world.plane.until(lambda: run([*arguments, "-q", "-o", "json"]) == 3)
        capsys.readouterr()
        assert run(arguments) == 3
    finally:
        current = world.plane.call("GET", path)
        world.plane.call("PUT", path, {**role, "metadata": current["metadata"]})
    assert "could not be listed: jobs.batch: Forbidden" in capsys.readouterr().out


def test_a_watch_tells_what_exists_then_what_happens(world: World) -> None:
    kinds = [kind for kind in world.cluster.discover().kinds if kind.resource == "configmaps"]
    seen: list[tuple[EventKind, str]] = []

    def name_of(manifest: Mapping[str, Any] | None) -> str:
        ours = manifest is not None and manifest["metadata"].get("namespace") == world.namespace
        return manifest["metadata"]["name"] if ours and manifest is not None else ""

    def told(event: EventKind, name: str = "") -> Callable[[], bool]:
        return lambda: (event, name) in seen

    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": world.namespace}}
    world.apply(one)
    stop = world.cluster.watch(kinds, lambda events: seen.extend((e.event, name_of(e.manifest)) for e in events))
    world.plane.until(told(EventKind.SYNCED))
    assert (EventKind.ADDED, "one") in seen
    world.apply({**one, "metadata": {**one["metadata"], "name": "two"}})
    world.plane.until(told(EventKind.ADDED, "two"))
    world.cluster.write([Delete(ResourceRef("v1", "ConfigMap", world.namespace, "one"))])
    world.plane.until(told(EventKind.DELETED, "one"))
    stop()
    assert [event for event, _ in seen].count(EventKind.RESTARTED) == 1


def test_an_object_is_deleted_only_while_it_is_the_one_that_was_seen(world: World) -> None:
    ref = ResourceRef("v1", "ConfigMap", world.namespace, "a")
    world.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": world.namespace}})
    (seen,) = world.cluster.get([ref])
    assert seen is not None
    (refused,) = world.cluster.write([Delete(ref, uid="00000000-0000-0000-0000-000000000000")])
    assert (refused.ok, refused.reason) == (False, "Conflict")
    (done,) = world.cluster.write(
        [Delete(ref, uid=seen["metadata"]["uid"], version=seen["metadata"]["resourceVersion"])]
    )
    assert done.ok
    assert world.cluster.get([ref]) == [None]


def test_between_two_audits_the_cluster_is_watched_and_new_kinds_are_taken_up(world: World) -> None:
    watch = Watch(world.cluster)
    try:
        world.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": world.namespace}}
        )
        first = watch.scene("test")
        group = f"{world.namespace}.example"
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"trainers.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": "trainers", "singular": "trainer", "kind": "Trainer"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
            },
        }
        world.apply(definition)
        place = f"/apis/{group}/v1/namespaces/{world.namespace}/trainers/t"
        trainer = {"apiVersion": f"{group}/v1", "kind": "Trainer", "metadata": {"name": "t"}}
        world.plane.until(lambda: world.plane.apply(place, trainer))
        world.plane.until(lambda: f"trainers.{group}" in {kind.resource for kind in world.cluster.discover().kinds})
        second = watch.scene("test")
    finally:
        watch.close()

    def mine(scene: Scene) -> set[str]:
        return {item.ref.name for item in scene.declarations if item.ref.namespace == world.namespace}

    assert "one" in mine(first)
    assert mine(second) >= {"one", "t"}
    assert f"trainers.{group}" not in second.problems


def test_audits_beside_other_work_tell_the_last_one_and_survive_an_api_that_is_not_there(
    world: World, tmp_path: Path
) -> None:
    world.apply(_pod(world.namespace, "bare", None, cpu="1"))
    problems: list[str] = []
    request = AuditRequest(kubeconfig=world.plane.kubeconfig)
    audits = BackgroundAudit(world.settings, request, 3600, problems.append)
    assert "customhouse_audit_complete 0" in audits.metrics()
    audits.start()
    try:
        world.plane.until(lambda: f'namespace="{world.namespace}"' in audits.metrics(), 60)
        assert audits.latest is not None
        assert audits.latest.report.denied
    finally:
        audits.stop()
    nowhere = BackgroundAudit(world.settings, AuditRequest(kubeconfig=tmp_path / "absent"), 3600, problems.append)
    nowhere.start()
    nowhere.stop(30)
    assert "no audits are made" in problems[-1]
    assert "customhouse_audit_complete 0" in nowhere.metrics()


def test_the_control_plane_audits_when_its_governance_asks_for_it_and_ends_it_when_not(world: World) -> None:
    environment = {**world.settings.environment, "KUBECONFIG": str(world.plane.kubeconfig)}
    asked = AuditSpec(every_minutes=60)
    plane: Any = SimpleNamespace(settings=replace(world.settings, environment=environment), location=None)
    plane.governing = lambda: SimpleNamespace(configuration=SimpleNamespace(audit=asked, clusters={}))
    watch = AuditWatch(plane)
    watch.step()
    try:
        world.plane.until(lambda: "customhouse_audit_complete 1" in watch.metrics(), 60)
        asked = AuditSpec()
        watch.step()
        assert watch.metrics() == watch.problem == ""
    finally:
        watch.stop()


def test_a_server_that_is_not_the_one_that_was_meant_gets_no_token(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(world.plane.kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    del cluster["certificate-authority"]  # the system's authorities do not know this one
    place = tmp_path / "kubeconfig"
    place.write_text(json.dumps(document))
    assert run(["audit", "--kubeconfig", str(place), "--engine", "embedded"]) == 3
    said = capsys.readouterr().err
    assert "does not verify" in said
    assert "certificate-authority-data" in said
    cluster["insecure-skip-tls-verify"] = True
    place.write_text(json.dumps(document))
    run(["audit", "--kubeconfig", str(place), "--engine", "embedded", "-o", "prometheus"])
    assert "insecure-skip-tls-verify" in capsys.readouterr().err


def _requiring_revisions(governing: Governance) -> Governance:
    configuration = governing.configuration
    return replace(
        governing,
        configuration=replace(configuration, admission=replace(configuration.admission, require_revision=True)),
    )


def _pod(namespace: str, name: str, owner: Mapping[str, Any] | None, *, cpu: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": {"made": "by-hand"}}
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    container = {"name": "c", "image": "apexlogic.com/x:1", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
