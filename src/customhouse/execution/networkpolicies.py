"""NetworkPolicies from declared callers: what is not declared is denied. Pure; the same files give the same bytes.

In each namespace in which a workload declares callers: everything is denied both ways, names may be looked up, each
workload lets in its callers at the ports that its containers name, and each caller may reach what it calls. A caller in
a namespace where nobody declares callers is let in, and nothing is said about what that namespace lets out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from customhouse.core.callers import NAMESPACE_LABEL, Called, Network, Peer
from customhouse.core.errors import DeclarationError

LABEL = "customhouse.dev/network"
"""On every policy that is made here."""
_LONGEST = 200


def network_policies(network: Network) -> list[dict[str, Any]]:
    """The policies, sorted by namespace and name.

    Raises DeclarationError for an annotation that cannot be read, and for a workload or a caller whose pods are not
    known: half of a policy would let in too many or too few.
    """
    for error in network.problems.values():
        raise error
    spaces = sorted({key[0] for key, one in network.workloads.items() if one.callers is not None})
    made = [policy for space in spaces for policy in _of_namespace(space)]
    calls: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for key, one in sorted(network.workloads.items()):
        if one.callers is not None:
            made.append(_callers(network, key[0], one))
            _note_calls(network, key[0], one, spaces, calls)
        if one.outside and key[0] in spaces:
            selector = _selector(one)
            rules = calls.setdefault((key[0], _text(selector)), {})
            for cidr, port in one.outside:
                rules[f"{cidr} {port}"] = {"to": [{"ipBlock": {"cidr": cidr}}], "ports": _ports(((port, "TCP"),))}
    for (space, text), rules in calls.items():
        selector = json.loads(text)
        spec = {"podSelector": selector, "policyTypes": ["Egress"], "egress": [rules[name] for name in sorted(rules)]}
        made.append(_policy(space, f"{_word(selector)}-calls", spec))
    return sorted(made, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"]))


def silent(network: Network) -> tuple[str, ...]:
    """Workloads that declare no callers in a namespace that will deny by default: nobody will reach them."""
    spaces = {key[0] for key, one in network.workloads.items() if one.callers is not None}
    found = (one for key, one in network.workloads.items() if key[0] in spaces and one.callers is None)
    return tuple(sorted(str(one.ref) for one in found))


def _of_namespace(space: str) -> Iterator[dict[str, Any]]:
    yield _policy(space, "default-deny", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    resolver = {
        "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    rule = {"to": [resolver], "ports": _ports(((53, "TCP"), (53, "UDP")))}
    yield _policy(space, "allow-dns", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]})


def _callers(network: Network, space: str, one: Called) -> dict[str, Any]:
    peers = []
    for caller in one.callers or ():
        peer = network.peer(caller)
        if peer is None:
            raise DeclarationError(
                f"{one.ref} names the caller {caller.text!r}, whose pods are not known",
                where=str(network.places[one.ref]),
                hint=f"declare {caller.namespace}/{caller.name} here too, or name its pods by NAMESPACE/KEY=VALUE",
            )
        peers.append(_peer(peer, space))
    spec: dict[str, Any] = {"podSelector": _selector(one), "policyTypes": ["Ingress"]}
    if peers:
        rule: dict[str, Any] = {"from": sorted(peers, key=_text)}
        spec["ingress"] = [{**rule, "ports": _ports(one.ports)} if one.ports else rule]
    return _policy(space, f"{one.ref.kind.lower()}-{one.ref.name}-callers", spec)


def _note_calls(
    network: Network,
    space: str,
    one: Called,
    spaces: Sequence[str],
    calls: dict[tuple[str, str], dict[str, dict[str, Any]]],
) -> None:
    """What its callers need to get out, where their own namespace denies by default."""
    target = Peer(space, _selector(one))
    for peer in network.peers(one):
        if peer.cidr or peer.namespace not in spaces:
            continue
        rule: dict[str, Any] = {"to": [_peer(target, peer.namespace)]}
        if one.ports:
            rule["ports"] = _ports(one.ports)
        calls.setdefault((peer.namespace, _text(peer.selector)), {})[_text(rule)] = rule


def _peer(peer: Peer, space: str) -> dict[str, Any]:
    if peer.cidr:
        return {"ipBlock": {"cidr": peer.cidr}}
    pods = {"podSelector": dict(peer.selector)}
    if peer.namespace == space:
        return pods
    return {"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: peer.namespace}}, **pods}


def _selector(one: Called) -> dict[str, Any]:
    if not one.labels:
        raise DeclarationError(
            f"the labels of the pods of {one.ref} are not known", hint="label the pods in its template"
        )
    return {"matchLabels": dict(sorted(one.labels.items()))}


def _policy(space: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": space, "labels": {LABEL: "generated"}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": dict(spec)}


def _ports(ports: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
    return [{"port": port, "protocol": protocol} for port, protocol in ports]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _word(selector: Mapping[str, Any]) -> str:
    """A name for pods: their labels in short, and a digest that tells them apart."""
    labels = selector.get("matchLabels") or {}
    if not labels:
        return "every-pod"
    first = "-".join(str(value) for _, value in sorted(labels.items()))
    plain = re.sub(r"[^a-z0-9-]+", "-", first.lower()).strip("-")[:_LONGEST].strip("-")
    return f"{plain or 'pods'}-{hashlib.sha256(_text(selector).encode()).hexdigest()[:8]}"
