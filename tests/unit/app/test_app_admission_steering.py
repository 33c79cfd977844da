"""What a rollout makes of what Git declares, at admission: let in for the account that walks, and nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_app_admission import LABELS, NOW, admission, asked, manifest, recorded

from customhouse._kit.clock import FixedClock
from customhouse.app.admission import Admission
from customhouse.app.admission_context import AdmissionContext, key_of
from customhouse.app.audit import Auditor
from customhouse.app.audit_scene import Scene
from customhouse.app.clearance import Clearance
from customhouse.app.governance import governance
from customhouse.core.change import Revision, SignatureState
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.execution.plain_traffic import (
    candidate_deployment,
    candidate_service,
    shared_route,
    tracked_deployment,
    tracked_service,
)
from customhouse.policy.adapters.regorus import RegorusEngine

WALKER = {"username": "system:serviceaccount:customhouse-system:customhouse-controller"}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "api", "namespace": "prod", "labels": LABELS},
    "spec": {"selector": {"app": "api"}, "ports": [{"port": 80, "targetPort": 8080}]},
}
REVISION = Revision("c" * 40, (), "Ada <ada@example.com>", NOW, "api", SignatureState.VERIFIED, "ada")
ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "api", "namespace": "prod", "labels": LABELS},
    "spec": {
        "parentRefs": [{"name": "gateway"}],
        "rules": [{"backendRefs": [{"name": "api", "port": 80}, {"name": "other", "port": 80, "weight": 3}]}],
    },
}


def deployment(digit: str = "ab") -> dict[str, Any]:
    found = manifest(image="apexlogic.com/team/app@sha256:" + digit * 32)
    found["metadata"]["annotations"] = {"customhouse.dev/rollout": "canary"}
    return found


def annotated(service: dict[str, Any]) -> dict[str, Any]:
    found = {"external-dns.alpha.kubernetes.io/hostname": "pay.example.com"}
    return {**service, "metadata": {**service["metadata"], "annotations": found}}


def weighted(*backends: tuple[str, int]) -> dict[str, Any]:
    rules = [{"backendRefs": [{"name": name, "port": 80, "weight": weight} for name, weight in backends]}]
    return {**ROUTE, "spec": {**ROUTE["spec"], "rules": rules}}


@pytest.fixture(scope="module")
def gate() -> Callable[..., Admission]:
    """A webhook that refuses whatever no commit declares."""
    engine, found = RegorusEngine(compile_packaged=True), governance(None, None)
    spec = replace(
        found.configuration.admission, require_revision=True, rollouts=(WALKER["username"],), exempt_namespaces=()
    )
    governing = replace(
        found, configuration=replace(found.configuration, trusted_registries=("apexlogic.com",), admission=spec)
    )

    def made(*objects: dict[str, Any], allowed: Revision | None = None) -> Admission:
        """With the records of `up`, or, as an installed webhook, with no more than the commit that is `allowed`."""
        pairs = [recorded(governing, obj) for obj in objects]
        return admission(
            governing,
            engine,
            revision="c" * 40,
            allowed=allowed,
            declared=tuple(declaration for declaration, _ in pairs),
            recorded={} if allowed else {key_of(declaration.ref): item for declaration, item in pairs},
        )

    return made


@pytest.mark.parametrize("allowed", [None, REVISION], ids=["records", "installed"])
def test_what_a_rollout_makes_is_let_in_for_who_walks_it_and_for_nobody_else(
    gate: Callable[..., Admission], allowed: Revision | None
) -> None:
    one = gate(deployment(), SERVICE, ROUTE, allowed=allowed)
    service = {**SERVICE, "spec": {**SERVICE["spec"], "type": "ClusterIP", "clusterIP": "10.0.0.1"}}
    for made in (
        tracked_deployment(deployment(), label=True),
        candidate_deployment(deployment(), 1),
        tracked_service(service, "candidate"),
        candidate_service(SERVICE),
        shared_route(ROUTE, {"api"}, 25),
    ):
        outcome = one.validate(asked(made, userInfo=WALKER))
        assert outcome.kind == "recorded", (made, outcome.answer.message)
        assert "revision-required" not in outcome.answer.message
        assert "revision-required" in one.validate(asked(made)).answer.message, made


def test_the_version_before_stays_while_git_declares_the_next_one(gate: Callable[..., Admission]) -> None:
    one, before = gate(deployment("cd"), SERVICE), deployment("ab")
    marked = tracked_deployment(before, label=True)
    update = {"operation": "UPDATE", "oldObject": before, "userInfo": WALKER}
    assert one.validate(asked(marked, **update)).kind == "unchanged"
    other = tracked_deployment(deployment("ef"), label=True)
    assert "revision-required" in one.validate(asked(other, **update)).answer.message


@pytest.mark.parametrize(
    "spoilt",
    [
        candidate_deployment(deployment("ef"), 1),
        candidate_deployment(deployment(), 3),
        candidate_deployment({**deployment(), "metadata": {**deployment()["metadata"], "labels": {"app": "api"}}}, 1),
        tracked_service({**SERVICE, "spec": {**SERVICE["spec"], "selector": {"app": "evil"}}}, "candidate"),
        {**candidate_service(SERVICE), "spec": {**candidate_service(SERVICE)["spec"], "type": "LoadBalancer"}},
        {**candidate_service(SERVICE), "spec": {**candidate_service(SERVICE)["spec"], "externalIPs": ["10.1.1.1"]}},
        {**SERVICE, "spec": {**SERVICE["spec"], "selector": {"customhouse.dev/track": "candidate"}}},
        shared_route({**ROUTE, "spec": {**ROUTE["spec"], "parentRefs": [{"name": "public"}]}}, {"api"}, 25),
        {
            **ROUTE,
            "spec": {
                **ROUTE["spec"],
                "rules": [
                    {
                        "backendRefs": [
                            *ROUTE["spec"]["rules"][0]["backendRefs"],
                            {"name": "api-candidate", "port": 22, "weight": 100},
                        ]
                    }
                ],
            },
        },
        annotated(candidate_service(SERVICE)),
        tracked_service(SERVICE, "nobody"),
        weighted(("api", 0), ("api-candidate", 0), ("other", 1_000_000)),
        weighted(("api", 0), ("other", 0), ("other-candidate", 1)),
    ],
    ids=[
        "image",
        "replicas",
        "labels",
        "selector",
        "open",
        "addresses",
        "all-pods",
        "gateway",
        "port",
        "annotated",
        "track",
        "weights",
        "other",
    ],
)
def test_what_no_rollout_makes_is_refused_of_the_walker_too(gate: Callable[..., Admission], spoilt: Any) -> None:
    outcome = gate(deployment(), SERVICE, ROUTE).validate(asked(spoilt, userInfo=WALKER))
    assert "revision-required" in outcome.answer.message, outcome


def test_nothing_is_read_back_where_git_declares_no_rollout(gate: Callable[..., Admission]) -> None:
    plain = manifest()
    one = gate(plain, SERVICE, ROUTE)
    for made in (candidate_deployment(plain, 1), candidate_service(SERVICE), shared_route(ROUTE, {"api"}, 25)):
        assert "revision-required" in one.validate(asked(made, userInfo=WALKER)).answer.message


def test_a_route_that_leads_to_nothing_that_is_rolled_out_keeps_its_weights(gate: Callable[..., Admission]) -> None:
    pay = weighted(("pay", 1))
    pay["metadata"] = {**pay["metadata"], "name": "pay"}
    moved = weighted(("pay", 0), ("pay-candidate", 1))
    moved["metadata"] = pay["metadata"]
    update = {"operation": "UPDATE", "oldObject": pay, "userInfo": WALKER}
    outcome = gate(deployment(), SERVICE, ROUTE, pay).validate(asked(moved, **update))
    assert "revision-required" in outcome.answer.message


def test_who_walks_rollouts_is_no_controller_of_kubernetes(gate: Callable[..., Admission]) -> None:
    other = manifest(image="apexlogic.com/team/app@sha256:" + "ef" * 32)
    other["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "0", "controller": True}
    ]
    outcome = gate(deployment(), SERVICE, ROUTE).validate(asked(other, userInfo=WALKER))
    assert "revision-required" in outcome.answer.message


def stepped(way: str = "canary", steps: str = "25,75") -> dict[str, Any]:
    """Of eight replicas."""
    found = manifest(replicas=8)
    found["metadata"]["annotations"] = {"customhouse.dev/rollout": way}
    if way == "canary":
        found["metadata"]["annotations"]["customhouse.dev/rollout-steps"] = steps
    return found


def audited_as(live: dict[str, Any], *declared: dict[str, Any]) -> str:
    """How an audit takes a live object: as what a commit declares ("recorded"), or as somebody's own ("new")."""
    engine, governing = RegorusEngine(compile_packaged=True), governance(None, None)
    pairs = [recorded(governing, obj) for obj in declared]
    context = AdmissionContext(
        governing,
        declared=tuple(item for item, _ in pairs),
        recorded={key_of(item.ref): found for item, found in pairs},
    )
    clock = FixedClock(NOW)
    scene = Scene("here", (Declaration(ResourceRef.of(live), live, Location("live")),))
    report = Auditor(context, engine, clock, Clearance(engine, clock, Path())).audit(scene)
    assert not report.undecided
    return report.audited[0].way


