"""Which objects a constraint of Gatekeeper is about."""

from __future__ import annotations

import pytest

from customhouse.policy.gatekeeper_match import GENERATED, MatchError, Subject, matches


def _object(kind="Pod", api="v1", namespace="prod-eu", name="web-1", labels=None, **meta):
    metadata = {"name": name, "labels": labels or {}, **meta}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api, "kind": kind, "metadata": metadata}


PROD = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "prod-eu", "labels": {"env": "prod"}}}
SELECT_PROD = {"namespaceSelector": {"matchLabels": {"env": "prod"}}}


@pytest.mark.parametrize(
    ("match", "subject", "meant"),
    [
        ({}, Subject(_object()), True),
        ({"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]}, Subject(_object()), True),
        ({"kinds": [{"apiGroups": ["apps"], "kinds": ["Pod"]}]}, Subject(_object()), False),
        ({"kinds": [{"apiGroups": ["*"], "kinds": ["*"]}]}, Subject(_object()), True),
        ({"kinds": [{"kinds": ["Job"]}, {"apiGroups": [""]}]}, Subject(_object()), True),
        ({"namespaces": ["prod-*"]}, Subject(_object()), True),
        ({"namespaces": ["*-eu"]}, Subject(_object()), True),
        ({"namespaces": ["*od-e*"]}, Subject(_object()), True),
        ({"namespaces": ["prod"]}, Subject(_object()), False),
        ({"namespaces": ["prod"]}, Subject(_object(namespace="")), True),
        ({"namespaces": ["web-1"]}, Subject(_object(kind="Namespace", namespace="")), True),
        ({"excludedNamespaces": ["prod-*"]}, Subject(_object()), False),
        ({"excludedNamespaces": ["kube-*"]}, Subject(_object()), True),
        ({"scope": "Cluster"}, Subject(_object()), False),
        ({"scope": "Cluster"}, Subject(_object(kind="Namespace", namespace="x")), True),
        ({"scope": "Namespaced"}, Subject(_object(namespace="")), False),
        ({"scope": "Namespaced"}, Subject(_object()), True),
        ({"name": "web-*"}, Subject(_object()), True),
        ({"name": "db-*"}, Subject(_object()), False),
        ({"name": "web-*"}, Subject(_object(name="", generateName="web-")), True),
        ({"name": "web-"}, Subject(_object(name="", generateName="web-")), False),
        ({"source": "Generated"}, Subject(_object()), False),
        ({"source": "Generated"}, Subject(_object(), source=GENERATED), True),
        ({"labelSelector": {"matchLabels": {"a": "1"}}}, Subject(_object(labels={"a": "1", "b": "2"})), True),
        ({"labelSelector": {"matchLabels": {"a": "2"}}}, Subject(_object(labels={"a": "1"})), False),
        (SELECT_PROD, Subject(_object(), namespace=PROD), True),
        (SELECT_PROD, Subject(_object(namespace="")), True),
        (SELECT_PROD, Subject(PROD), True),
        ({"namespaceSelector": {"matchLabels": {"env": "dev"}}}, Subject(_object(), namespace=PROD), False),
    ],
)
def test_a_match_means_what_gatekeeper_says(match, subject, meant):
    assert matches(match, subject) is meant


@pytest.mark.parametrize(
    ("operator", "values", "labels", "meant"),
    [
        ("In", ["1"], {"a": "1"}, True),
        ("In", ["1"], {}, False),
        ("NotIn", ["1"], {}, True),
        ("NotIn", ["1"], {"a": "1"}, False),
        ("Exists", [], {"a": ""}, True),
        ("DoesNotExist", [], {"a": ""}, False),
    ],
)
def test_label_expressions_are_those_of_kubernetes(operator, values, labels, meant):
    expression = {"key": "a", "operator": operator, "values": values}
    assert matches({"labelSelector": {"matchExpressions": [expression]}}, Subject(_object(labels=labels))) is meant


def test_a_namespace_that_is_not_known_cannot_be_selected():
    with pytest.raises(MatchError, match="missing Namespace"):
        matches(SELECT_PROD, Subject(_object()))
