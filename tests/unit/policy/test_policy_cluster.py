"""Webhooks that hand objects outside, and roles whose reading opens a pod: what rules are told of them."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.policy.projection_cluster import webhooks
from customhouse.policy.surroundings import Surroundings
from policy_cases import declared


def _hook(client: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = webhooks({"webhooks": [{"name": "w", "clientConfig": client, "rules": list(rules)}]})
    return found["webhooks"][0]


@pytest.mark.parametrize(
    ("client", "outside"),
    [
        ({"service": {"name": "w", "namespace": "n"}}, None),
        ({"url": "https://w.n.svc:443/x"}, None),
        ({"url": "https://w.n.svc.cluster.local./x"}, None),
        ({"url": "https://Hooks.Example.com/x"}, "hooks.example.com"),
        ({"url": "https://w.n.svc@evil.example/"}, "evil.example"),
        ({"url": "https://w.n.svc.evil.example/"}, "w.n.svc.evil.example"),
        ({"url": "https://10.0.0.7/"}, "10.0.0.7"),
        ({"url": "https://[::1/"}, "an address that cannot be read"),
        ({"url": "nothing"}, "an address that cannot be read"),
    ],
)
def test_an_address_is_outside_unless_it_is_that_of_a_service(client: dict[str, Any], outside: str | None) -> None:
    assert _hook(client)["outside"] == outside


@pytest.mark.parametrize(
    ("groups", "resources", "wide"),
    [
        (["*"], ["*"], ["everything"]),
        ([""], ["*/*"], ["all resources of an API group"]),
        ([""], ["secrets", "pods"], ["Secrets"]),
        (["*"], ["secrets"], ["Secrets"]),
        (["example.com"], ["secrets"], []),
        (["apps"], ["deployments"], []),
        ([], [], []),
    ],
)
def test_rules_are_wide_that_match_everything_or_secrets(
    groups: list[str], resources: list[str], wide: list[str]
) -> None:
    assert _hook({}, {"apiGroups": groups, "resources": resources})["wide"] == wide


@pytest.mark.parametrize(
    ("groups", "resources", "verbs", "writes"),
    [
        ([""], ["pods", "pods/log"], ["get", "list"], False),
        ([""], ["pods/exec"], ["get"], True),
        (["*"], ["nodes/proxy"], ["get", "watch"], True),
        ([""], ["*"], ["get"], True),
        ([""], ["pods/exec"], ["list"], False),
        (["apps"], ["*"], ["get"], False),
    ],
)
def test_a_role_that_opens_a_pod_by_a_get_writes(
    groups: list[str], resources: list[str], verbs: list[str], writes: bool
) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "looker", "namespace": "models"},
        "rules": [{"apiGroups": groups, "resources": resources, "verbs": verbs}],
    }
    binding = declared(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "b", "namespace": "models"},
            "roleRef": {"kind": "Role", "name": "looker"},
        }
    )
    assert Surroundings([declared(role), binding]).about(binding)["role"] == {"found": True, "writes": writes}
