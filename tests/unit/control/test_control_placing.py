"""Which of several clusters an object is for, and what of an Application is done where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse.control.conducting import Among, conduct
from customhouse.control.placing import Placing, bare
from customhouse.control.render import Found, as_declarations
from customhouse.core.application import Engine
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, ResourceRef

PLACING = Placing(
    ("east", "west"), (("dev", "east"), ("prod-*", "west"), ("open", ""), ("both", "east"), ("both", "west"))
)


def thing(name: str, namespace: str, scene: str = "", *, kind: str = "ConfigMap", text: str = "x") -> Declaration:
    manifest = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "data": {"a": text},
    }
    ref = ResourceRef("v1", kind, namespace, name, scene)
    return Declaration(ref, manifest, Location(f"{scene or 'x'}/{name}.yaml"), scene=scene)


@pytest.mark.parametrize(
    ("declared", "target"),
    [
        (thing("a", "dev"), "east"),
        (thing("a", "prod-eu"), "west"),
        (thing("a", "dev", "west"), "west"),  # the folder counts before the namespace
        (thing("a", "dev", "clusters/x@west"), "west"),
        (thing("a", "dev", "east@west"), "west"),  # the cluster that an Application names, before the folder it is in
        (thing("a", "dev", "east@elsewhere"), "east"),
        (thing("prod-eu", "", kind="Namespace"), "west"),
        (thing("a", "open"), ""),
        (thing("a", "unknown"), ""),
        (thing("a", "both"), ""),  # one namespace in two clusters: only a folder says which
        (thing("dev", "", kind="ClusterRole"), ""),
    ],
)
def test_an_object_is_for_the_one_that_says_so_and_for_none_by_a_guess(declared: Declaration, target: str) -> None:
    assert PLACING.of(declared.ref, declared.scene) == target
    if not target:
        with pytest.raises(DeclarationError, match="is for none of the targets east, west"):
            PLACING.checked([declared])


def test_what_is_twice_for_one_target_is_refused_and_what_is_alike_for_two_goes_to_both() -> None:
    with pytest.raises(DeclarationError, match="declared twice for the target west"):
        PLACING.checked([thing("a", "prod-eu"), thing("a", "prod-eu", "west")])
    objects = [
        Found(thing("a", "prod-eu").manifest, Location(f"{scene}/a.yaml"), {}, scene=scene)
        for scene in ("east", "west")
    ]
    assert len(as_declarations(objects, "default")) == 1
    both = as_declarations(objects, "default", targets=("east", "west"))
    assert {name: len(part) for name, part in PLACING.split(both).items()} == {"east": 1, "west": 1}


SCENES = st.sampled_from(["", "east", "west", "east@west", "other"])
OBJECTS = st.builds(thing, st.sampled_from("abc"), st.sampled_from(["dev", "prod-1", "nowhere"]), SCENES)


@given(st.lists(OBJECTS, max_size=12))
def test_every_object_is_in_exactly_one_part_or_the_whole_is_refused(declared: list[Declaration]) -> None:
    try:
        parts = PLACING.split(declared)
    except DeclarationError:
        places = [(PLACING.of(item.ref, item.scene), bare(item.ref)) for item in declared]
        assert len(set(places)) < len(places) or any(not name for name, _ in places)
        return
    assert sorted(id(item) for part in parts.values() for item in part) == sorted(map(id, declared))
    assert all(PLACING.of(item.ref) == name for name, part in parts.items() for item in part)


def test_who_does_not_know_his_cluster_takes_what_differs_for_nobodys() -> None:
    alike = [thing("a", "prod-1", "east"), thing("a", "prod-1", "west")]
    other = [thing("b", "prod-1", "east"), thing("b", "prod-1", "west", text="y")]
    found = PLACING.anywhere([*alike, *other, thing("c", "dev")])
    assert [(item.ref.name, item.ref.scene) for item in found] == [("a", ""), ("c", "")]


APPLICATION = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Application",
    "metadata": {"name": "fraud", "namespace": "argocd"},
    "spec": {
        "source": {"repoURL": "https://git.example/x", "path": "app"},
        "destination": {"name": "west", "namespace": "prod-1"},
        "syncPolicy": {"automated": {}, "syncOptions": ["CreateNamespace=true"]},
    },
}


def _application() -> tuple[Declaration, Declaration]:
    ref = ResourceRef("argoproj.io/v1alpha1", "Application", "argocd", "fraud")
    application = Declaration(ref, APPLICATION, Location("apps/fraud.yaml"))
    child = thing("model", "prod-1")
    return application, Declaration(child.ref, child.manifest, child.location, owner=ref, scene="in-cluster@west")


def test_objects_of_an_application_elsewhere_are_applied_where_they_are_for_and_the_application_is_not() -> None:
    application, child = _application()
    ref, remotes = application.ref, ("https://git.example/x",)
    there = conduct((child, application), remotes=remotes, among=Among("west", ("east",), {ref: ""}))
    assert [(str(item.ref), item.care is not None and item.care.hold) for item in there.declarations] == [
        ("ConfigMap prod-1/model", ""),
    ]
    here = conduct((application,), remotes=remotes, served=lambda _: True, among=Among("east", ("west",)))
    assert ([str(item.ref) for item in here.declarations], here.held) == (["Application argocd/fraud"], {})


def test_objects_of_an_application_elsewhere_wait_while_it_is_not_known_who_reconciles_it() -> None:
    application, child = _application()
    ref, remotes = application.ref, ("https://git.example/x",)
    unsure = conduct(
        (child, application), remotes=remotes, among=Among("west", ("east",), {ref: "east does not answer"})
    )
    held = {str(item.ref): item.care.hold for item in unsure.declarations if item.care is not None}
    assert held == {"ConfigMap prod-1/model": "Application argocd/fraud: east does not answer"}
    live = {**APPLICATION, "status": {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}}}
    theirs = conduct((child, application), remotes=remotes, live={ref: live}, among=Among("west", ("east",), {ref: ""}))
    assert theirs.by[ref][0] is Engine.ARGOCD
    assert [item.care is not None and bool(item.care.hold) for item in theirs.declarations] == [True]
