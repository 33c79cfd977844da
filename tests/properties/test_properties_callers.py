"""Laws of declared callers: what is generated is what is declared, and whatever is let in beside it is told."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.core.callers import CALLERS, network_of
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.execution.networkpolicies import network_policies

SPACES, NAMES = ("risk", "shop"), ("api", "batch", "model", "web")
_WORD = st.sampled_from(
    [
        *(f"{space}/{name}" for space in SPACES for name in NAMES),
        "shop/*",
        "monitoring/app=prometheus",
        "10.1.0.0/16",
        "2001:db8::/32",
    ]
)
_CALLERS = st.one_of(st.none(), st.just("none"), st.lists(_WORD, min_size=1, max_size=4).map(", ".join))
_MORE = st.sampled_from(
    [
        {},
        {"from": [{"podSelector": {}}]},
        {"from": [{"namespaceSelector": {}}]},
        {"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]},
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "evil"}}}]},
    ]
)


def _declaration(manifest: dict[str, Any]) -> Declaration:
    return Declaration(ResourceRef.of(manifest), manifest, Location("all.yaml"))


def _world(callers: dict[tuple[str, str], str | None]) -> list[Declaration]:
    found = []
    for (space, name), said in callers.items():
        metadata = {"name": name, "namespace": space, "annotations": {} if said is None else {CALLERS: said}}
        pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
        manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": pod}}
        found.append(_declaration(manifest))
    return found


_WORLDS = st.fixed_dictionaries({(space, name): _CALLERS for space in SPACES for name in NAMES})


@given(_WORLDS, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_what_is_generated_differs_nowhere_and_has_one_form(callers: dict[Any, Any], random: Any) -> None:
    items = _world(callers)
    made = network_policies(network_of(items))
    shuffled = list(items)
    random.shuffle(shuffled)
    assert network_policies(network_of(shuffled)) == made
    names = [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in made]
    assert len(set(names)) == len(names)
    whole = network_of([*items, *map(_declaration, made)])
    assert [whole.differing(space) for space in SPACES] == [[], []]


@given(_WORLDS, _MORE, st.sampled_from(NAMES))
@settings(max_examples=60)
def test_whoever_is_let_in_beside_the_declared_is_told(
    callers: dict[Any, Any], rule: dict[str, Any], name: str
) -> None:
    callers["risk", name] = "shop/web"
    items = _world(callers)
    more = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "more", "namespace": "risk"},
        "spec": {"podSelector": {"matchLabels": {"app": name}}, "ingress": [rule]},
    }
    made = network_policies(network_of(items))
    whole = network_of([*items, *map(_declaration, made), _declaration(more)])
    (told,) = whole.differing("risk")
    assert told[0] == f"Deployment risk/{name}"
    assert told[1][0].startswith("NetworkPolicy more lets in ")


@given(_WORLDS, st.sampled_from(NAMES))
@settings(max_examples=30)
def test_a_policy_that_is_missing_is_told(callers: dict[Any, Any], name: str) -> None:
    callers["risk", name] = "shop/web"
    items = _world(callers)
    made = network_policies(network_of(items))
    left = [one for one in made if one["metadata"]["name"] != f"deployment-{name}-callers"]
    whole = network_of([*items, *map(_declaration, left)])
    assert whole.differing("risk") == [
        (f"Deployment risk/{name}", ["no NetworkPolicy lets in the declared caller shop/web"])
    ]
