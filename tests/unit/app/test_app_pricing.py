"""What a set of changes costs when one object changes what another one costs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from customhouse.app.governance import Governance
from customhouse.app.pricing import costs_of, monthly_total, serving_rate
from customhouse.app.stopwatch import Stopwatch
from customhouse.control.diff import changes
from customhouse.core.change import Actor, ActorKind
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.observability.estimate import ChangeCost, PriceSettings
from customhouse.observability.prices import PriceBook

GOVERNING = cast(Governance, SimpleNamespace(book=PriceBook.load(), prices=PriceSettings()))


def declared(kind: str, api_version: str, name: str, spec: Any, namespace: str = "ml") -> Declaration:
    metadata = {"name": name, "namespace": namespace, "labels": {"customhouse.dev/team": "risk"}}
    manifest = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
    return Declaration(ResourceRef.of(manifest), manifest, Location(f"{name}.yaml", 3))


def web(namespace: str = "ml") -> Declaration:
    container = {"name": "c", "image": "r/c:1", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
    return declared("Deployment", "apps/v1", "web", {"template": {"spec": {"containers": [container]}}}, namespace)


def scaler(low: int, high: int) -> Declaration:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "minReplicas": low, "maxReplicas": high}
    return declared("HorizontalPodAutoscaler", "autoscaling/v2", "scale", spec)


def priced(base: list[Declaration], head: list[Declaration]) -> tuple[ChangeCost, ...]:
    found = changes(base, head, None, Actor(ActorKind.PERSON, "Ada"))
    return costs_of(found, base, head, GOVERNING, Stopwatch())


def test_an_autoscaler_that_is_raised_alone_answers_for_what_its_target_costs_more() -> None:
    (cost,) = priced([web(), scaler(1, 2)], [web(), scaler(10, 20)])
    assert (cost.ref.kind, cost.cause) == ("Deployment", scaler(1, 2).ref)
    assert cost.delta.pico > 0
    assert cost.labels == {"customhouse.dev/team": "risk"}


def test_an_autoscaler_that_comes_or_goes_is_a_cause_too() -> None:
    (came,) = priced([web()], [web(), scaler(4, 8)])
    (went,) = priced([web(), scaler(4, 8)], [web()])
    assert came.cause == went.cause == scaler(4, 8).ref
    assert came.delta == -went.delta


def test_target_and_autoscaler_in_one_change_set_are_counted_once() -> None:
    (cost,) = priced([], [web(), scaler(4, 8)])
    assert (cost.ref.kind, cost.cause) == ("Deployment", None)


def test_an_autoscaler_of_another_namespace_changes_nothing() -> None:
    assert priced([web("other"), scaler(1, 2)], [web("other"), scaler(10, 20)]) == ()


def test_the_total_of_a_state_counts_the_declared_minimum_of_its_autoscalers() -> None:
    alone = monthly_total(GOVERNING, [web()])
    assert monthly_total(GOVERNING, [web(), scaler(3, 9)]).pico == pytest.approx(3 * alone.pico, abs=100)


def test_what_cannot_be_priced_says_where_it_stands() -> None:
    claim = declared("PersistentVolumeClaim", "v1", "d", {"resources": {"requests": {"storage": "lots"}}})
    with pytest.raises(DeclarationError, match="lots") as caught:
        priced([], [claim])
    assert caught.value.where.startswith("d.yaml:3")


def test_a_second_of_serving_costs_the_same_however_many_replicas_are_declared() -> None:
    one = web()
    many = {**one.manifest, "spec": {**one.manifest["spec"], "replicas": 4}}
    rate = serving_rate(GOVERNING, one.ref, one.manifest)
    assert rate is not None
    assert rate * 730 * 3600 * 1e6 == pytest.approx(monthly_total(GOVERNING, [one]).pico)
    assert serving_rate(GOVERNING, one.ref, many) == pytest.approx(rate)
    bare = declared(
        "Deployment", "apps/v1", "web", {"template": {"spec": {"containers": [{"name": "c", "image": "r"}]}}}
    )
    assert serving_rate(GOVERNING, bare.ref, bare.manifest) is None
