"""Declared callers against NetworkPolicies: who is let in beyond them is told, and so is who is left out."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.core.callers import CALLERS, OUTSIDE, Caller, called, network_of, parse_callers, parse_outside
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.execution.networkpolicies import network_policies, silent

NAMED = "kubernetes.io/metadata.name"


def declaration(manifest: dict[str, Any]) -> Declaration:
    return Declaration(ResourceRef.of(manifest), manifest, Location("all.yaml"))


def workload(
    name: str, namespace: str = "risk", callers: str | None = None, outside: str = "", labels: Any = None, **more: Any
) -> Declaration:
    annotations = {} if callers is None else {CALLERS: callers}
    if outside:
        annotations[OUTSIDE] = outside
    labels = {"app": name} if labels is None else labels
    pod = {"containers": [{"name": "c", "image": "x", **more}]}
    return declaration(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        }
    )


def policy(*peers: dict[str, Any], name: str = "p", selector: Any = None, **spec: Any) -> Declaration:
    rules = [{"from": list(peers)}] if peers else []
    return declaration(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "risk"},
            "spec": {"podSelector": selector or {}, "policyTypes": ["Ingress"], "ingress": rules, **spec},
        }
    )


WEB = {"podSelector": {"matchLabels": {"app": "web"}}}


def differences(*items: Declaration) -> list[str]:
    return network_of(items).differences(ResourceRef("apps/v1", "Deployment", "risk", "model"))


def test_a_policy_that_lets_in_the_declared_callers_and_nobody_else_is_no_difference() -> None:
    assert differences(workload("model", callers="web"), workload("web"), policy(WEB)) == []


def test_a_workload_that_declares_no_callers_is_not_compared() -> None:
    assert differences(workload("model"), workload("web")) == []


def test_pods_that_no_policy_selects_are_open_to_everyone() -> None:
    other = policy(WEB, selector={"matchLabels": {"app": "another"}})
    egress = policy(name="out", policyTypes=["Egress"])
    assert differences(workload("model", callers="web"), workload("web"), other, egress) == [
        "no NetworkPolicy selects its pods: everyone may call it"
    ]


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        ({"podSelector": {}}, "every pod of risk, which is no declared caller"),
        ({"podSelector": {"matchLabels": {"app": "batch"}}}, "risk/app=batch, which is no declared caller"),
        ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, "which is no declared caller"),
        ({"namespaceSelector": {}}, "pods of every namespace"),
        ({"namespaceSelector": {}, **WEB}, "pods of every namespace"),
        ({"namespaceSelector": {"matchLabels": {"team": "risk"}}}, f"namespaces that are not named by {NAMED}"),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": NAMED, "operator": "NotIn", "values": ["x"]}]}},
            f"namespaces that are not named by {NAMED}",
        ),
        ({"namespaceSelector": {"matchLabels": {NAMED: "shop"}}}, "every pod of shop, which is no declared caller"),
        ({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}, "every address"),
        ({"ipBlock": {"cidr": "10.0.0.0/8"}}, "10.0.0.0/8, which is no declared caller"),
    ],
)
def test_whoever_is_let_in_beside_the_declared_callers_is_told(peer: dict[str, Any], said: str) -> None:
    (found,) = differences(workload("model", callers="web"), workload("web"), policy(WEB), policy(peer, name="more"))
    assert found.startswith("NetworkPolicy more lets in ")
    assert said in found


def test_a_rule_without_from_lets_in_everyone() -> None:
    opened = policy(name="open", ingress=[{"ports": [{"port": 8080}]}])
    assert differences(workload("model", callers="web"), workload("web"), policy(WEB), opened) == [
        "NetworkPolicy open lets in everyone"
    ]


def test_a_rule_that_is_null_lets_in_everyone_as_the_api_server_reads_it() -> None:
    opened = policy(name="open", ingress=[None])
    assert differences(workload("model", callers="web"), workload("web"), policy(WEB), opened) == [
        "NetworkPolicy open lets in everyone"
    ]


def test_a_name_that_two_different_workloads_have_names_neither() -> None:
    twin = workload("web", labels={"app": "web", "tier": "batch"})
    twin = declaration({**twin.manifest, "kind": "StatefulSet"})
    found = differences(workload("model", callers="web"), workload("web"), twin, policy())
    assert found == ["web is no one workload whose pods have labels: name them by KEY=VALUE"]


def test_a_changed_policy_is_held_against_every_workload_of_its_namespace() -> None:
    many = [workload(f"w{number:03}", callers="none") for number in range(80)]
    everybody = network_of(
        [*many, policy(), policy({"namespaceSelector": {}}, selector={"matchLabels": {"app": "w079"}})]
    )
    assert [name for name, _ in everybody.differing("risk")] == ["Deployment risk/w079"]
    assert everybody.differing("shop") == []


def test_what_is_to_become_of_one_object_counts_and_not_what_is_declared_of_it() -> None:
    """At admission: somebody brings in, alters or deletes what the commit in force says otherwise."""
    declared = network_of([workload("model", callers="web"), workload("web"), policy(WEB)])
    model = ("Deployment risk/model", ["NetworkPolicy mine lets in pods of every namespace"])
    mine = policy({"namespaceSelector": {}}, name="mine")
    assert declared.after(mine, gone=False).differing("risk") == [model]
    assert declared.after(policy({"namespaceSelector": {}}), gone=False).differing("risk")[0][1] == [
        "NetworkPolicy p lets in pods of every namespace"
    ]
    assert declared.after(policy(WEB), gone=True).differing("risk")[0][1] == [
        "no NetworkPolicy selects its pods: everyone may call it"
    ]
    altered = workload("model", callers="none")
    assert declared.after(altered, gone=False).differences(altered.ref) == [
        "NetworkPolicy p lets in risk/app=web, which is no declared caller"
    ]
    added = workload("new", callers="web", labels={"app": "new"})
    assert declared.after(added, gone=False).differences(added.ref) == []
    assert declared.differing("risk") == [], "what was asked about is not remembered"
    assert declared.after(policy(WEB), gone=False) is declared


def test_a_declared_caller_that_is_not_let_in_is_told() -> None:
    found = differences(
        workload("model", callers="web, shop/api"), workload("web"), workload("api", "shop"), policy(WEB)
    )
    assert found == ["no NetworkPolicy lets in the declared caller shop/api"]


def test_a_caller_that_is_declared_nowhere_is_told() -> None:
    found = differences(workload("model", callers="ghost"), policy())
    assert found == ["ghost is no one workload whose pods have labels: name them by KEY=VALUE"]


def test_a_label_of_a_namespace_that_anybody_could_set_is_no_name_of_it() -> None:
    shop = {"namespaceSelector": {"matchLabels": {"name": "shop"}}, "podSelector": {"matchLabels": {"app": "api"}}}
    found = differences(workload("model", callers="shop/api"), workload("api", "shop"), policy(shop))
    assert any("namespaces that are not named by" in one for one in found)


@pytest.mark.parametrize(
    ("said", "caller"),
    [
        ("web", Caller("web", "risk", "web")),
        ("shop/web", Caller("shop/web", "shop", "web")),
        ("shop/*", Caller("shop/*", "shop")),
        ("*", Caller("*", "risk")),
        ("app=web", Caller("app=web", "risk", labels=(("app", "web"),))),
        ("shop/app=web", Caller("shop/app=web", "shop", labels=(("app", "web"),))),
        (
            "app.kubernetes.io/name=web",
            Caller("app.kubernetes.io/name=web", "risk", labels=(("app.kubernetes.io/name", "web"),)),
        ),
        (
            "shop/app.kubernetes.io/name=web",
            Caller("shop/app.kubernetes.io/name=web", "shop", labels=(("app.kubernetes.io/name", "web"),)),
        ),
        ("10.0.0.0/8", Caller("10.0.0.0/8", cidr="10.0.0.0/8")),
        ("2001:db8::/32", Caller("2001:db8::/32", cidr="2001:db8::/32")),
    ],
)
def test_a_caller_is_a_name_a_label_a_namespace_or_addresses(said: str, caller: Caller) -> None:
    assert parse_callers(said, "risk") == (caller,)
    assert parse_callers("none", "risk") == ()


@pytest.mark.parametrize("said", ["", "web,,api", "Web", "a/b/c", "*/web", "shop/", "=x", "10.0.0.1/8", "none, web", 7])
def test_what_names_nobody_is_refused_with_its_place(said: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_callers(said, "risk")
    assert caught.value.where == "/metadata/annotations/customhouse.dev~1callers"
    assert differences(workload("model", callers=said)) != []


@pytest.mark.parametrize("said", ["10.0.0.0/8", "10.0.0.0/8 https", "x 443", "10.0.0.0/8 70000", ""])
def test_an_outside_that_is_no_range_with_a_port_is_refused(said: str) -> None:
    with pytest.raises(DeclarationError):
        parse_outside(said)


def test_what_is_generated_is_no_difference_and_is_the_same_whatever_the_order() -> None:
    items = [
        workload("model", callers="web, shop/api, monitoring/app=prometheus, 10.1.0.0/16", outside="10.9.0.0/24 443"),
        workload("web", callers="none", ports=[{"containerPort": 8080}]),
        workload("api", "shop"),
    ]
    made = network_policies(network_of(items))
    assert made == network_policies(network_of(reversed(items)))
    whole = network_of([*items, *map(declaration, made)])
    for item in items:
        assert whole.differences(item.ref) == []
    names = [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in made]
    assert names == sorted(set(names))
    assert {space for space, _ in names} == {"risk"}, "nobody declares callers in shop"


def test_a_caller_whose_pods_are_not_known_makes_no_half_policy() -> None:
    with pytest.raises(DeclarationError, match="ghost"):
        network_policies(network_of([workload("model", callers="ghost")]))
    with pytest.raises(DeclarationError, match="labels"):
        network_policies(network_of([workload("model", callers="none", labels={})]))


def test_a_workload_that_nobody_will_reach_is_named() -> None:
    assert silent(network_of([workload("model", callers="none"), workload("web")])) == ("Deployment risk/web",)


def test_kinds_say_how_their_pods_are_labelled() -> None:
    def labels(manifest: dict[str, Any]) -> Any:
        found = called(declaration(manifest))
        assert found is not None
        return found.labels

    metadata = {"name": "m", "namespace": "risk"}
    serving = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata}
    assert labels({**serving, "spec": {}}) == {"serving.kserve.io/inferenceservice": "m"}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": {}}}}
    assert labels(job) == {"batch.kubernetes.io/job-name": "m"}
    assert called(declaration({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})) is None
