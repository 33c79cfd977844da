"""Admission without a process: recorded projections, derived objects, scale, break-glass, and answers as bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import FixedClock
from customhouse.app.admission import Admission
from customhouse.app.admission_context import AdmissionContext, Recorded, key_of
from customhouse.app.admission_image import validate_images
from customhouse.app.admission_review import MAX_WARNING, Answer, NotAReviewError, Review, read_review
from customhouse.app.admission_rules import AdmissionSpec, BreakGlass
from customhouse.app.governance import Governance, governance
from customhouse.core.change import Actor, ActorKind, Change, Operation, Revision, SignatureState
from customhouse.core.decision import Point, Verdict
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.core.sight import TOUCHED
from customhouse.observability.estimate import change_costs
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.facts import FactsContext, build_facts
from customhouse.policy.gate import Gate

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
GOOD = "apexlogic.com/team/app@sha256:" + "ab" * 32
LABELS = {f"customhouse.dev/{name}": "a" for name in ("owner", "team", "project", "cost-centre")}


@pytest.fixture(scope="module")
def governing() -> Governance:
    found = governance(None, None)
    spec = AdmissionSpec(
        exempt_namespaces=("kube-system",),
        break_glass=(BreakGlass("grace", "incident", datetime(2027, 1, 1, tzinfo=UTC), ("prod-*", "prod")),),
    )
    return replace(
        found, configuration=replace(found.configuration, trusted_registries=("apexlogic.com",), admission=spec)
    )


@pytest.fixture(scope="module")
def engine() -> RegorusEngine:
    return RegorusEngine(compile_packaged=True)


def manifest(name: str = "api", image: str = GOOD, replicas: int = 2) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
    }
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "prod", "labels": {"app": name, **LABELS}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name, **LABELS}}, "spec": spec},
        },
    }


def asked(obj: dict[str, Any], **more: Any) -> Review:
    group, _, version = obj["apiVersion"].rpartition("/")
    request = {
        "uid": "u",
        "kind": {"group": group, "version": version, "kind": obj["kind"]},
        "resource": {"group": group, "version": version, "resource": f"{obj['kind'].lower()}s"},
        "operation": "CREATE",
        "namespace": obj["metadata"].get("namespace", ""),
        "name": obj["metadata"]["name"],
        "userInfo": {"username": "ada"},
        "object": obj,
        **more,
    }
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return read_review(json.dumps(document).encode())


def admission(governing: Governance, engine: RegorusEngine, **context: Any) -> Admission:
    return Admission(AdmissionContext(governing, **context), engine, FixedClock(NOW))


def recorded(governing: Governance, obj: dict[str, Any]) -> tuple[Declaration, Recorded]:
    """What the gate would have recorded of it, a day before, for a signed commit."""
    ref = ResourceRef.of(obj)
    declaration = Declaration(ref, obj, Location("apps/api.yaml", 3))
    revision = Revision("c" * 40, (), "Ada <ada@example.com>", NOW, "api", SignatureState.VERIFIED, "ada")
    change = Change(Operation.CREATE, ref, None, declaration, revision, Actor(ActorKind.PERSON, "Ada"))
    costs = change_costs((change,), governing.book, governing.prices)
    book = governing.book.reference(governing.prices.provider, governing.prices.region)
    context = FactsContext(
        as_of=datetime(2026, 11, 21, tzinfo=UTC),
        book=book,
        cost_after=costs[0].after if costs else None,
        settings=governing.policy,
    )
    return declaration, Recorded(declaration, canonical_json(build_facts(change, context).document))


def test_an_object_that_equals_what_the_gate_judged_keeps_its_revision_and_is_not_charged_again(
    governing: Governance, engine: RegorusEngine
) -> None:
    declaration, found = recorded(governing, manifest())
    one = admission(
        governing, engine, revision="c" * 40, declared=(declaration,), recorded={key_of(declaration.ref): found}
    )
    live = manifest()
    live["metadata"] |= {"uid": "x", "resourceVersion": "7", "managedFields": []}
    live["spec"]["template"]["spec"] |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always"}  # as defaulted
    same = one.validate(asked(live))
    assert same.kind == "recorded"
    assert same.facts is not None
    assert same.decision is not None
    assert same.facts.document["revision"]["id"] == "c" * 40
    assert same.facts.document["as_of"] == "2026-11-22T10:00:00Z"
    assert same.decision.revision == "c" * 40
    other = manifest(replicas=3)
    other["metadata"]["annotations"] = {"customhouse.dev/revision": "c" * 40}  # no annotation is proof
    changed = one.validate(asked(other))
    assert changed.kind == "new"
    assert changed.decision is not None
    assert "revision-absent" in {finding.rule for finding in changed.decision.findings}


def test_the_same_facts_give_the_same_decision_as_at_the_gate(governing: Governance, engine: RegorusEngine) -> None:
    outcome = admission(governing, engine).validate(asked(manifest(image="evil.example/x:1")))
    assert outcome.decision is not None
    assert outcome.facts is not None
    ref = ResourceRef.of(manifest())
    change = Change(
        Operation.CREATE, ref, None, Declaration(ref, manifest(), Location("a")), None, Actor(ActorKind.PERSON, "ada")
    )
    gate = Gate(RegorusEngine(), governing.bundle, governing.waivers)  # interpreted, as at the pull request
    at_the_gate = gate.judge(change, outcome.facts, point=Point.GATE, decided_at=NOW)
    assert canonical_json(at_the_gate.body()) == canonical_json(outcome.decision.body())
    assert at_the_gate.verdict is Verdict.DENY


def test_what_controllers_derive_is_judged_for_security_and_its_cost_belongs_to_its_owner(
    governing: Governance, engine: RegorusEngine
) -> None:
    one = admission(governing, engine)
    spec = manifest()["spec"]["template"]["spec"]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api-1", "uid": "x", "controller": True}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "api-1-x", "namespace": "prod", "ownerReferences": [owner]},
        "spec": spec,
    }
    controller = {"username": "system:serviceaccount:kube-system:replicaset-controller"}
    derived = one.validate(asked(pod, userInfo=controller))
    assert (derived.kind, derived.answer.allowed) == ("derived", True)
    assert derived.facts is not None
    assert derived.facts.document["cost"]["monthly_after_micro"] == 0
    claimed = one.validate(asked(pod))  # anybody can write an owner reference
    assert claimed.kind == "new"
    assert not claimed.answer.allowed
    bad = {**pod, "spec": {**spec, "hostNetwork": True}}
    assert not one.validate(asked(bad, userInfo=controller)).answer.allowed


def test_exempt_namespaces_are_so_by_name_and_updates_that_no_rule_sees_pass(
    governing: Governance, engine: RegorusEngine
) -> None:
    one = admission(governing, engine)
    bad = manifest(image="evil.example/x:1")
    assert one.validate(asked(bad, namespace="kube-system")).kind == "exempt"
    labelled = {**bad, "metadata": {**bad["metadata"], "labels": {"admission": "ignore"}}}
    assert not one.validate(asked(labelled)).answer.allowed
    touched = {**bad, "metadata": {**bad["metadata"], "finalizers": ["x"]}, "status": {"replicas": 1}}
    assert one.validate(asked(touched, operation="UPDATE", oldObject=bad)).kind == "unchanged"
    worse = manifest(image="evil.example/y:1")
    assert not one.validate(asked(worse, operation="UPDATE", oldObject=bad)).answer.allowed


def test_break_glass_needs_the_person_the_namespace_the_time_and_an_entry(
    governing: Governance, engine: RegorusEngine
) -> None:
    bad = manifest(image="evil.example/x:1")
    one = admission(governing, engine)
    outcome = one.validate(asked(bad, userInfo={"username": "grace"}))
    assert (outcome.answer.allowed, outcome.durable) == (True, True)
    assert outcome.instead is not None
    assert not outcome.instead.allowed
    assert outcome.decision is not None
    assert outcome.decision.verdict is Verdict.DENY
    assert not one.validate(asked(bad, userInfo={"username": "Grace"})).answer.allowed
    assert not one.validate(asked(bad, userInfo={"username": "grace"}, namespace="staging")).answer.allowed
    late = Admission(AdmissionContext(governing), engine, FixedClock(datetime(2027, 1, 1, tzinfo=UTC)))
    assert not late.validate(asked(bad, userInfo={"username": "grace"})).answer.allowed


def test_a_model_that_nothing_is_filed_about_cannot_be_decided(governing: Governance, engine: RegorusEngine) -> None:
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "m", "namespace": "prod", "labels": dict(LABELS)},
        "spec": {
            "predictor": {
                "model": {"modelFormat": {"name": "onnx"}, "storageUri": "oci://apexlogic.com/m@sha256:" + "cd" * 32}
            }
        },
    }
    outcome = admission(governing, engine).validate(asked(service))
    assert not outcome.answer.allowed
    assert "nothing is filed here about sha256:cdcd" in outcome.answer.message


def test_scale_within_the_declared_range_is_not_judged_again(governing: Governance, engine: RegorusEngine) -> None:
    declaration, _ = recorded(governing, manifest(replicas=4))
    one = admission(governing, engine, revision="c" * 40, declared=(declaration,))

    def scale(wanted: Any, present: int = 1) -> Any:
        body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "api", "namespace": "prod"}}
        review = asked({**body, "spec": {"replicas": wanted}}, oldObject={**body, "spec": {"replicas": present}})
        return one.validate(replace(review, operation="UPDATE", resource="deployments", subresource="scale"))

    assert scale(4).kind == "unchanged"
    assert scale(0).answer.allowed
    assert not scale(500).answer.allowed
    assert not scale("many").answer.allowed
    assert not scale(True).answer.allowed


@pytest.mark.parametrize(
    ("image", "allowed"),
    [
        (GOOD, True),
        (GOOD.replace("apexlogic.com/", "apexlogic.com.evil/"), False),
        (GOOD.replace("apexlogic.com/", "evil.example/apexlogic.com/"), False),
        (GOOD.replace("apexlogic.com/", "apexlogic.com/../evil/"), False),
        (GOOD.replace("team", "TEAM"), False),
        (f" {GOOD}", False),
        ("apexlogic/app:1.0.0", False),
        ("apexlogic.com/app:1.0.0", False),
        ("apexlogic.com", False),
        ("", False),
        (None, False),
        (7, False),
    ],
)
def test_images_of_the_example_webhook(image: Any, allowed: bool) -> None:
    for place in ("containers", "initContainers", "ephemeralContainers"):
        obj = {"apiVersion": "x/v1", "kind": "Any", "metadata": {"name": "a", "namespace": "p"}}
        obj["spec"] = {"deep": [{"template": {"spec": {place: [{"name": "c", "image": image}]}}}]}
        assert validate_images(asked(obj), "apexlogic.com/").allowed is allowed
        assert not validate_images(asked(obj), " ").allowed


def test_images_that_are_mounted_as_files_are_guarded_too() -> None:
    obj = manifest()
    obj["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "image": {"reference": "evil.example/data:1"}}]
    answer = validate_images(asked(obj), "apexlogic.com/")
    assert not answer.allowed
    assert "/spec/template/spec/volumes/0/image" in answer.message


def test_what_kubernetes_makes_without_an_owner_needs_no_revision_and_nobody_else_becomes_kubernetes(
    governing: Governance, engine: RegorusEngine
) -> None:
    one = strict(governing, engine, STORAGE)
    root = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": "prod"}}
    publisher = {"username": "system:serviceaccount:kube-system:root-ca-cert-publisher"}
    assert one.validate(asked(root, userInfo=publisher)).answer.allowed
    for name in ("ada", "system:serviceaccount:prod:root-ca-cert-publisher", "system:apiserver:x"):
        groups = ["system:masters", "system:serviceaccounts:kube-system"]
        refused = one.validate(asked(root, userInfo={"username": name, "groups": groups}))
        assert "revision-required" in refused.answer.message
    # A controller that configuration adds is only believed about what names an owner.
    spec = replace(governing.configuration.admission, require_revision=True, controllers=("argo",))
    added = replace(governing, configuration=replace(governing.configuration, admission=spec))
    assert not admission(added, engine).validate(asked(root, userInfo={"username": "argo"})).answer.allowed


def test_answers_are_what_the_api_server_takes() -> None:
    answer = Answer(True, warnings=("w" * 1000, *("x" * 200 for _ in range(100))), patch=({"op": "add"},))
    response = json.loads(answer.to_bytes("u"))["response"]
    assert response["uid"] == "u"
    assert response["patchType"] == "JSONPatch"
    assert max(map(len, response["warnings"])) == MAX_WARNING
    assert sum(map(len, response["warnings"])) <= 4096
    denied = json.loads(Answer(False, "no").to_bytes("u"))["response"]
    assert (denied["allowed"], denied["status"]["message"], denied["status"]["code"]) == (False, "no", 403)


@pytest.mark.parametrize("body", [b"", b"1", b"[]", b'{"request": []}', b'{"request": {"uid": ""}}', b"\xff"])
def test_what_is_no_review_says_so(body: bytes) -> None:
    with pytest.raises(NotAReviewError):
        read_review(body)


STORAGE = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "fast", "labels": LABELS},
    "provisioner": "ebs.csi.aws.com",
    "parameters": {"type": "gp3"},
}


def strict(governing: Governance, engine: RegorusEngine, obj: dict[str, Any]) -> Admission:
    """Requires a revision, and has what the gate recorded of one object."""
    declaration, found = recorded(governing, obj)
    spec = replace(governing.configuration.admission, require_revision=True)
    demanding = replace(governing, configuration=replace(governing.configuration, admission=spec))
    return admission(
        demanding, engine, revision="c" * 40, declared=(declaration,), recorded={key_of(declaration.ref): found}
    )


def test_a_kind_whose_defaults_nobody_knows_is_what_git_declares_when_all_that_is_declared_is_there(
    governing: Governance, engine: RegorusEngine
) -> None:
    one = strict(governing, engine, STORAGE)
    live = {**STORAGE, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}
    assert one.validate(asked(live)).kind == "recorded"
    tracked = {
        **live,
        "metadata": {**STORAGE["metadata"], "annotations": {"argocd.argoproj.io/tracking-id": "a:b", TOUCHED: "7.1"}},
    }
    assert one.validate(asked(tracked)).kind == "recorded"
    others = (
        {**live, "provisioner": "evil.example"},
        {**live, "parameters": {}},
        {**live, "metadata": {"name": "fast", "labels": {**LABELS, "customhouse.dev/tier": "critical"}}},
    )
    for other in others:
        outcome = one.validate(asked(other))
        assert outcome.kind == "new"
        assert "revision-required" in outcome.answer.message
    # What Git declares was there already: this is somebody's own doing.
    by_hand = one.validate(asked({**live, "mountOptions": ["exec"]}, operation="UPDATE", oldObject=live))
    assert (by_hand.kind, by_hand.answer.allowed) == ("new", False)
    # A commit that adds a field brings the defaults of it too, one that removes a field brings nothing.
    older = {**STORAGE, "parameters": {}}
    assert one.validate(asked(live, operation="UPDATE", oldObject=older)).kind == "recorded"
    longer = {**live, "mountOptions": ["exec"]}
    assert one.validate(asked(live, operation="UPDATE", oldObject=longer)).kind == "recorded"


def test_facts_of_another_content_prove_nothing(governing: Governance, engine: RegorusEngine) -> None:
    declaration, _ = recorded(governing, manifest())
    _, older = recorded(governing, manifest(replicas=1))
    kept = {key_of(declaration.ref): Recorded(declaration, older.facts)}
    assert admission(governing, engine, recorded=kept).validate(asked(manifest())).kind == "new"


def secret(value: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": "database", "namespace": "prod"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": value}, **more}


def test_a_secret_that_an_operator_makes_was_never_in_git_and_one_that_git_shows_is_refused(
    governing: Governance, engine: RegorusEngine
) -> None:
    live = secret("hunter2")
    made = admission(governing, engine, revision="c" * 40).validate(asked(live))
    assert made.answer.allowed, made.answer.message
    assert made.facts is not None
    assert "hunter2" not in canonical_json(made.facts.document).decode()
    ref = ResourceRef.of(live)
    shown = admission(governing, engine, revision="c" * 40, declared=(Declaration(ref, live, Location("s.yaml")),))
    for value in ("hunter2", "another"):
        refused = shown.validate(asked(secret(value)))
        assert "secret-in-git" in refused.answer.message
    sealed = secret("ENC[AES256_GCM,data:aGk=,iv:aGk=,tag:aGk=,type:str]", sops={"mac": "x"})
    assert strict(governing, engine, sealed).validate(asked(live)).kind == "recorded"


def test_an_object_with_many_containers_is_decided_as_by_the_interpreter(
    governing: Governance, engine: RegorusEngine
) -> None:
    """The engine's virtual machine stops after 25,000 instructions: some forty containers."""
    large = manifest(image="evil.example/x:1")
    spec = large["spec"]["template"]["spec"]
    spec["containers"] = [{**spec["containers"][0], "name": f"c{number}"} for number in range(100)]
    found, again = (admission(governing, one).validate(asked(large)) for one in (engine, RegorusEngine()))
    assert found.decision is not None
    assert again.decision is not None
    assert found.decision.body() == again.decision.body()
    assert len(found.decision.findings) > 100
    assert admission(governing, engine).validate(asked(manifest())).answer.allowed, "the machine goes on"


def test_an_image_that_was_asked_for_and_has_nothing_attached_is_judged(
    governing: Governance, engine: RegorusEngine
) -> None:
    trust = replace(governing.configuration.trust, registries=("apexlogic.com",))
    asking = replace(governing, configuration=replace(governing.configuration, trust=trust))
    unknown = admission(asking, engine).validate(asked(manifest()))
    assert "nothing is filed here" in unknown.answer.message
    known = admission(asking, engine, asked=frozenset((GOOD,))).validate(asked(manifest()))
    assert "nothing is filed here" not in known.answer.message
    assert known.decision is not None
