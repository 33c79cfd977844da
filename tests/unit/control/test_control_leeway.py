"""Fields that may be otherwise than declared: which ones are meant, and what is sent of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse.control.ignoring import leeway_of, not_followed
from customhouse.control.leeway import ignores, left_as_is, refused_path
from customhouse.core.application import Application, Engine, IgnoreRule
from customhouse.core.resource import Leeway, Location, ResourceRef

DECLARED: dict[str, Any] = {
    "kind": "Deployment",
    "spec": {
        "replicas": 1,
        "list": [1, 2],
        "containers": [{"name": "app", "image": "a:1", "env": {"A": "1"}}, {"name": "log", "image": "l:1"}],
    },
    "data": {"a.b/c": "1", "d": "1"},
}
LIVE: dict[str, Any] = {
    "kind": "Deployment",
    "spec": {
        "replicas": 5,
        "list": [7, 8],
        "more": 1,
        "containers": [
            {"name": "injected", "image": "i:9"},
            {"name": "log", "image": "l:9"},
            {"name": "app", "image": "a:9", "env": {"A": "9", "B": "9"}},
        ],
    },
    "data": {"a.b/c": "9"},
}


@pytest.mark.parametrize(
    ("leeway", "expected"),
    [
        (Leeway(("/spec/replicas",)), {"spec/replicas": 5}),
        (Leeway(("/data/a.b~1c",)), {"data/a.b~c": "9"}),
        (Leeway(("/spec/more", "/nothing/at/all", "/spec/replicas/deeper")), {}),
        (Leeway(("/spec/list/1",)), {"spec/list": [1, 8]}),
        (Leeway(paths=(".spec.replicas",)), {"spec/replicas": 5}),
        (Leeway(paths=('.data["a.b/c"]',)), {"data/a.b~c": "9"}),
        (Leeway(paths=('.data."a.b/c"',)), {"data/a.b~c": "9"}),
        (Leeway(paths=(".spec.list[]",)), {"spec/list": [7, 8]}),
        (Leeway(paths=(".spec.list[-1]",)), {"spec/list": [1, 8]}),
    ],
)
def test_what_is_sent_has_the_live_value_of_what_may_differ_and_nothing_else(
    leeway: Leeway, expected: dict[str, Any]
) -> None:
    assert refused_path(leeway) == ""
    sent = left_as_is(DECLARED, LIVE, leeway)
    flat = {
        "spec/replicas": sent["spec"]["replicas"],
        "spec/list": sent["spec"]["list"],
        "data/a.b~c": sent["data"]["a.b/c"],
    }
    assert flat == {"spec/replicas": 1, "spec/list": [1, 2], "data/a.b~c": "1", **expected}
    assert "more" not in sent["spec"]
    assert left_as_is(DECLARED, None, leeway) == DECLARED


@pytest.mark.parametrize(
    ("path", "images"),
    [
        ('.spec.containers[] | select(.name == "app") | .image', ["a:9", "l:1"]),
        ('.spec.containers[] | select(.name == "app").image', ["a:9", "l:1"]),
        ('.spec.containers[]|select(.name != "app")|.image', ["a:1", "l:9"]),
        (".spec.containers[].image", ["a:9", "l:9"]),
        (".spec.containers[]?.image", ["a:9", "l:9"]),
        ('.spec.containers[] | select(.env.A == "1") | .image', ["a:9", "l:1"]),
        (".spec.containers[0].image", ["a:9", "l:1"]),
    ],
)
def test_items_of_lists_are_found_by_their_names_wherever_they_stand(path: str, images: list[str]) -> None:
    sent = left_as_is(DECLARED, LIVE, Leeway(paths=(path,)))
    assert [item["image"] for item in sent["spec"]["containers"]] == images


def test_what_the_cluster_has_no_more_is_not_sent() -> None:
    sent = left_as_is(DECLARED, LIVE, Leeway(("/data/d",)))
    assert sent["data"] == {"a.b/c": "1"}


@pytest.mark.parametrize(
    "path",
    [
        "spec",
        ".spec | keys",
        ".spec..x",
        '.a | select(.b | test("x"))',
        "walk(.)",
        ".a[",
        "." + "a" * 600,
        "env.SECRET",
    ],
)
def test_a_path_that_is_not_read_holds_the_application_with_the_path(path: str) -> None:
    found = application(IgnoreRule(kind="*", jq=(path,)))
    assert "which is not read here" in not_followed(found)
    assert path[:100] in not_followed(found)


def application(rule: IgnoreRule, engine: Engine = Engine.ARGOCD) -> Application:
    ref = ResourceRef("argoproj.io/v1alpha1", "Application", "argocd", "a")
    return Application(ref, Location("a.yaml"), engine, (), ignore=(rule,))


@pytest.mark.parametrize(
    ("rule", "engine", "meant"),
    [
        (IgnoreRule("apps", "Deployment", pointers=("/a",)), Engine.ARGOCD, True),
        (IgnoreRule("", "Deployment", pointers=("/a",)), Engine.ARGOCD, False),
        (IgnoreRule("*", "*", pointers=("/a",)), Engine.ARGOCD, True),
        (IgnoreRule("apps", "Deployment", name="other", pointers=("/a",)), Engine.ARGOCD, False),
        (IgnoreRule("apps", "Deployment", namespace="shop", pointers=("/a",)), Engine.ARGOCD, True),
        (IgnoreRule("", "Deployment", pointers=("/a",)), Engine.FLUX, True),
        (IgnoreRule("", "", name="we.*", pointers=("/a",)), Engine.FLUX, True),
        (IgnoreRule("batch", "", pointers=("/a",)), Engine.FLUX, False),
    ],
)
def test_a_rule_is_for_the_objects_that_its_engine_means(rule: IgnoreRule, engine: Engine, meant: bool) -> None:
    web = ResourceRef("apps/v1", "Deployment", "shop", "web")
    assert (leeway_of(application(rule, engine), web) is not None) is meant


def test_what_lies_below_a_field_may_differ_too_and_its_neighbours_may_not() -> None:
    leeway = Leeway(("/spec/containers/2/env",), ('.spec.containers[] | select(.name == "log")',))
    assert ignores(leeway, LIVE, "/spec/containers/2/env/B")
    assert ignores(leeway, LIVE, "/spec/containers/1/image")
    assert not ignores(leeway, LIVE, "/spec/containers/2/image")
    assert not ignores(leeway, LIVE, "/spec")


_VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "name"]), inner, max_size=3),
    max_leaves=12,
)
_MAPS = st.dictionaries(st.sampled_from(["a", "b", "name"]), _VALUES, max_size=3)
_POINTERS = st.lists(st.sampled_from(["a", "b", "name", "0", "1", "-1"]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(declared=_MAPS, live=_MAPS, pointers=st.lists(_POINTERS, max_size=3))
def test_nothing_is_sent_that_is_neither_declared_nor_there(
    declared: dict[str, Any], live: dict[str, Any], pointers: list[str]
) -> None:
    sent = left_as_is(declared, live, Leeway(tuple(pointers)))
    assert sent.keys() <= declared.keys()
    assert left_as_is(sent, live, Leeway(tuple(pointers))).keys() <= sent.keys()
    assert left_as_is(declared, declared, Leeway(tuple(pointers))) == declared