def at(found: dict[str, Any], replicas: int) -> dict[str, Any]:
    return {**found, "spec": {**found["spec"], "replicas": replicas}}


@pytest.mark.parametrize(
    ("declared", "sizes"),
    [
        ([stepped(), SERVICE], {0, 1, 3, 8}),  # 25 % of the traffic is 3 beside 8; 75 % is 8 beside 3
        ([stepped(), SERVICE, ROUTE], {1, 2, 6, 8}),  # by weights as many as bear the share
        ([stepped("blue-green"), SERVICE], {8}),
    ],
    ids=["replicas", "weights", "blue-green"],
)
def test_an_audit_takes_the_sizes_that_the_plan_gives_a_second_deployment_for_the_rollouts_and_no_others(
    declared: list[dict[str, Any]], sizes: set[int]
) -> None:
    made = candidate_deployment(declared[0], 1)
    taken = {count for count in range(10) if audited_as(at(made, count), *declared) == "recorded"}
    assert taken == sizes


def test_an_audit_takes_no_fewer_replicas_of_what_is_declared_for_a_rollouts() -> None:
    first = tracked_deployment(stepped(), label=True)
    assert audited_as(first, stepped(), SERVICE, ROUTE) == "recorded"
    assert {audited_as(at(first, count), stepped(), SERVICE, ROUTE) for count in (0, 1, 2, 3, 7, 9)} == {"new"}
