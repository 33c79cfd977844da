"""Differences between revisions, and between what is declared and what is live."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.control.diff import changes, field_diff
from customhouse.control.render import render
from customhouse.core.change import Actor, ActorKind, Operation

ADA = Actor(ActorKind.PERSON, "Ada <ada@example.com>")


def config(name: str, value: str, api_version: str = "v1") -> str:
    return f"apiVersion: {api_version}\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{k: {value}}}\n---\n"


def test_changes_are_created_updated_and_deleted_objects_in_a_stable_order() -> None:
    before = render({"a.yaml": (config("b", "x") + config("c", "x") + config("d", "x")).encode()})
    after = render({"z/new.yaml": (config("d", "x") + "# moved\n" + config("c", "y") + config("a", "x")).encode()})
    found = changes(before, after, None, ADA)
    assert [(change.operation, change.ref.name) for change in found] == [
        (Operation.CREATE, "a"),
        (Operation.DELETE, "b"),
        (Operation.UPDATE, "c"),
    ]
    assert found == changes(tuple(reversed(before)), tuple(reversed(after)), None, ADA)
    assert changes(before, before, None, ADA) == ()


def test_true_and_one_are_not_the_same_value() -> None:
    before, after = (render({"a.yaml": config("a", value).encode()}) for value in ("true", "1"))
    assert len(changes(before, after, None, ADA)) == 1


def test_another_version_of_the_api_is_an_update() -> None:
    before = render({"a.yaml": b"apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: a}\n"})
    after = render({"a.yaml": b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n"})
    assert [change.operation for change in changes(before, after, None, ADA)] == [Operation.UPDATE]


DECLARED: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a", "creationTimestamp": None, "labels": {}},
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "ports": [{"containerPort": 80}],
                        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                        "args": ["a", "b"],
                    }
                ]
            }
        },
    },
    "status": {"replicas": 9},
}


def live(**container: Any) -> dict[str, Any]:
    web = {
        "name": "web",
        "image": "added by the server",
        "ports": [{"containerPort": 9090}, {"containerPort": 80, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": "1"}},
        "args": ["a", "b"],
        **container,
    }
    return {
        **DECLARED,
        "metadata": {"name": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "sidecar"}, web], "dnsPolicy": "x"}}},
        "status": {"replicas": 2},
    }


def test_what_the_server_adds_is_not_a_difference() -> None:
    assert field_diff(DECLARED, live()) == ()


@pytest.mark.parametrize(
    ("container", "pointer", "declared", "now"),
    [
        ({"args": ["b", "a"]}, "/args/0", "a", "b"),
        ({"args": ["a"]}, "/args", ["a", "b"], ["a"]),
        ({"resources": {"limits": {"cpu": 2, "memory": "1Gi"}}}, "/resources/limits/cpu", 1, 2),
        ({"resources": None}, "/resources", {"limits": {"cpu": 1, "memory": "1Gi"}}, None),
        ({"ports": [{"containerPort": 80, "protocol": "UDP"}]}, "/ports/0", {"containerPort": 80}, None),
    ],
)
def test_a_changed_field_is_named_by_its_place_in_the_declaration(
    container: dict[str, Any], pointer: str, declared: Any, now: Any
) -> None:
    found = {item.pointer: (item.declared, item.live) for item in field_diff(DECLARED, live(**container))}
    assert found["/spec/template/spec/containers/0" + pointer] == (declared, now)


def test_secret_values_are_hidden_and_string_data_is_what_the_server_stores() -> None:
    declared = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "hunter2"}}
    assert field_diff(declared, {**declared, "stringData": None, "data": {"p": "aHVudGVyMg=="}}) == ()
    (found,) = field_diff(
        declared, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "data": {"p": "eA=="}}
    )
    assert (found.pointer, found.declared, found.live) == ("/data/p", "(hidden)", "(hidden)")
    (gone,) = field_diff(declared, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}})
    assert "hunter2" not in repr(gone)
    assert "aHVudGVyMg" not in repr(gone)


def test_types_count() -> None:
    def of(value: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "X", "spec": {"a": value}}

    assert field_diff(of(True), of(1))
    assert field_diff(of("1"), of(1))
    assert not field_diff(of(1), of(1.0))
    assert not field_diff(of([]), of(None))
    assert field_diff(of(0), of(None))
